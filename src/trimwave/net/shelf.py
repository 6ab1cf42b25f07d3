"""A device's blobs, as one letter asks for them: fetched, checked and read."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trimwave.base.errors import RunError
from trimwave.net.blobs.cache import BlobCache
from trimwave.net.blobs.fetch import fetch
from trimwave.net.joined import File
from trimwave.net.settings import Settings

READS = 3
"""Tries to read a blob; before each further one it is fetched again."""


@dataclass
class Spent:
    """Seconds of one letter, what was fetched, and when, on this machine's clock."""

    fetch_s: float = 0.0
    fetched_bytes: int = 0
    load_s: float = 0.0
    train_s: float = 0.0
    probe_bytes: int = 0
    probe_s: float = 0.0
    """What was sent to measure the uplink."""
    flops: float = 0.0
    """Counted while it trained, where it is held to a speed."""
    reached_s: float = field(default_factory=time.monotonic)
    fetched_at_s: float = 0.0
    done_s: float = 0.0


@dataclass(frozen=True)
class Shelf:
    """The blobs that a letter names."""

    cache: BlobCache
    settings: Settings
    head: Mapping[str, Any]
    """The letter's, which says where blobs are."""
    spent: Spent
    """What is fetched is counted there."""

    def fetch(self, files: Iterable[File]) -> None:
        """Fetch what is not there."""
        for digest, num_bytes in files:
            if self.cache.path(digest) is not None:
                continue
            got = fetch(
                digest,
                num_bytes,
                [*self.head.get("urls", []), self.route],
                self.cache,
                token=self.head["token"],
                verify=self.settings.ca or True,
            )
            self.spent.fetch_s += got.ended_s - got.started_s
            self.spent.fetched_bytes += got.num_bytes

    @property
    def route(self) -> str:
        """The server's own place of blobs, as this device reaches it."""
        told = str(self.head["route"]).replace("{host}", self.settings.host)
        return self.settings.blobs or told

    def read(self, file: File) -> bytes:
        """Return a blob's bytes; one that was altered or deleted is fetched again.

        Never a mapping of its file: whatever happens to that, a model stays what it is.

        Raises
        ------
        RunError
            If that does not help.
        """
        for attempt in range(READS):
            if attempt:
                self.fetch([file])
            data = self.cache.read(file[0])
            if data is not None:
                return data
        raise RunError(
            f"blob {file[0][:12]} was altered or gone {READS} times before it was "
            f"read; see what else writes in {self.cache.folder}."
        )

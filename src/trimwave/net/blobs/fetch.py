"""A device fetches a blob: goes on where it was cut off, keeps nothing unchecked."""

import errno
import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from trimwave.base.errors import InputError, RunError
from trimwave.base.stored import disk_errors
from trimwave.net.blobs.cache import BlobCache
from trimwave.net.blobs.sources import CutError, RefusedError, Source
from trimwave.net.blobs.store import checked

READ_BYTES = 1 << 20

PROGRESS_BYTES = 64 << 10
"""Least that a try must bring for the count of tries to begin anew."""

PAUSE_S = 0.2
"""After the first try; twice as long after each further one."""

LONGEST_PAUSE_S = 5.0

WRONG_TIMES = 2
"""How often a source may send other bytes than the digest says."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """A blob that is there, and what it took on this call."""

    path: Path
    num_bytes: int
    """What came over the link, also what was thrown away; 0 = it was there already."""
    started_s: float
    """When the first source was asked, by `time.monotonic`."""
    ended_s: float
    """When the last byte was there."""


def fetch(
    digest: str,
    num_bytes: int,
    urls: Sequence[str],
    cache: BlobCache,
    *,
    token: str | None,
    verify: str | bool = True,
    timeout_s: float = 60.0,
    attempts: int = 6,
) -> Fetched:
    """Fetch a blob into a cache, unless it is there.

    Parameters
    ----------
    digest : str
        SHA-256 of its bytes.
    num_bytes : int
        Its length; no more is ever read or written.
    urls : sequence of str
        Bases to ask in turn, ``http(s)://`` or fsspec's. The last is the server's own
        route: it alone gets the token, and no redirect is followed from there.
    cache : BlobCache
        Where it goes.
    token : str, optional
        What the server granted this node.
    verify : str or bool
        A PEM file that the server's certificate is checked with; True = the system's.
    timeout_s : float
        Longest without a byte.
    attempts : int
        Rounds of all sources that may bring nothing new.

    Raises
    ------
    InputError
        If digest, length or certificate cannot be used.
    RunError
        If no source gives it, or the disk refuses.
    """
    checked(digest)
    if isinstance(num_bytes, bool) or not isinstance(num_bytes, int) or num_bytes < 0:
        raise InputError(f"the length of a blob must be bytes >= 0, got {num_bytes!r}.")
    sources = [
        Source(
            base=url,
            token=token if n == len(urls) - 1 and url.startswith("http") else None,
            verify=verify,
            timeout_s=timeout_s,
        )
        for n, url in enumerate(urls)
    ]
    consequence = f"blob {digest[:12]} is not there"
    with cache.part(digest) as file, disk_errors(cache.folder, consequence, "run on"):
        started_s = time.monotonic()
        path = cache.path(digest)  # who fetched it meanwhile may have let us in
        if path is not None:
            return Fetched(
                path=path, num_bytes=0, started_s=started_s, ended_s=started_s
            )
        part = _Part(file=file, digest=digest, num_bytes=num_bytes)
        part.read()
        started_s = time.monotonic()
        _Search(part, sources, attempts).run()
        return Fetched(
            path=cache.add(digest, cache.part_path(digest)),
            num_bytes=part.came_bytes,
            started_s=started_s,
            ended_s=time.monotonic(),
        )


class _WrongError(Exception):
    """The bytes are not those of the digest."""


@dataclass
class _Part:
    """A file that a blob's bytes are written to as they come, and their digest."""

    file: FileIO
    digest: str
    num_bytes: int
    size: int = 0
    came_bytes: int = 0
    """What came over the link."""
    _sum: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def read(self) -> None:
        """Take in what an earlier process left."""
        if os.fstat(self.file.fileno()).st_size > self.num_bytes:
            self.clear()
        self.file.seek(0)
        while chunk := self.file.read(READ_BYTES):
            self._sum.update(chunk)
            self.size += len(chunk)

    def clear(self) -> None:
        """Begin anew."""
        os.ftruncate(self.file.fileno(), 0)
        self.file.seek(0)
        self.size, self._sum = 0, hashlib.sha256()

    def fill(self, source: Source) -> None:
        """Have a source send what is missing."""
        with closing(source.chunks(self.digest, self.size)) as chunks:  # type: ignore[type-var]
            for at, chunk in chunks:
                if at != self.size:
                    self.clear()
                self._write(memoryview(chunk)[: self.num_bytes - self.size])
                if self.size == self.num_bytes:
                    return
        raise CutError(f"it ended after {self.size} of {self.num_bytes} bytes")

    def check(self) -> None:
        """Compare the digest; wrong bytes are thrown away."""
        if self._sum.hexdigest() != self.digest:
            self.clear()
            raise _WrongError("its bytes have another SHA-256 than the blob's name")

    def _write(self, data: memoryview) -> None:
        self.came_bytes += len(data)
        try:
            self._put(data)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.clear()  # so that the disk is not full of it
            raise
        self._sum.update(data)
        self.size += len(data)

    def _put(self, data: memoryview) -> None:
        while data:
            data = data[self.file.write(data) :]


@dataclass
class _Search:
    """The sources in turn, until the part is whole."""

    part: _Part
    sources: list[Source]
    attempts: int
    _failed: dict[str, str] = field(default_factory=dict)
    """Why each source failed last."""
    _wrong: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Fill the part.

        Raises
        ------
        RunError
            If no source is left, or none brings anything any more.
        """
        most_bytes, attempt = self.part.size, 0
        if self._is_whole(None):
            return
        while self.sources and attempt < self.attempts:
            if attempt:
                time.sleep(min(PAUSE_S * 2 ** (attempt - 1), LONGEST_PAUSE_S))
            attempt += 1
            for source in [*self.sources]:
                if self._is_whole(source):
                    return
                if self.part.size >= most_bytes + PROGRESS_BYTES:
                    most_bytes, attempt = self.part.size, 1
        why = "; ".join(f"{name}: {said}" for name, said in self._failed.items())
        raise RunError(
            f"blob {self.part.digest[:12]} of {self.part.num_bytes} bytes cannot be "
            f"fetched: {why or 'there is no URL to ask'}. See that the server's file "
            "route is reached from this machine."
        )

    def _is_whole(self, source: Source | None) -> bool:
        """Whether the blob is there, after a source was asked, or without any."""
        part = self.part
        try:
            if part.size < part.num_bytes:
                if source is None:
                    return False
                part.fill(source)
            part.check()
        except _WrongError as error:
            if source is not None:
                self._wrong[source.name] = self._wrong.get(source.name, 0) + 1
                self._fail(source, error, self._wrong[source.name] >= WRONG_TIMES)
            return False
        except (CutError, RefusedError) as error:
            assert source is not None
            self._fail(source, error, isinstance(error, RefusedError))
            return False
        return True

    def _fail(self, source: Source, error: Exception, for_good: bool) -> None:
        self._failed[source.name] = str(error)
        if for_good:
            self.sources.remove(source)

"""States on a disk: files that their owner alone may read, under a quota.

A state can be turned back into the row's text, so such a folder is as private as the
rows themselves. Losing it costs time alone: whatever the disk refuses, a run goes on.
"""

import contextlib
import errno
import hashlib
import os
import re
import stat
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

from trimwave.base.stored import write_atomic

FOLDER = "states"
"""Name of the folder, in the cache."""

NAME = re.compile(r"[0-9a-f]{64}")
DRAFT = re.compile(rf"\.{NAME.pattern}\.\d+\.draft")
"""What a process leaves of a file that was killed while it wrote it."""

SEAL_BYTES = hashlib.sha256().digest_size
"""A file begins with the SHA-256 of its name and of what follows."""


class StateFolder:
    """Files by key; one that was altered, cut or renamed is none.

    Parameters
    ----------
    folder : Path
        Made if it is not there; files of other names in it are left alone.
    quota_bytes : int
        What the files may take [byte], those found there included. Where that is used
        up, files go that this process did not ask for, the oldest first.

    Warns
    -----
    UserWarning
        Once, if the disk refuses to write or to read.
    """

    def __init__(self, folder: Path, quota_bytes: int) -> None:
        self.folder, self.quota_bytes = folder, quota_bytes
        self.used_bytes = 0
        """Of the files that are counted here."""
        self._warned, self._writes = False, True
        self._earlier: dict[str, int] = {}
        self._own: dict[str, int] = {}
        try:
            self._make()
            found = sorted(_files(folder), key=lambda one: one[1].st_mtime_ns)
        except OSError as error:
            self._refused(error)
            return
        for path, about in found:
            self._earlier[path.name] = about.st_size
            self.used_bytes += about.st_size

    def read(self, key: str) -> bytes | None:
        """Return what was written under a key, None where it is not there unaltered."""
        try:
            data = (self.folder / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            self._uncount(key)  # another process deleted it
            return None
        except OSError as error:
            self._warn(error, "read")
            return None
        content = data[SEAL_BYTES:]
        if data[:SEAL_BYTES] != _seal(key, content):
            return None
        self._count(key, len(data))
        return content

    def write(self, key: str, content: bytes) -> None:
        """Keep content under a key if there is room; what lies there goes."""
        size = SEAL_BYTES + len(content)
        if not self._writes or size > self.quota_bytes:
            return
        try:
            self._drop(key)  # altered, or of another process just now
            while self._earlier and self.used_bytes + size > self.quota_bytes:
                self._drop(next(iter(self._earlier)))
            if self.used_bytes + size <= self.quota_bytes:
                self._write(key, _seal(key, content) + content)
                self._count(key, size)
        except OSError as error:
            self._refused(error)

    def release(self, keys: Collection[str]) -> None:
        """Count keys for those that this process did not ask for."""
        for key in keys:
            if key in self._own:
                self._earlier[key] = self._own.pop(key)

    def _make(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(self.folder.stat().st_mode) != 0o700:
            self.folder.chmod(0o700)

    def _write(self, key: str, data: bytes) -> None:
        """Write a file, once more where another process deletes it half written."""
        try:
            write_atomic(self.folder / key, data, 0o600)
        except FileNotFoundError:
            self._make()
            write_atomic(self.folder / key, data, 0o600)

    def _count(self, key: str, size: int) -> None:
        """Count a file for one that this process asked for."""
        self._uncount(key)
        self._own[key] = size
        self.used_bytes += size

    def _uncount(self, key: str) -> None:
        known = self._earlier.pop(key, 0) or self._own.pop(key, 0)
        self.used_bytes -= known

    def _drop(self, key: str) -> None:
        (self.folder / key).unlink(missing_ok=True)
        self._uncount(key)

    def _refused(self, error: OSError) -> None:
        self._writes = False
        self._warn(error, "written to")

    def _warn(self, error: OSError, what: str) -> None:
        if self._warned:
            return
        self._warned = True
        remedy = "free some space" if error.errno == errno.ENOSPC else "mend that"
        warnings.warn(
            f"states are computed again that the disk would keep: {self.folder} cannot "
            f"be {what} ({error.strerror or error}); {remedy}, or set "
            f"`train.state_disk_bytes` to 0.",
            stacklevel=4,
        )


def kept_states(folder: Path) -> tuple[int, int]:
    """Return how many files of states lie in a folder, and what they take [byte]."""
    sizes = [about.st_size for _, about in _files(folder)]
    return len(sizes), sum(sizes)


def delete_states(folder: Path) -> tuple[int, int]:
    """Delete all states in a folder; files of other names stay.

    A run that goes on beside it computes its states again, and keeps them.

    Returns
    -------
    count, num_bytes : int
        Files that are gone, and what they took [byte].
    """
    sizes = []
    for path, about in _files(folder):
        path.unlink(missing_ok=True)
        sizes.append(about.st_size)
    return len(sizes), sum(sizes)


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield the files of states, and what is left of some that were being written."""
    if not folder.is_dir():
        return
    for path in [*folder.iterdir()]:
        if NAME.fullmatch(path.name) or DRAFT.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):  # another process is at work
                yield path, path.stat()


def _seal(key: str, content: bytes) -> bytes:
    digest = hashlib.sha256(key.encode())
    digest.update(content)
    return digest.digest()

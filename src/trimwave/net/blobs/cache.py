"""A device's blobs: kept by content under a quota, whole whatever kills the process.

A file under a blob's name was renamed there once its content was checked. What is being
fetched lies under `PART`, locked by who fetches it.
"""

import fcntl
import hashlib
import os
import stat
import time
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from trimwave.base.stored import disk_errors, sha256_of
from trimwave.net.blobs.store import DIGEST, checked

PART = ".part-"
"""Begins the name of what is not whole yet."""

Mark = tuple[int, int, int]
"""Of a file that was read: inode, size and time of its last change."""


class BlobCache:
    """Blobs in a folder; several processes may use it at once.

    Parameters
    ----------
    folder : Path
        Made if it is not there; files of other names in it are left alone.
    quota_bytes : int, optional
        What `evict` leaves at most; None = what is pinned, and no more.

    Raises
    ------
    RunError
        If the folder cannot be made.
    """

    def __init__(self, folder: Path, quota_bytes: int | None = None) -> None:
        self.folder = Path(folder)
        self.quota_bytes = quota_bytes
        self._checked: dict[str, Mark] = {}
        with disk_errors(self.folder, "no blob is kept", "try again"):
            self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path | None:
        """Return a blob's file, which counts as a use; None if it is not there.

        The first time in a process it is read and checked. A file that is not what its
        name says is dropped with a warning.

        Raises
        ------
        InputError
            If that is no digest.
        RunError
            If the disk refuses.
        """
        file = self.folder / checked(digest)
        with disk_errors(self.folder, "no blob was lost", "try again"):
            with suppress(FileNotFoundError):
                found = os.lstat(file)
                if self._checked.get(digest) != _mark(found):
                    if not stat.S_ISREG(found.st_mode) or sha256_of(file) != digest:
                        self._drop(file)
                        return None
                    self._checked[digest] = _mark(found)
                # Set by us, since mounts seldom do; the change stays what it was.
                os.utime(file, ns=(time.time_ns(), found.st_mtime_ns))
                return file
            return None

    def read(self, digest: str) -> bytes | None:
        """Return a blob's bytes, which counts as a use; None if it is not there.

        They are checked each time: what was altered since is dropped with a warning.

        Raises
        ------
        InputError
            If that is no digest.
        RunError
            If the disk refuses.
        """
        file = self.path(digest)
        if file is not None:
            with disk_errors(self.folder, "no blob was lost", "try again"):
                with suppress(FileNotFoundError):
                    data = file.read_bytes()
                    if hashlib.sha256(data).hexdigest() == digest:
                        return data
                    self._drop(file)
        return None

    def add(self, digest: str, file: Path) -> Path:
        """Take a file of this folder whose content was checked; it is renamed.

        Raises
        ------
        RunError
            If the disk refuses.
        """
        path = self.folder / checked(digest)
        with disk_errors(self.folder, "the blob is not kept", "try again"):
            os.replace(file, path)
            self._checked[digest] = _mark(os.lstat(path))
        return path

    def digests(self) -> set[str]:
        """Return the names of what lies there; `path` tells whether it is whole."""
        with disk_errors(self.folder, "no blob was lost", "try again"):
            return {one for one in os.listdir(self.folder) if DIGEST.fullmatch(one)}

    def evict(self, pinned: Collection[str]) -> int:
        """Delete what was used longest ago, until the quota is kept.

        Parameters
        ----------
        pinned : collection of str
            Digests that are never deleted, even if they alone exceed the quota.

        Returns
        -------
        over_bytes : int
            How far what is left exceeds the quota, all of it pinned; 0 without one.

        Raises
        ------
        RunError
            If the disk refuses.
        """
        with disk_errors(self.folder, "no pinned blob was lost", "try again"):
            self._drop_parts(pinned)
            files = self._by_last_use()
            used_bytes = sum(num_bytes for _, num_bytes in files)
            for digest, num_bytes in files:
                if used_bytes <= (self.quota_bytes or 0):
                    break
                if digest not in pinned:
                    (self.folder / digest).unlink(missing_ok=True)
                    self._checked.pop(digest, None)
                    used_bytes -= num_bytes
        if self.quota_bytes is None:
            return 0
        return max(0, used_bytes - self.quota_bytes)

    @contextmanager
    def part(self, digest: str) -> Iterator[FileIO]:
        """Hold the file that a blob is fetched into, with what lies there already.

        Waits for whoever else fetches it. An empty one is gone afterwards.

        Raises
        ------
        RunError
            If the disk refuses.
        """
        path = self.part_path(digest)
        with disk_errors(self.folder, "the blob is not there", "try again"):
            file = _held(path)
        with file:
            try:
                yield file
            finally:
                if _is_at(file, path) and not os.fstat(file.fileno()).st_size:
                    path.unlink()

    def part_path(self, digest: str) -> Path:
        """Return where a blob lies while it is fetched."""
        return self.folder / f"{PART}{checked(digest)}"

    def _drop(self, file: Path) -> None:
        warnings.warn(
            f"{file} is not what its name says and is dropped; it is fetched again.",
            stacklevel=3,
        )
        file.unlink(missing_ok=True)

    def _drop_parts(self, pinned: Collection[str]) -> None:
        """Delete what nobody fetches any more."""
        for path in self.folder.glob(f"{PART}*"):
            if path.name.removeprefix(PART) in pinned:
                continue
            with suppress(FileNotFoundError, BlockingIOError), _opened(path) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(file, path):
                    path.unlink()

    def _by_last_use(self) -> list[tuple[str, int]]:
        """Return digests and sizes [byte], longest unused first."""
        found = []
        for digest in self.digests():
            with suppress(FileNotFoundError):
                file = os.lstat(self.folder / digest)
                found.append((file.st_atime_ns, digest, file.st_size))
        return [(digest, num_bytes) for _, digest, num_bytes in sorted(found)]


def _mark(found: os.stat_result) -> Mark:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _held(path: Path) -> FileIO:
    """Open a file and lock it; again if it was renamed or deleted meanwhile."""
    while True:
        file = _opened(path, os.O_CREAT)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, path):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _opened(path: Path, how: int = 0) -> FileIO:
    """Open a file without a buffer; not through a link: it is written to."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | how
    return FileIO(os.open(path, flags, 0o644), "r+")


def _is_at(file: FileIO, path: Path) -> bool:
    """Whether an open file is the one that lies at a path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False

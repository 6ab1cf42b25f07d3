"""The server's blobs: files named by the SHA-256 of what is in them."""

import hashlib
import re
import threading
import warnings
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError, one_line
from trimwave.base.stored import disk_errors, sha256_of, write_atomic

DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
"""What a blob's name is, in full; nothing else ever becomes a path."""


@dataclass(frozen=True, slots=True)
class Blob:
    """What is asked for, and how long it is."""

    digest: str
    """SHA-256 of the bytes, in hexadecimal."""
    num_bytes: int


class BlobStore:
    """Blobs on the disk; none stays in memory.

    Parameters
    ----------
    folder : Path
        Theirs alone: what else lies there under such a name is deleted.
    mirror : str, optional
        An fsspec URL, such as ``s3://bucket/prefix``, to which each is copied too. What
        was copied stays there: others may use the same place.

    Raises
    ------
    InputError
        If `mirror` is no such URL, or its file system is not installed.
    RunError
        If the folder cannot be made.
    """

    def __init__(self, folder: Path, mirror: str | None = None) -> None:
        self.folder = Path(folder)
        self._mirror = _Mirror(mirror) if mirror else None
        self._known: set[str] = set()
        self._turn = threading.Lock()
        with disk_errors(self.folder, "nothing was started", "try again"):
            self.folder.mkdir(parents=True, exist_ok=True)
            for draft in self.folder.glob(".*.draft"):  # what a kill left
                draft.unlink(missing_ok=True)

    def put(self, data: bytes | memoryview) -> Blob:
        """Keep some bytes; what is there already is not written again.

        Raises
        ------
        RunError
            If the disk refuses.
        """
        digest = hashlib.sha256(data).hexdigest()
        with self._turn, disk_errors(self.folder, "no blob was made", "try again"):
            if digest not in self._known or not self.path(digest).exists():
                if not self._is_whole(digest):
                    write_atomic(self.path(digest), data)
                if self._mirror:
                    self._mirror.copy(self.path(digest), digest)
                self._known.add(digest)
        return Blob(digest, memoryview(data).nbytes)

    def path(self, digest: str) -> Path:
        """Return where a blob lies, or would.

        Raises
        ------
        InputError
            If that is no digest.
        """
        return self.folder / checked(digest)

    def has(self, blob: Blob) -> bool:
        """Whether a blob lies here, as it should be."""
        return self._is_whole(blob.digest)

    def keep_only(self, digests: Collection[str]) -> None:
        """Delete all others; who is being sent one of them still gets it.

        Raises
        ------
        RunError
            If the disk refuses.
        """
        with self._turn, disk_errors(self.folder, "no blob was lost", "try again"):
            for file in self.folder.iterdir():
                if DIGEST.fullmatch(file.name) and file.name not in digests:
                    file.unlink(missing_ok=True)
            self._known.intersection_update(digests)

    def _is_whole(self, digest: str) -> bool:
        """Whether an earlier process left it, as it should be."""
        file = self.path(digest)
        return file.is_file() and not file.is_symlink() and sha256_of(file) == digest


def checked(digest: str) -> str:
    """Return a digest that is one.

    Raises
    ------
    InputError
        If it is not.
    """
    if not DIGEST.fullmatch(digest):
        raise InputError(
            f"a blob is named by 64 lower-case hexadecimal digits, got {digest!r:.80}."
        )
    return digest


class _Mirror:
    """A place of fsspec's that blobs are copied to."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._fs, self._root = opened_url(url)
        self._warned = False

    def copy(self, file: Path, digest: str) -> None:
        """Copy a blob, unless it is there; what fails is told once."""
        to = f"{self._root}/{digest}"
        try:
            if self._fs.exists(to) and self._fs.size(to) == file.stat().st_size:
                return
            self._fs.makedirs(self._root, exist_ok=True)
            self._fs.put_file(str(file), to)
        except Exception as error:  # any library's; devices have the route beside it
            if not self._warned:
                warnings.warn(
                    f"blobs cannot be copied to `net.mirror` {self._url} "
                    f"({one_line(error)}); devices fetch them from the server.",
                    stacklevel=3,
                )
            self._warned = True


def opened_url(url: str) -> tuple[Any, str]:
    """Return the file system of an fsspec URL, and the path in it.

    Raises
    ------
    InputError
        If there is none, it is not installed, or the URL chains several.
    """
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    if "::" in url or "://" not in url:
        raise InputError(
            f"{url!r} is no URL of one file system; write `s3://bucket/prefix` or "
            "`file:///folder`."
        )
    try:
        fs, root = url_to_fs(url)
    except Exception as error:  # any library's
        raise InputError(f"{url!r} cannot be opened: {one_line(error)}") from None
    return fs, str(root).rstrip("/")

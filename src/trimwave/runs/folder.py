"""Whose a folder is: a new run gets its own, and one process at a time writes there."""

import fcntl
import os
import shlex
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trimwave.base.errors import RunError
from trimwave.base.stored import disk_errors

LOCK = ".lock"
"""Locked by the system for whoever writes in a folder, and let go by it when that
process ends in whatever way: a file that is left over means nothing."""

_held: dict[Path, int] = {}
"""Folders that this process holds, and the thread that does."""


@contextmanager
def new_folder(out: Path | None, stem: str) -> Iterator[Path]:
    """Hold a folder for something new; a new one that nothing is put into goes again.

    Parameters
    ----------
    out : Path, optional
        The folder to take; without it ``runs/<stem>``, or the first numbered one that
        does not exist, which no other process gets then.
    stem : str
        Names the folder.

    Raises
    ------
    RunError
        If another process writes there, or the folder cannot be made.
    """
    folder = Path("runs") / stem if out is None else out
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    if out is None:
        folder = _own(folder)
        made = [folder, *made[1:]]
    try:
        with locked(folder):
            yield folder
    finally:
        if folder in made:
            _remove_empty(made)


def _own(folder: Path) -> Path:
    """Make a folder that nobody else has."""
    wanted, number = folder, 2
    with disk_errors(folder, "nothing was started", "run again, or name an --out"):
        while True:
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                folder = wanted.with_name(f"{wanted.name}-{number}")
                number += 1


def _remove_empty(made: list[Path]) -> None:
    """Remove folders from the innermost out, up to one that something lies in."""
    with suppress(OSError):  # not empty
        for folder in made:
            folder.rmdir()


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """Keep every other process out of a folder, which is made if it is not there.

    Raises
    ------
    RunError
        If another process, or another thread of this one, holds it: which.
    """
    path = folder.resolve()
    if _held.get(path) == threading.get_ident():
        yield folder
        return
    with disk_errors(folder, "nothing was started", "try again"):
        folder.mkdir(parents=True, exist_ok=True)
        file = _taken(folder)
    _held[path] = threading.get_ident()
    try:
        yield folder
    finally:
        del _held[path]
        with suppress(OSError):
            (folder / LOCK).unlink()
        os.close(file)


def _taken(folder: Path) -> int:
    """Open the lock and take it; a descriptor."""
    while True:
        file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take(file, folder)
            # Whoever held it may have removed the file just before.
            if os.path.samestat(os.fstat(file), os.stat(folder / LOCK)):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _take(file: int, folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(file, 200, 0).decode(errors="replace").strip()
        raise RunError(
            f"another process writes in {folder} ({holder or 'just started'}); wait "
            "for it or stop it, or choose another --out."
        ) from None
    except OSError as error:
        warnings.warn(
            f"{folder} cannot be locked ({error.strerror}); see to it that no other "
            "process writes there.",
            stacklevel=5,
        )
        return
    os.ftruncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def quoted(folder: Path) -> str:
    """Return a path as a shell reads it."""
    return shlex.quote(str(folder))

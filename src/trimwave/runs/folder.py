"""Whose a folder is: a new run gets its own, and one process at a time writes there."""

import fcntl
import os
import shlex
import shutil
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from trimwave.base.errors import RunError
from trimwave.base.stored import disk_errors, sync_folder

LOCK = ".lock"
"""Locked by the system for whoever writes in a folder, and let go by it when that
process ends in whatever way: a file that is left over means nothing."""

_held: dict[Path, tuple[int, int]] = {}
"""Folders that this process holds: the thread that does, and the open lock."""


@contextmanager
def new_folder(out: Path | None, stem: str, own: str) -> Iterator[Path]:
    """Hold a folder for something new; a new one that nothing is put into goes again.

    Parameters
    ----------
    out : Path, optional
        The folder to take; without it ``runs/<stem>``, or the first numbered one that
        does not exist, which no other process gets then.
    stem : str
        Names the folder.
    own : str
        The file that will say what was asked for, of `KINDS`.

    Raises
    ------
    RunError
        If another process writes there, it holds something of another kind, or the
        folder cannot be made.
    """
    folder = Path("runs") / stem if out is None else out
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    if out is None:
        folder = _own(folder)
        made = [folder, *made[1:]]
    try:
        with locked(folder):
            _require_free(folder, own)
            yield folder
    finally:
        if folder in made:
            _remove_empty(made)


KINDS = {
    "manifest.json": "run",
    "compare.json": "comparison",
    "sweep.json": "sweep",
    "measured.json": "measurement",
}
"""What a folder holds, by the file that says what was asked for."""


def _require_free(folder: Path, own: str) -> None:
    """Refuse a folder that another kind of work lies in."""
    for file, other in KINDS.items():
        if file != own and (folder / file).exists():
            raise RunError(f"{folder} already holds a {other}; choose another `out`.")


def require_no_run(folder: Path) -> None:
    """Refuse a folder that a run was begun in.

    Raises
    ------
    RunError
        With how to go on with it.
    """
    for name in ("manifest.json", "rounds.jsonl", "checkpoints"):
        if (folder / name).exists():
            raise RunError(
                f"{folder} already holds a run ({name}); go on with it by "
                f"{resume_by('run', folder)}, or choose another `out` or `name`."
            )


def _own(folder: Path) -> Path:
    """Make a folder that nobody else has."""
    wanted, number = folder, 2
    with disk_errors(folder, "nothing was started", "run again, or name an `out`"):
        while True:
            try:
                folder.mkdir(parents=True)
                return folder
            except FileExistsError:
                folder = wanted.with_name(f"{wanted.name}-{number}")
                number += 1


def require_empty(folder: Path) -> None:
    """Refuse a target that something lies in already.

    Raises
    ------
    RunError
        If it is a file, a link to nothing, or a folder that is not empty.
    """
    with disk_errors(folder, "nothing was written", "try again"):
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise RunError(f"{folder} is no folder; name one that is not there yet.")
        if folder.exists() and any(folder.iterdir()):
            raise RunError(
                f"{folder} is not empty; name a folder that is not there yet, or "
                "remove what lies in it."
            )


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Have a folder written whole or not at all: in a draft beside it, then renamed.

    Raises
    ------
    RunError
        If something lies there already, another process writes it, or the disk
        refuses.
    """
    require_empty(folder)
    final = folder.absolute()
    draft = final.with_name(f".{final.name}.draft")
    made = [one for one in final.parents if not one.exists()]
    with disk_errors(folder, "nothing was written", "try again"):
        try:
            with locked(draft), _emptied(draft):
                yield draft
            _put_in_place(draft, final)
        finally:
            _remove_empty([draft, *made])


@contextmanager
def _emptied(draft: Path) -> Iterator[None]:
    """Clear a draft before it is written, of what a kill left, and if that fails."""
    _clear(draft)
    try:
        yield
    except BaseException:
        _clear(draft)
        raise


def _put_in_place(draft: Path, final: Path) -> None:
    try:
        os.replace(draft, final)
    except OSError:  # somebody else was faster
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync_folder(final.parent)


def _clear(folder: Path) -> None:
    for one in folder.iterdir():
        if one.name != LOCK:
            shutil.rmtree(one) if one.is_dir() else one.unlink()


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
    if _held.get(path, (None,))[0] == threading.get_ident():
        yield folder
        return
    with disk_errors(folder, "nothing was started", "try again"):
        folder.mkdir(parents=True, exist_ok=True)
        file = _taken(folder)
    _held[path] = threading.get_ident(), file
    try:
        yield folder
    finally:
        del _held[path]
        with suppress(OSError):
            if _is_there(file, folder):
                (folder / LOCK).unlink()
        os.close(file)


def require_lock(folder: Path) -> None:
    """Make sure that the lock that this process took is still the folder's.

    Raises
    ------
    RunError
        If somebody removed it, so that another process may write there too.
    """
    held = _held.get(folder.resolve())
    if held and not _is_there(held[1], folder):
        raise RunError(
            f"{folder / LOCK} was removed while this run wrote there, and another "
            "process may write too; nothing more is written. See that none runs, and "
            "resume."
        )


def _is_there(file: int, folder: Path) -> bool:
    """Whether an open lock is the one that lies in the folder."""
    try:
        return os.path.samestat(os.fstat(file), os.lstat(folder / LOCK))
    except FileNotFoundError:
        return False


def _taken(folder: Path) -> int:
    """Open the lock and take it; a descriptor."""
    while True:
        # Not through a link: what it names is written to.
        how = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        file = os.open(folder / LOCK, how, 0o644)
        try:
            _take(file, folder)
            # Whoever held it may have removed the file just before.
            if _is_there(file, folder):
                return file
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
            "for it or stop it, or choose another `out`."
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


def resume_by(command: str, folder: Path) -> str:
    """Say how a run or a comparison goes on: on the command line, and from Python."""
    return f"`trimwave {command} --resume {quoted(folder)}` (in Python: `resume=`)"


def quoted(folder: Path) -> str:
    """Return a path as a shell reads it, on one line."""
    text = str(folder)
    if text.isprintable():
        return shlex.quote(text)
    escapes = (f"\\x{byte:02x}" for byte in os.fsencode(text))
    return f"$'{''.join(escapes)}'"  # bash, zsh and ksh

"""Files of ours: written whole, and read back only as they were written.

JSON that is read back carries a seal, the SHA-256 of its content under `SEAL`. Whatever
happens to such a file, reading it gives what was written or one `DamagedError`, never
another content. `sha256sum`-style lists do the same for files of other formats.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trimwave.base.errors import DamagedError, RunError

SEAL = "sha256"
"""Key of the seal in a JSON object."""


@contextmanager
def disk_errors(folder: Path, consequence: str, then: str) -> Iterator[None]:
    """Turn a full, absent or unwritable disk into one sentence.

    Parameters
    ----------
    folder : Path
        What is written or read.
    consequence : str
        What is lost, and what is not.
    then : str
        What to do once the disk is mended.

    Raises
    ------
    RunError
        In place of any OSError.
    """
    try:
        yield
    except OSError as error:
        remedy = "free some space" if error.errno == errno.ENOSPC else "mend that"
        raise RunError(
            f"cannot read or write {folder}: {error.strerror or error}; {consequence}; "
            f"{remedy} and {then}."
        ) from error


def write_atomic(
    path: Path, content: str | bytes | memoryview, mode: int = 0o666
) -> None:
    """Write a file whole or not at all; UTF-8. The umask takes from the mode."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags, mode)

    try:
        with open(draft, "wb", opener=opener) as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def share_files(folder: Path) -> None:
    """Let the files of a folder be read by whom the umask lets read new files.

    safetensors writes through temporary files, which their owner alone may read.
    """
    probe = folder / f".umask.{os.getpid()}.draft"
    try:
        probe.touch(exist_ok=False)  # `os.umask` tells by setting it, for all threads
        mode = stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink(missing_ok=True)
    for file in folder.iterdir():
        if file.is_file() and not file.is_symlink() and not file.name.startswith("."):
            file.chmod(mode)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(content: object) -> str:
    """SHA-256 of plain values as JSON gives them back, in any order of the keys."""
    plain = json.loads(json.dumps(content))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values with their seal."""
    return {**content, SEAL: digest_of(dict(content))}


def write_sealed(path: Path, content: Mapping[str, Any], mode: int = 0o666) -> None:
    """Write a JSON object that `read_sealed` reads back."""
    write_atomic(path, json.dumps(sealed(content), indent=2) + "\n", mode)


def read_sealed(path: Path, *needs: str) -> dict[str, Any]:
    """Read what `write_sealed` wrote.

    Parameters
    ----------
    path : Path
        The file.
    *needs : str
        Keys that it must have, so that no other sealed file is taken for it.

    Raises
    ------
    DamagedError
        If it is not, to the last value, what was written.
    RunError
        If the file cannot be read.
    """
    with disk_errors(path, "nothing was changed", "try again"):
        data = path.read_bytes()
    content = unsealed(data, str(path))
    absent = [name for name in needs if name not in content]
    if absent:
        raise DamagedError(f"{path} is another file than it should be: no {absent[0]}.")
    return content


def unsealed(data: bytes, where: str) -> dict[str, Any]:
    """Return the plain values of a sealed JSON object, without the seal.

    Parameters
    ----------
    data : bytes
        The object as it stands in the file.
    where : str
        The file, and the line where there are several, for the error.

    Raises
    ------
    DamagedError
        If it is no such object, or is not what was sealed.
    """
    try:
        content = json.loads(data.decode())
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise DamagedError(f"{where} is damaged: it is not JSON any more.") from None
    if not isinstance(content, dict) or SEAL not in content:
        raise DamagedError(
            f"{where} is damaged, or was written by a version before 0.4: it has no "
            f"`{SEAL}`."
        )
    seal = content.pop(SEAL)
    if seal != digest_of(content):
        raise DamagedError(
            f"{where} is damaged: its content does not match its `{SEAL}`."
        )
    return content

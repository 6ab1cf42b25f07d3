"""A receipt in a folder of ours: which files were written there, with their digests."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from trimwave.base.errors import DamagedError
from trimwave.base.stored import read_sealed, sha256_of, write_sealed

RECEIPT = "trimwave.json"
BYTES, DIGESTS = "file_bytes", "file_sha256"
"""Keys of a receipt: size and SHA-256 of every file by its name. Version 0.3 wrote
the sizes alone, and still reads them."""


def file_sha256(path: Path) -> str:
    """SHA-256 of a file; once per process, as long as its size and times stay.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    stat = path.stat()
    state = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return _sha256_of_state(path.resolve(), state)


@lru_cache(maxsize=4096)
def _sha256_of_state(path: Path, state: tuple[int, ...]) -> str:
    return sha256_of(path)


def write_receipt(folder: Path, facts: Mapping[str, Any], files: Iterable[str]) -> None:
    """Write a receipt for files of a folder, last of all.

    Parameters
    ----------
    folder : Path
        Where the files are, and the receipt goes.
    facts : mapping
        What `read_receipt` returns.
    files : iterable of str
        Names of the files.
    """
    digests = digests_of(folder, files)
    sizes = {name: (folder / name).stat().st_size for name in digests}
    write_sealed(folder / RECEIPT, {**facts, BYTES: sizes, DIGESTS: digests})


def read_receipt(folder: Path) -> dict[str, Any]:
    """Return the facts of a receipt, once every file is what was written.

    Raises
    ------
    DamagedError
        If the receipt, or a file that it names, is not as it was written.
    """
    if not (folder / RECEIPT).is_file():
        raise DamagedError(f"{folder} has no {RECEIPT}, which is written last.")
    receipt = read_sealed(folder / RECEIPT)
    if not {BYTES, DIGESTS} <= set(receipt):
        raise DamagedError(f"{folder / RECEIPT} is no receipt of a folder's files.")
    sizes, digests = receipt.pop(BYTES), receipt.pop(DIGESTS)
    # Sizes first: a cut file needs no reading.
    changed = [name for name in sizes if _size(folder / name) != sizes[name]]
    changed = changed or changed_files(folder, digests)
    if changed:
        raise DamagedError(
            f"{', '.join(sorted(changed))} in {folder} changed since trimwave wrote it."
        )
    return receipt


def changed_files(folder: Path, digests: Mapping[str, str]) -> list[str]:
    """Return which files of a folder are gone or have another SHA-256."""
    return [name for name, value in digests.items() if _sha(folder / name) != value]


def digests_of(folder: Path, files: Iterable[str]) -> dict[str, str]:
    """SHA-256 of some files of a folder by name, for a manifest."""
    return {name: file_sha256(folder / name) for name in sorted(files)}


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _sha(path: Path) -> str | None:
    try:
        return file_sha256(path)
    except OSError:
        return None

"""A file's text, whatever its encoding; where it is no text, what it is instead."""

import codecs
import gzip
import zlib
from pathlib import Path

from trimwave.base.errors import InputError

LFS_POINTER = b"version https://git-lfs"
"""How a file begins whose content Git LFS has not fetched."""

GZIP = b"\x1f\x8b"

FOREIGN = (
    (b"PK\x03\x04", "a zip archive, such as an Excel workbook", "save it as CSV UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save it as CSV UTF-8"),
    (GZIP, "compressed with gzip", "unpack it with gunzip"),
    (b"BZh", "compressed with bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ\x00", "compressed with xz", "unpack it with unxz"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "unpack it with unzstd"),
    (b"PAR1", "a Parquet file", "save it as CSV"),
    (b"SQLite format 3", "an SQLite database", "save the table as CSV"),
    (b"%PDF", "a PDF", "save the table as CSV"),
    (b"<!doctype html", "a web page", "download the file itself"),
    (b"<html", "a web page", "download the file itself"),
    (LFS_POINTER, "a Git LFS pointer", "fetch it with `git lfs pull`"),
)
"""How files begin that are no tables: first bytes, what it is, what to do."""

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does, so it comes first
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
"""Byte order marks."""

SAMPLE_BYTES = 4096
"""Bytes that UTF-16 without a mark is told from."""


def read_text(path: Path, *, unpack: bool = False) -> str:
    """Read a text in UTF-8, UTF-16 or UTF-32; line ends stay as they are.

    Parameters
    ----------
    path : Path
    unpack : bool
        Unpack it if it is compressed with gzip.

    Raises
    ------
    InputError
        If the file cannot be read, is of another kind (named), or has a byte that is
        no text: which, and in which line.
    """
    if path.is_dir():
        raise InputError(f"{path}: cannot be read; it is a folder, name a file in it.")
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:  # a name with a NUL is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason}).") from None
    if unpack and data.startswith(GZIP):
        data = _unpacked(path, data)
    for start, what, remedy in FOREIGN:
        if data[: len(start)].lower() == start.lower():
            raise InputError(f"{path}: no text but {what}; {remedy}.")
    encoding = _encoding(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise InputError(_undecodable(path, data, error)) from None
    if "\0" in text:
        line = _line_of(text[: text.index("\0")])
        raise InputError(
            f"{path}, line {line}: holds a NUL, which no text does; the file is binary "
            "or damaged."
        )
    return text


def _unpacked(path: Path, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path}: cannot be unpacked by gzip ({error}); was it cut? Copy it again."
        ) from None


def _encoding(data: bytes) -> str:
    for mark, encoding in MARKS:
        if data.startswith(mark):
            return encoding
    # Latin letters and digits in UTF-16 have a NUL in every other byte.
    sample = data[:SAMPLE_BYTES]
    first, second = sample[0::2].count(0), sample[1::2].count(0)
    if second > 0.35 * len(sample) and not first:
        return "utf-16-le"
    if first > 0.35 * len(sample) and not second:
        return "utf-16-be"
    return "utf-8"


def _undecodable(path: Path, data: bytes, error: UnicodeDecodeError) -> str:
    """Say where a text ends to be one, in bytes and in lines."""
    before = data[: error.start].decode(error.encoding, "ignore")
    where = f"{path}, line {_line_of(before)}"
    byte = data[error.start]
    if not error.encoding.startswith("utf-8"):
        name = error.encoding.upper()
        return f"{where}: byte {error.start + 1} of the file is not {name}; was it cut?"
    guess = bytes([byte]).decode("cp1252", "replace")
    meant = (
        f", `{guess}` in Windows-1252 (Latin-1)"
        if guess.isprintable() and guess != "\ufffd"
        else ""
    )
    return (
        f"{where}: byte {error.start + 1} of the file, 0x{byte:02X}{meant}, is not "
        "UTF-8; save the file as UTF-8."
    )


def _line_of(before: str) -> int:
    """Return the number of the line that comes after a text."""
    return before.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1

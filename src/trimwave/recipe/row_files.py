"""Which files hold whose rows, and how many: without torch, for a plan too."""

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from trimwave.base.decode import read_text
from trimwave.base.errors import InputError, nearest
from trimwave.base.table import read_table

ROW_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""Endings of files of rows; all but Parquet may have ``.gz`` behind it."""

TEST_NAMES = ("test", "validation", "valid", "val", "dev", "eval")
"""What files, folders and splits of test rows are called; the first there is taken."""

MOST_NAMED = 8
"""Of many files a message names so many."""


def kind_of(path: Path) -> str:
    """Return the ending that says how a file is read; empty for none known."""
    ending = path.suffix.lower()
    if ending == ".gz":
        ending = Path(path.stem).suffix.lower()
        return ending if ending != ".parquet" and ending in ROW_SUFFIXES else ""
    return ending if ending in ROW_SUFFIXES else ""


def stem_of(path: Path) -> str:
    """Return a file's name without the endings that say how it is read."""
    return path.name[: path.name.lower().rindex(kind_of(path))]


def row_files(folder: Path) -> list[Path]:
    """Return the files of rows in a folder, in the order of their names."""
    try:
        return sorted(path for path in folder.iterdir() if _is_rows(path))
    except OSError as error:
        raise InputError(f"cannot read `{folder}`: {error.strerror}.") from None


def _is_rows(path: Path) -> bool:
    return path.is_file() and bool(kind_of(path)) and not path.name.startswith(".")


def part_files(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the files of one part: called by the first of some names that there is.

    A part may be a sub-folder of that name too. Of ``dev`` and ``val`` only the whole
    word counts: ``device.csv`` is none.
    """
    for name in names:
        whole = r"(?![a-z])" if len(name) == 3 else ""
        begins = re.compile(name + whole, re.IGNORECASE)
        found = [path for path in row_files(folder) if begins.match(path.name)]
        for sub in sorted(folder.iterdir()):
            if sub.is_dir() and sub.name.lower() == name:
                found += row_files(sub)
        if found:
            return found
    return []


def no_test_files(folder: Path) -> list[Path]:
    """Return the files of rows in a folder that are called by no name of test rows."""
    tests = {file for name in TEST_NAMES for file in part_files(folder, (name,))}
    return [file for file in row_files(folder) if file not in tests]


def split_files(path: Path) -> tuple[list[Path], list[Path]]:
    """Return a source's files of training and of test rows: one file, or a folder's.

    Raises
    ------
    InputError
        If there is no such file, or which of a folder's train cannot be known.
    """
    if path.is_file():
        return [path], []
    if not path.exists():
        raise InputError(
            f"there is no file or folder `{path}`; a path that does not start with / "
            f"is taken from the folder where the command runs."
        )
    train, test = part_files(path, ("train",)), part_files(path, TEST_NAMES)
    data = no_test_files(path)
    if not train and len(data) == 1:
        return data, test
    if not train:
        found = [*row_files(path), *_in_subfolders(path)]
        raise InputError(
            f"the folder `{path}` needs one file of training rows, or files named "
            f"train*, of {', '.join(ROW_SUFFIXES)}; found: {named(found, path)}. Test "
            f"rows ({', '.join(TEST_NAMES)}) are not trained on. Where each file or "
            f"folder is a client's, set `data.partition` to `files`."
        )
    return train, test


def named(files: Sequence[Path], folder: Path) -> str:
    """Return files by their names in a folder, for messages; the first of many."""
    return first_few([str(file.relative_to(folder)) for file in files])


def first_few(names: Sequence[str]) -> str:
    """Return names for a message, the first of many, and how many more there are."""
    more = len(names) - MOST_NAMED
    shown = ", ".join(f"`{name}`" for name in names[:MOST_NAMED])
    return shown + f" and {more} more" * (more > 0) or "none"


def unread(folder: Path, read: Iterable[Path]) -> list[Path]:
    """Return the files of rows of a folder and of those in it that are not read."""
    return sorted({*row_files(folder), *_in_subfolders(folder)} - {*read})


def _in_subfolders(folder: Path) -> Iterator[Path]:
    for sub in sorted(folder.iterdir()):
        if sub.is_dir() and not sub.name.startswith("."):
            yield from row_files(sub)


def is_saved_table(path: Path) -> bool:
    """Whether a folder was written by `save_to_disk` of `datasets`."""
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return what names are sorted by, numbers in them as numbers."""
    pieces = re.split(r"(\d+)", name.casefold())
    keys = [(int(one), "") if one.isdecimal() else (-1, one) for one in pieces if one]
    return keys, name


def count_rows(path: Path, headed: bool = True) -> int:
    """Return how many rows a file has, before any is passed over.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    return sum(1 for _ in _rows(path, headed, None))


def clients_in(path: Path, column: str, columns: Sequence[str]) -> Counter[str]:
    """Return how many rows of a file are whose, by a column's value.

    Raises
    ------
    InputError
        If it cannot be read, or has no such column.
    """
    found: Counter[str] = Counter()
    for record in _rows(path, not columns, columns):
        if column not in record:
            raise InputError(
                f"`data.client_column` is {column!r}, which a row of `{path}` does not "
                f"have; {nearest(column, record)}"
            )
        value = record[column]
        whole = isinstance(value, float) and value.is_integer()
        found[str(int(value) if whole else value).strip()] += 1  # type: ignore[call-overload]
    return found


def _rows(
    path: Path, headed: bool, columns: Sequence[str] | None
) -> Iterator[Mapping[str, object]]:
    """Yield the rows of a file; with what is in them only if columns are not None."""
    kind = kind_of(path)
    if kind == ".parquet":
        from pyarrow.parquet import read_metadata
        from pyarrow.parquet import read_table as read_parquet

        if columns is None:
            yield from ({} for _ in range(read_metadata(path).num_rows))
        else:
            yield from read_parquet(path).to_pylist()
    elif kind in (".csv", ".tsv"):
        rows = read_table(path, len, free_text=True, unpack=True).rows
        names = [cell.strip() for cell in rows[0].cells] if headed else columns or ()
        for row in rows[headed:]:
            yield dict(zip(names, row.cells, strict=False))
    else:
        yield from _json_rows(read_text(path, unpack=True), path, columns is None)


def _json_rows(text: str, path: Path, bare: bool) -> Iterator[Mapping[str, object]]:
    if text.lstrip().startswith("["):
        yield from _parsed(text, path)
        return
    # Not `splitlines`: JSON may hold U+2028 and its like as they are.
    for line in io.StringIO(text, newline=None):
        if line.strip():
            yield {} if bare else _parsed(line, path)


def _parsed(text: str, path: Path):  # type: ignore[no-untyped-def]
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"`{path}` is not JSON: {error}.") from None

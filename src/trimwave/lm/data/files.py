"""Records from local files: JSON lines, JSON, CSV or TSV, and Parquet."""

import hashlib
import io
import json
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trimwave.base.decode import read_text
from trimwave.base.errors import InputError
from trimwave.base.stored import sha256_of
from trimwave.lm.data.layouts import LAYOUTS
from trimwave.lm.data.reading import AS_IS, Reading
from trimwave.lm.data.records import Found, NamedClasses, Record, Records
from trimwave.lm.data.rows import listed, shown
from trimwave.lm.data.saved import read_saved
from trimwave.lm.data.tables import read_table_rows
from trimwave.recipe.row_files import (
    ROW_SUFFIXES,
    TEST_NAMES,
    is_saved_table,
    kind_of,
    named,
    split_files,
    unread,
)


def read_local(
    path: Path, reading: Reading = AS_IS
) -> tuple[Records, Records | None, str]:
    """Read a file, or a folder with ``train*`` and perhaps ``test*`` files.

    Returns
    -------
    train, test : Records
        `test` is None where there is only one set, still to be split.
    revision : str
        Hash of the files' contents, in their order, and of which part each is.

    Raises
    ------
    InputError
        If something is missing, empty or malformed; says which file and line.

    Warns
    -----
    UserWarning
        If a folder has files that are not read.
    """
    if path.is_dir() and is_saved_table(path):
        return read_saved(path)
    train, test = split_files(path)
    if path.is_dir():
        warn_of_unread(path, [*train, *test])
    test_records = read_files(test, reading) if test else None
    revision = revision_of({"train": train, "test": test})
    return read_files(train, reading), test_records, revision


def warn_of_unread(folder: Path, read: Sequence[Path]) -> None:
    """Name the files of rows in a folder that are not read."""
    if others := unread(folder, read):
        warnings.warn(
            f"of the folder `{folder}` only the files {named(read, folder)} are read, "
            f"not {named(others, folder)}; test rows are those of the first of "
            f"{', '.join(TEST_NAMES)} that is there.",
            stacklevel=2,
        )


def revision_of(parts: Mapping[str, Sequence[Path]]) -> str:
    """Return a hash of files' contents, in their order, and of which part each is.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    digest = hashlib.sha256()
    try:
        for part, files in parts.items():
            for file in files:
                # Where a file ends and what part it is decides who has a row.
                digest.update(f"{part} {sha256_of(file)}\n".encode())
    except OSError as error:
        raise InputError(f"cannot read `{file}`: {error.strerror}.") from None
    return f"sha256:{digest.hexdigest()}"


def read_files(files: Sequence[Path], reading: Reading = AS_IS) -> Records:
    """Read files of rows, one after the other.

    Raises
    ------
    InputError
        If one is empty or malformed; says which and where.
    """
    return Records([_read_file(file, reading) for file in files])


def _read_file(file: Path, reading: Reading) -> Found:
    kind = kind_of(file)
    if not kind:
        raise InputError(
            f"`{file}` is of an unknown kind; give one of {', '.join(ROW_SUFFIXES)}; "
            f"those of text may be packed by gzip (.jsonl.gz)."
        )
    if kind in TABLES:
        records, lines = read_table_rows(file, reading.columns)
        found = Found(records, str(file), lines)
    elif reading.columns:
        raise InputError(
            f"`data.columns` names the columns of CSV and TSV files without a header; "
            f"`{file}` has names of its own, so leave it out."
        )
    else:
        found = READERS[kind](file)
    if not found.records:
        raise InputError(f"`{file}` is empty; give a file with rows.")
    return found


def _read_json_lines(file: Path) -> Found:
    records: list[Record] = []
    numbers: list[int] = []
    # Not `splitlines`: JSON may hold U+2028 and its like as they are.
    lines = io.StringIO(read_text(file, unpack=True), newline=None)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"line {number} of `{file}`"
        try:
            value = _loads(line, where)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{where} is not JSON: {error.msg} at column {error.colno}; mend or "
                f"remove the line, or name the file .json if it holds one list."
            ) from None
        records.append(_checked(value, where))
        numbers.append(number)
    if len(records) == 1:
        _refuse_wrapped(records[0], file)
    return Found(records, str(file), numbers)


def _read_json(file: Path) -> Found:
    text = read_text(file, unpack=True)
    try:
        value = _loads(text, f"`{file}`")
    except json.JSONDecodeError as error:
        if not text.lstrip().startswith("["):
            return _read_json_lines(file)  # the other common content of a .json file
        raise InputError(
            f"line {error.lineno} of `{file}` is not JSON: {error.msg} at column "
            f"{error.colno}; mend the file."
        ) from None
    if isinstance(value, dict):
        _refuse_wrapped(value, file)
    rows = value if isinstance(value, list) else [value]
    checked = [_checked(r, f"row {i} of `{file}`") for i, r in enumerate(rows, start=1)]
    return Found(checked, str(file))


def _loads(text: str, where: str) -> object:
    """Parse JSON; what is wrong with it is a JSONDecodeError or an InputError."""

    def named_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        record = dict(pairs)
        if len(record) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(
                f"{where} names `{shown(twice)}` twice; which of the two counts "
                f"cannot be known, so remove one."
            )
        return record

    try:
        return json.loads(text, object_pairs_hook=named_once)
    except (json.JSONDecodeError, InputError):
        raise
    except (ValueError, RecursionError) as error:
        # A number of thousands of digits, or brackets thousands deep.
        raise InputError(f"{where} cannot be read as JSON: {error}.") from None


def _checked(record: object, where: str) -> Record:
    if not isinstance(record, dict):
        raise InputError(
            f"{where} must be a JSON object with named columns, got {shown(record)}."
        )
    return record


def _refuse_wrapped(record: Record, file: Path) -> None:
    """Refuse one object around the rows: {"data": [{...}, ...]}, or one of columns."""
    if any(one.nests and record.keys() >= {*one.needs} for one in LAYOUTS):
        return  # one row of messages, or with a list of answers
    nested = {
        key: list(value.values()) if isinstance(value, dict) else value
        for key, value in record.items()
        if isinstance(value, dict | list)
    }
    rows = [
        k for k, values in nested.items() if any(isinstance(v, dict) for v in values)
    ]
    if rows:
        count = len(nested[rows[0]])
        remedy = f"save the {count} rows of its key `{shown(rows[0])}` alone"
    elif nested and len(nested) == len(record):
        remedy = "turn its columns into rows (pandas: `orient='records', lines=True`)"
    else:
        return
    raise InputError(
        f"`{file}` is one JSON object with {listed(record)}, not a list of rows; "
        f"{remedy}, one JSON object a line, as .jsonl."
    )


def _read_parquet(file: Path) -> Found:
    import datasets
    from pyarrow.parquet import read_metadata

    datasets.disable_progress_bars()
    # The copy that `datasets` makes in Arrow is of no further use.
    with tempfile.TemporaryDirectory() as scratch:
        try:
            if not read_metadata(file).num_rows:
                # `datasets` fails on it, and does not say why.
                return Found([], str(file))
            table = datasets.Dataset.from_parquet(
                str(file), cache_dir=scratch, keep_in_memory=True
            )
            return Found(list(NamedClasses(table)), str(file))
        except InputError:
            raise
        except Exception as error:
            # `datasets` wraps what Arrow raises into classes of its own.
            reason = str(error.__cause__ or error).strip().splitlines() or [""]
            raise InputError(
                f"`{file}` cannot be read as Parquet: {reason[0].rstrip('.')}; write "
                f"it again."
            ) from error


TABLES = (".csv", ".tsv")
"""Kinds that `read_table_rows` reads."""

READERS: dict[str, Callable[[Path], Found]] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
"""How each other kind of file is read."""

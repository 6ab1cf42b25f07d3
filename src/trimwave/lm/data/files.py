"""Records from local files: JSON lines, JSON, CSV or TSV, and Parquet."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError
from trimwave.lm.data.tables import read_table_rows

Record = Mapping[str, object]


def read_local(path: Path) -> tuple[Sequence[Record], Sequence[Record] | None, str]:
    """Read a file, or a folder with ``train*`` and perhaps ``test*`` files.

    Returns
    -------
    train, test : sequence of records
        `test` is None where there is only one set, still to be split.
    revision : str
        Hash of the files' bytes.

    Raises
    ------
    InputError
        If something is missing, empty or malformed; says which file and line.
    """
    train, test = _split_files(path)
    digest = hashlib.sha256()
    for file in (*train, *test):
        digest.update(file.read_bytes())
    test_records = _read_files(test) if test else None
    return _read_files(train), test_records, f"sha256:{digest.hexdigest()}"


def _split_files(path: Path) -> tuple[list[Path], list[Path]]:
    if path.is_file():
        return [path], []
    if not path.exists():
        raise InputError(
            f"there is no file or folder `{path}`; a path that does not start with / "
            f"is taken from the folder where the command runs."
        )
    data = sorted(file for file in path.iterdir() if file.suffix.lower() in READERS)
    if len(data) == 1:
        return data, []
    train = [file for file in data if file.name.startswith("train")]
    test = [file for file in data if file.name.startswith("test")]
    if not train:
        names = ", ".join(file.name for file in data) or "none"
        raise InputError(
            f"the folder `{path}` needs one data file, or files named train* and "
            f"test*, of {', '.join(READERS)}; found: {names}."
        )
    return train, test


def _read_files(files: Sequence[Path]) -> Sequence[Record]:
    records: list[Record] = []
    for file in files:
        reader = READERS.get(file.suffix.lower())
        if reader is None:
            raise InputError(
                f"`{file}` is of an unknown kind; give one of {', '.join(READERS)}."
            )
        try:
            found = reader(file)
        except UnicodeDecodeError as error:
            raise InputError(
                f"`{file}` is not UTF-8 (byte {error.start}); convert it first."
            ) from None
        if not found:
            raise InputError(f"`{file}` is empty; give a file with rows.")
        records.extend(found)
    return records


def _read_json_lines(file: Path) -> list[Record]:
    records: list[Record] = []
    with file.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(
                    f"line {number} of `{file}` is not JSON: {error.msg} at column "
                    f"{error.colno}; mend or remove the line."
                ) from None
            records.append(_checked(record, f"line {number} of `{file}`"))
    return records


def _read_json(file: Path) -> list[Record]:
    text = file.read_text(encoding="utf-8-sig")
    if not text.lstrip().startswith("["):
        return _read_json_lines(file)  # the other common content of a .json file
    try:
        records = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"line {error.lineno} of `{file}` is not JSON: {error.msg} at column "
            f"{error.colno}."
        ) from None
    return [_checked(r, f"row {i} of `{file}`") for i, r in enumerate(records)]


def _checked(record: object, where: str) -> Record:
    if not isinstance(record, dict):
        raise InputError(
            f"{where} must be a JSON object with named columns, got "
            f"{json.dumps(record)[:60]}."
        )
    return record


def _read_table(file: Path) -> list[Record]:
    return read_table_rows(file).records


def _read_parquet(file: Path) -> list[Record]:
    import datasets

    # The copy that `datasets` makes in Arrow is of no further use.
    with tempfile.TemporaryDirectory() as scratch:
        try:
            table = datasets.Dataset.from_parquet(
                str(file), cache_dir=scratch, keep_in_memory=True
            )
        except Exception as error:
            # `datasets` wraps what Arrow raises into classes of its own.
            raise InputError(f"`{file}` is not a Parquet file: {error}") from error
        return list(NamedClasses(table))


class NamedClasses(Sequence[Record]):
    """The records of a `datasets` table, with class names for class numbers."""

    def __init__(self, table: Any) -> None:
        self._table = table
        features = table.features.items()
        self._names = {k: f.names for k, f in features if hasattr(f, "names")}

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: Any) -> Any:
        """Return one record."""
        record = dict(self._table[int(index)])
        for column, names in self._names.items():
            number = record[column]
            known = number is not None and number >= 0  # -1 marks an unlabelled row
            record[column] = names[number] if known else None
        return record


READERS: dict[str, Callable[[Path], list[Record]]] = {
    ".jsonl": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_table,
    ".tsv": _read_table,
    ".parquet": _read_parquet,
}
"""How each kind of file is read."""

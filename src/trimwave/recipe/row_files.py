"""Which files hold whose rows, and how many: without torch, for a plan too."""

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trimwave.base.decode import read_text
from trimwave.base.errors import InputError, nearest
from trimwave.base.table import read_table

ROW_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""Endings of files of rows; all but Parquet may have ``.gz`` behind it."""

TEST_NAMES = ("test", "validation", "valid", "val", "dev")
"""What files, folders and splits of test rows are called; the first there is taken."""

OWN_TEST = re.compile(rf"(.+)([._-])({'|'.join(TEST_NAMES)})", re.IGNORECASE)
"""A client's test file by its name without ending: ``client_3.test``."""


@dataclass(frozen=True, slots=True)
class ClientFiles:
    """One client's files."""

    id: str
    train: tuple[Path, ...]
    test: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ClientFolder:
    """A folder with files of every client."""

    clients: tuple[ClientFiles, ...]
    """In the natural order of their names: ``client_2`` before ``client_10``."""
    test: tuple[Path, ...] = ()
    """Test rows of nobody's."""
    public: tuple[Path, ...] = ()
    """Rows of the server."""

    @property
    def files(self) -> list[Path]:
        """Every file of it."""
        own = (path for one in self.clients for path in (*one.train, *one.test))
        return [*own, *self.test, *self.public]


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
    data = row_files(path)
    train, test = part_files(path, ("train",)), part_files(path, TEST_NAMES)
    if not train and len(data) == 1:
        return data, [file for file in test if file not in data]
    if not train:
        names = ", ".join(f"`{file.name}`" for file in data) or "none"
        raise InputError(
            f"the folder `{path}` needs one data file, or files named train* and "
            f"test*, of {', '.join(ROW_SUFFIXES)}; found: {names}. Where each file is "
            f"a client's, set `data.partition` to `files`."
        )
    return train, test


def is_saved_table(path: Path) -> bool:
    """Whether a folder was written by `save_to_disk` of `datasets`."""
    return any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return what names are sorted by, numbers in them as numbers."""
    pieces = re.split(r"(\d+)", name.casefold())
    keys = [(int(one), "") if one.isdecimal() else (-1, one) for one in pieces if one]
    return keys, name


def client_folder(folder: Path) -> ClientFolder:
    """Return whose files a folder holds.

    A client has a file of its own and perhaps one of test rows, ``NAME.test.jsonl``;
    or a sub-folder with ``train*`` and perhaps ``test*`` files; or its file lies in
    ``train/``, its test file by the same name in ``test/``. ``test.*`` and ``public.*``
    beside them are nobody's.

    Raises
    ------
    InputError
        If it is no folder of such files, or a test file is of no client.
    """
    if not folder.is_dir():
        raise InputError(
            f"`data.partition` = 'files' takes a folder with a file per client; "
            f"`{folder}` is none."
        )
    subs = {p.name.lower(): p for p in sorted(folder.iterdir()) if p.is_dir()}
    shared = {stem_of(path).lower(): path for path in row_files(folder)}
    common = [shared[name] for name in TEST_NAMES if name in shared][:1]
    public = [shared["public"]] if "public" in shared else []
    if "train" in subs and (files := row_files(subs["train"])):
        tests = [subs[name] for name in TEST_NAMES if name in subs][:1]
        own = {stem_of(path): path for sub in tests for path in row_files(sub)}
        clients = _with_tests(files, own, folder)
    else:
        clients = [*_single(folder), *_subfolders(subs.values())]
    _check_clients(clients, folder)
    ordered = sorted(clients, key=lambda one: natural(one.id))
    return ClientFolder(tuple(ordered), tuple(common), tuple(public))


def _single(folder: Path) -> list[ClientFiles]:
    reserved = {*TEST_NAMES, "public"}
    files = [p for p in row_files(folder) if stem_of(p).lower() not in reserved]
    stems = {stem_of(path) for path in files}
    own: dict[str, Path] = {}
    for path in files:
        found = OWN_TEST.fullmatch(stem_of(path))
        if found and (found[1] in stems or found[2] == "."):
            own[found[1]] = path
    return _with_tests([p for p in files if p not in own.values()], own, folder)


def _with_tests(
    files: Iterable[Path], tests: Mapping[str, Path], folder: Path
) -> list[ClientFiles]:
    found = [
        ClientFiles(stem, (path,), (tests[stem],) if stem in tests else ())
        for path in files
        for stem in (stem_of(path),)
    ]
    lone = tests.keys() - {one.id for one in found}
    if lone:
        name = min(lone)
        raise InputError(
            f"`{tests[name]}` holds test rows of a client `{name}` that has no file of "
            f"training rows in `{folder}`; add it, or take the test file out."
        )
    return found


def _subfolders(subs: Iterable[Path]) -> Iterator[ClientFiles]:
    for sub in subs:
        if sub.name.lower() in (*TEST_NAMES, "public") or not (files := row_files(sub)):
            continue
        test = part_files(sub, TEST_NAMES)
        train = part_files(sub, ("train",)) or [p for p in files if p not in test]
        yield ClientFiles(sub.name, tuple(train), tuple(test))


def _check_clients(clients: Sequence[ClientFiles], folder: Path) -> None:
    if not clients:
        raise InputError(
            f"the folder `{folder}` has no file of a client, of "
            f"{', '.join(ROW_SUFFIXES)}; name them as you like, client_0.jsonl or so."
        )
    for one in clients:
        if not one.train:
            raise InputError(f"client `{one.id}` of `{folder}` has no training rows.")
    twice = [name for name, n in Counter(one.id for one in clients).items() if n > 1]
    if twice:
        raise InputError(
            f"`{folder}` has several files or folders of a client `{twice[0]}`; keep "
            f"one, or join them."
        )


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

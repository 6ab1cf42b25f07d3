"""A folder with the files of every client: which rows are whose."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trimwave.base.errors import InputError
from trimwave.recipe.row_files import (
    ROW_SUFFIXES,
    TEST_NAMES,
    named,
    natural,
    no_test_files,
    part_files,
    row_files,
    stem_of,
    unread,
)

PARTS = ("train", *TEST_NAMES)

PART_OF = re.compile(rf"(.+)([._-])({'|'.join(PARTS)})", re.IGNORECASE)
"""A client's file by its name without ending: ``client_3.test``."""


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


def client_folder(folder: Path) -> ClientFolder:
    """Return whose files a folder holds.

    A client has a file of its own and perhaps one of test rows, ``NAME.test.jsonl``;
    or a sub-folder with ``train*`` and perhaps ``test*`` files; or its file lies in
    ``train/``, its test file by the same name in ``test/``. ``test.*`` and ``public.*``
    beside them are nobody's. Of several files of test rows the first counts, in the
    order of `TEST_NAMES`.

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
        clients = [*_beside(folder), *_subfolders(subs.values())]
    _check_clients(clients, folder)
    ordered = sorted(clients, key=lambda one: natural(one.id))
    return ClientFolder(tuple(ordered), tuple(common), tuple(public))


def _beside(folder: Path) -> Iterator[ClientFiles]:
    """Yield clients whose files lie side by side: ``NAME`` and ``NAME.test``."""
    for name, parts in _by_name(folder).items():
        train = [*parts.get("", []), *parts.get("train", [])]
        test = next((parts[one] for one in TEST_NAMES if one in parts), [])
        if not train:
            raise _lone(name, test[0], folder)
        if len(train) > 1:
            raise _several(name, folder)
        yield ClientFiles(name, tuple(train), tuple(test))


def _by_name(folder: Path) -> dict[str, dict[str, list[Path]]]:
    """Return clients' files by name and part; the part of ``NAME.jsonl`` is empty.

    With ``_`` or ``-`` before it, the last word is a part only if another file says so:
    ``lab_test`` alone may well be a client's name.
    """
    reserved, paths = {*PARTS, "public"}, row_files(folder)
    split = {stem: PART_OF.fullmatch(stem) for stem in map(stem_of, paths)}
    bases = Counter(found[1] for found in split.values() if found)
    files: dict[str, dict[str, list[Path]]] = defaultdict(lambda: defaultdict(list))
    for path in paths:
        stem = stem_of(path)
        found = split[stem]
        if stem.lower() in reserved:
            continue
        if found and (found[2] == "." or found[1] in split or bases[found[1]] > 1):
            files[found[1]][found[3].lower()].append(path)
        else:
            files[stem][""].append(path)
    return files


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
        raise _lone(name, tests[name], folder)
    return found


def _lone(name: str, test: Path, folder: Path) -> InputError:
    return InputError(
        f"`{test}` holds test rows of a client `{name}` that has no file of training "
        f"rows in `{folder}`; add it, or take the test file out."
    )


def _subfolders(subs: Iterable[Path]) -> Iterator[ClientFiles]:
    for sub in subs:
        if sub.name.lower() in (*PARTS, "public") or not row_files(sub):
            continue
        test = part_files(sub, TEST_NAMES)
        train = part_files(sub, ("train",)) or no_test_files(sub)
        yield ClientFiles(sub.name, tuple(train), tuple(test))


def _check_clients(clients: Sequence[ClientFiles], folder: Path) -> None:
    if not clients:
        found = named(unread(folder, ()), folder)
        raise InputError(
            f"the folder `{folder}` has no file of a client, of "
            f"{', '.join(ROW_SUFFIXES)}; found: {found}. Name them as you like, "
            f"client_0.jsonl or so, but for {', '.join(PARTS)} and public."
        )
    for one in clients:
        if not one.train:
            raise InputError(f"client `{one.id}` of `{folder}` has no training rows.")
    twice = [name for name, n in Counter(one.id for one in clients).items() if n > 1]
    if twice:
        raise _several(twice[0], folder)


def _several(name: str, folder: Path) -> InputError:
    return InputError(
        f"`{folder}` has several files or folders of a client `{name}`; keep one, or "
        f"join them."
    )

"""Rows that say whose they are: a file per client, or a column that names the client.

A client keeps all its training rows, but for one that equals a test or a public row.

- Test rows are those of the source's own test file; else those of the clients' test
  files, pooled; else some of each client's rows, by how many it has.
- Public rows (`data.public` = ``same``) are those of ``public.*``; else what the test
  file has left; else some of each client's rows, which the client then does not have.
"""

import warnings
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.streams import stream
from trimwave.lm.data.draw import Draw, draw_from
from trimwave.lm.data.files import read_files, revision_of, warn_of_unread
from trimwave.lm.data.parts import Fits, Part, Taker, UpTo, warn_of_parts
from trimwave.lm.data.reading import Reading
from trimwave.lm.data.rows import Row
from trimwave.lm.data.tasks import FEW, Splits, load_rows
from trimwave.recipe.client_files import client_folder
from trimwave.recipe.config import Config
from trimwave.recipe.owned import ordered, other_number
from trimwave.recipe.row_files import first_few, natural


@dataclass(frozen=True, kw_only=True)
class _Draws:
    """Rows of every client, ready to be drawn."""

    ids: Sequence[str]
    train: Sequence[Draw]
    test: Sequence[Draw | None]
    common: Draw | None
    """Test rows of nobody's."""
    public: Draw | None
    revision: str
    others: Sequence[Draw] = field(default=())
    """What the clients' rows were sorted out of."""

    @property
    def own_tests(self) -> list[Draw]:
        return [draw for draw in self.test if draw is not None]

    @property
    def all(self) -> list[Draw]:
        found = [*self.train, *self.own_tests, *self.others]
        return [*found, *(one for one in (self.common, self.public) if one)]


def load_owned(config: Config, fits: Fits | None = None) -> Splits:
    """Draw the rows of clients that the rows themselves name.

    Parameters
    ----------
    config : Config
        `data.partition` is ``files``, or `data.client_column` names a column.
    fits : callable, optional
        Says of each of some rows whether it may be taken; without it all may.

    Raises
    ------
    InputError
        If the rows cannot be read, are of another number of clients than the cell has,
        or are too few.

    Warns
    -----
    UserWarning
        As `load_task`; and if public rows are taken from clients.
    """
    data = config.data
    found = (_of_files if data.partition == "files" else _of_column)(config)
    if len(found.ids) != config.cell.num_clients:
        raise InputError(other_number(config, len(found.ids)))
    taker = Taker(fits)
    own, test = _test_rows(config, found, taker)
    public, public_revision, others = _public_rows(config, found, taker)
    parts = [taker.take(draw, None, "train", apart=False) for draw in found.train]
    merged = {
        "train": _merged(parts, found.others),
        "test": test,
        "public": public,
    }
    warn_of_parts(merged, [*found.all, *others])
    ends = np.cumsum([len(part.rows) for part in parts])
    return Splits(
        train=merged["train"].rows,
        test=test.rows,
        public=public.rows,
        passed_over={name: part.passed_over for name, part in merged.items()},
        data_revision=found.revision,
        public_revision=public_revision or found.revision,
        client_ids=tuple(found.ids),
        shards=tuple(np.split(np.arange(ends[-1]), ends[:-1])),
        own_test=own,
    )


def _of_files(config: Config) -> _Draws:
    data, reading = config.data, Reading.of(config.data)
    folder = client_folder(Path(data.source).expanduser())
    warn_of_unread(Path(data.source).expanduser(), folder.files)
    by_id = {one.id: one for one in folder.clients}
    ids = ordered([*by_id], config)
    clients = [by_id[name] for name in ids]
    tables = [(read_files(one.train, reading), reading) for one in clients]
    others = [one.test for one in clients] + [folder.test, folder.public]
    for group in filter(None, others):
        table = read_files(group, reading)
        tables.append((table, reading.of_tests(table.columns)))
    draws = iter(draw_from(tables, data.source, stream(config.seed, "rows")))
    train = [next(draws) for _ in clients]
    test = [next(draws) if one.test else None for one in clients]
    common = next(draws) if folder.test else None
    public = next(draws) if folder.public else None
    for name, *own in zip(ids, train, test, strict=True):
        for draw in own:
            if draw is not None:
                draw.source = f"{data.source}, client {name}"
    named = {str(k): [*one.train, *one.test] for k, one in enumerate(clients)}
    rest = {"test": folder.test, "public": folder.public}
    return _Draws(
        ids=ids,
        train=train,
        test=test,
        common=common,
        public=public,
        revision=revision_of({**named, **rest}),
    )


def _of_column(config: Config) -> _Draws:
    data = config.data
    drawn = load_rows(data.source, seed=config.seed, reading=Reading.of(data))
    own = _by_client(drawn.train)
    ids = ordered(sorted(own, key=natural), config)
    train = [_draw_of(own[name], f"{data.source}, client {name}") for name in ids]
    test: list[Draw | None] = [None] * len(ids)
    common, others = drawn.test, [drawn.train]
    if drawn.test is not None:
        rows = [*drawn.test]
        others.append(drawn.test)
        common = _draw_of(rows, data.source)
        tested = _by_client(rows)
        if rows and all(row.client is not None for row in rows) and {*ids} & {*tested}:
            common = None
            _warn_of_strangers(tested.keys() - {*ids}, data.source)
            test = [
                _draw_of(tested[name], f"{data.source}, client {name}")
                if name in tested
                else None
                for name in ids
            ]
    return _Draws(
        ids=ids,
        train=train,
        test=test,
        common=common,
        public=None,
        revision=drawn.revision,
        others=others,
    )


def _warn_of_strangers(ids: Collection[str], source: str) -> None:
    """Name clients that have test rows and none to train on."""
    if ids:
        called = first_few(sorted(ids, key=natural))
        warnings.warn(
            f"`{source}` has test rows of clients without training rows, which are not "
            f"used: {called}; take the client column out of the test file to have all "
            f"clients tested on all of its rows.",
            stacklevel=5,
        )


def _by_client(rows: Iterable[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[str(row.client)].append(row)
    return dict(found)


def _draw_of(rows: Sequence[Row], source: str) -> Draw:
    return Draw(iter(rows), source, len(rows))


def _test_rows(
    config: Config, found: _Draws, taker: Taker
) -> tuple[tuple[tuple[Row, ...], ...] | None, Part]:
    """Return the test rows of each client's own, and those of all."""
    asked = config.data.num_test
    if not found.own_tests and found.common is None:
        own = _share_out(taker, found.train, asked, "test")
        return tuple(part.rows for part in own), _merged(own)
    tested = [
        taker.take(draw, None, "test", apart=False) if draw else Part((), {})
        for draw in found.test
    ]
    own_rows = tuple(part.rows for part in tested) if found.own_tests else None
    test = _merged(tested)
    if found.common is not None:
        to_share = config.data.public == "same" and found.public is None
        few = UpTo(FEW.most, 0.5) if to_share else UpTo(FEW.most)
        common = taker.take(found.common, few if asked is None else asked, "test")
        test = Part(common.rows, _merged([common, test]).passed_over)
    else:
        rows = [row for part in tested for row in part.rows]
        order = stream(config.seed, "test rows").permutation(len(rows)).tolist()
        pooled = _draw_of([rows[i] for i in order], config.data.source)
        count = UpTo(FEW.most) if asked is None else asked
        test = Part(taker.take(pooled, count, "test").rows, test.passed_over)
    for part in tested:
        taker.keep_apart(part.rows)
    return own_rows, test


def _public_rows(
    config: Config, found: _Draws, taker: Taker
) -> tuple[Part, str | None, list[Draw]]:
    """Return the server's rows, the revision of their source, and further draws."""
    data = config.data
    count = UpTo(FEW.most) if data.num_public is None else data.num_public
    if data.public not in ("same", data.source):
        server = load_rows(data.public, seed=config.seed)
        part = taker.take(server.train, count, "public")
        return part, server.revision, [server.train]
    server_own = found.public or found.common
    if server_own is not None:
        return taker.take(server_own, count, "public"), None, []
    parts = _share_out(taker, found.train, data.num_public, "public")
    part = _merged(parts)
    warnings.warn(
        f"the server has no rows of its own: {len(part.rows)} rows of the clients "
        f"became public, in proportion; name others in `data.public`.",
        stacklevel=5,
    )
    return part, None, []


def _share_out(
    taker: Taker, draws: Sequence[Draw], asked: int | None, part: str
) -> list[Part]:
    """Take some rows of each client, in proportion to what it has."""
    sizes = [int(draw.size or 0) - draw.spent.total() for draw in draws]
    total = FEW.of(sum(sizes)) if asked is None else asked
    if total > sum(sizes) - len(sizes):
        raise InputError(
            f"asked for {total} {part} rows of clients that have {sum(sizes)} and need "
            f"one each to train on; lower `data.num_{part}`, or give more rows."
        )
    counts = apportioned(total, sizes)
    return [
        taker.take(draw, UpTo(n) if asked is None else n, part) if n else Part((), {})
        for draw, n in zip(draws, counts, strict=True)
    ]


def apportioned(total: int, sizes: Sequence[int]) -> list[int]:
    """Split a number in proportion to sizes, by largest remainders, [K].

    Nobody gives its last row.
    """
    room = np.maximum(np.asarray(sizes) - 1, 0)
    exact = total * room / max(room.sum(), 1)
    counts = np.floor(exact).astype(int)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return [int(n) for n in counts]


def _merged(parts: Sequence[Part], others: Sequence[Draw] = ()) -> Part:
    """Return several parts as one; what others passed over is counted too."""
    passed: Counter[str] = Counter()
    for part in parts:
        passed.update(part.passed_over)
    for draw in others:
        passed.update({str(why): n for why, n in draw.spent.items()})
    return Part(tuple(row for part in parts for row in part.rows), dict(passed))

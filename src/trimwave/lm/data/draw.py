"""Rows drawn from a source one by one; what is no row is passed over and counted."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import numpy as np

from trimwave.lm.data.layouts import NUMBERING, Layout, find_layout
from trimwave.lm.data.reading import Reading
from trimwave.lm.data.records import Records
from trimwave.lm.data.rows import Lack, Row, listed


class Draw(Iterator[Row]):
    """Rows of one source, each at most once, in an order that the seed decides.

    Attributes
    ----------
    source : str
        What the user calls it.
    size : int or None
        How many records it has; None if they are generated without end.
    spent : Counter
        What became of the records so far: how many of each `Lack`, and what the taker
        of rows adds to it.
    mended : list of str
        Where the rows stood that had lone surrogates.
    """

    def __init__(
        self, rows: Iterable[Row | Lack], source: str, size: int | None
    ) -> None:
        self._rows = iter(rows)
        self.source = source
        self.size = size
        self.spent: Counter[str] = Counter()
        self.mended: list[str] = []

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Row:
        for row in self._rows:
            if isinstance(row, Lack):
                self.spent[row] += 1
                continue
            mended = row.mended()
            if mended is not row:
                self.mended.append(row.origin)
            return mended
        raise StopIteration


def draw_from(
    tables: Sequence[tuple[Records, Reading]], source: str, rng: np.random.Generator
) -> list[Draw]:
    """Shuffle tables of one source and lay their records out as they are asked for.

    Yahoo Answers has 1.4 million records, so none is laid out that nobody takes.

    Parameters
    ----------
    tables : sequence of tuple
        Records, and what the recipe says of their columns.
    source : str
        What the user calls them.
    rng : numpy.random.Generator
        Decides the order.

    Raises
    ------
    InputError
        If no layout fits the columns; a bad record is refused when it is drawn.
    """
    columns = [table.columns for table, _ in tables]
    every = set().union(*columns)
    layouts = [find_layout(own, source, every) for own in columns]
    readings = [reading for _, reading in tables]
    for own, reading in zip(columns, readings, strict=True):
        reading.check(own, source)
    _warn_of_unused(columns, layouts, readings, source)
    return [
        Draw(_laid_out(layout, *one, rng), source, len(one[0]))
        for layout, one in zip(layouts, tables, strict=True)
    ]


def _laid_out(
    layout: Layout, records: Records, reading: Reading, rng: np.random.Generator
) -> Iterator[Row | Lack]:
    order = rng.permutation(len(records)).tolist()
    return (reading.row(layout, records[i], records.where(i)) for i in order)


def _warn_of_unused(
    tables: Sequence[set[str]],
    layouts: Sequence[Layout],
    readings: Sequence[Reading],
    source: str,
) -> None:
    used: set[str] = set()
    unused: set[str] = set()
    for columns, layout, reading in zip(tables, layouts, readings, strict=True):
        here = columns & {*layout.reads, *reading.reads}
        used |= here
        unused |= columns - here - layout.spare - NUMBERING
    if unused:
        plural = "columns" if len(unused) > 1 else "column"
        warnings.warn(
            f"`{source}`: nothing is made of the {plural} {listed(unused)}; a row is "
            f"made of {listed(used)}: put what a model should see into these, or "
            f"remove the {plural}.",
            stacklevel=4,
        )

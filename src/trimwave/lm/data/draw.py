"""Rows drawn from a source one by one; what is no row is passed over and counted."""

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Self

import numpy as np

from trimwave.lm.data.layouts import NUMBERING, Layout, find_layout
from trimwave.lm.data.reading import AS_IS, Reading
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
    tables: Iterable[Records],
    source: str,
    rng: np.random.Generator,
    reading: Reading = AS_IS,
) -> list[Draw]:
    """Shuffle tables of one source and lay their records out as they are asked for.

    Yahoo Answers has 1.4 million records, so none is laid out that nobody takes.

    Parameters
    ----------
    tables : iterable of Records
        Test records, if there are any, and then training records.
    source : str
        What the user calls them.
    rng : numpy.random.Generator
        Decides the order.
    reading : Reading
        What the recipe says of their columns.

    Raises
    ------
    InputError
        If no layout fits the columns; a bad record is refused when it is drawn.
    """
    tables = list(tables)
    layouts = [find_layout(table.columns(), source) for table in tables]
    readings = [reading.of_table(table.columns()) for table in tables[:-1]]
    readings.append(reading)
    for table, one in zip(tables, readings, strict=True):
        one.check(table.columns(), source)
    _warn_of_unused(zip(layouts, tables, strict=True), source, reading)
    return [
        Draw(_laid_out(layout, table, rng, one), source, len(table))
        for layout, table, one in zip(layouts, tables, readings, strict=True)
    ]


def _laid_out(
    layout: Layout, records: Records, rng: np.random.Generator, reading: Reading
) -> Iterator[Row | Lack]:
    order = rng.permutation(len(records)).tolist()
    return (reading.row(layout, records[i], records.where(i)) for i in order)


def _warn_of_unused(
    pairs: Iterable[tuple[Layout, Records]], source: str, reading: Reading
) -> None:
    used: set[str] = set()
    unused: set[str] = set()
    for layout, records in pairs:
        columns = records.columns()
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

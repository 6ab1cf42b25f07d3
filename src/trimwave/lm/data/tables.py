"""Rows of text from tables: CSV, TSV and their like."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from trimwave.base.errors import InputError
from trimwave.base.table import Row, Table, read_table
from trimwave.lm.data.layouts import LAYOUTS, YAHOO_COLUMNS, YAHOO_TOPICS

LAYOUT_COLUMNS = {column for one in LAYOUTS for column in (*one.needs, *one.reads)}
"""Columns that a layout uses."""


class TableRows(NamedTuple):
    """The records of a table."""

    records: list[Mapping[str, object]]
    """Column to text, a row each."""
    lines: list[int]
    """The line on which each row begins, from 1."""


def read_table_rows(file: Path, names: Sequence[str] = ()) -> TableRows:
    """Read a table with a header, or a header-less one: Yahoo Answers', or named.

    Parameters
    ----------
    file : Path
    names : sequence of str
        Names of the columns of a table that has no header.

    Raises
    ------
    InputError
        If it is no table; names the line.
    """
    fit = (lambda cells: len(cells) == len(names)) if names else _known_columns
    table = read_table(file, fit, free_text=True, unpack=True)
    columns: Sequence[str] = names or YAHOO_COLUMNS
    is_yahoo = not names and _is_yahoo(table.rows[0].cells)
    headed = not (names or is_yahoo)
    if headed:
        columns = _header(table)
    if names and [*map(_bare, table.rows[0].cells)] == [*map(_bare, names)]:
        raise InputError(
            f"{file}, line {table.rows[0].line}: is a header of the names in "
            f"`data.columns`, which is for tables without one; leave it out."
        )
    found = TableRows([], [])
    for row in table.rows[headed:]:
        table.check_width(row, columns)
        cells = row.cells
        if is_yahoo:
            cells = [_yahoo_topic(file, row), *cells[1:]]
        found.records.append(dict(zip(columns, cells, strict=True)))
        found.lines.append(row.line)
    return found


def _known_columns(cells: Sequence[str]) -> int:
    """Count the cells of a first row that layouts know."""
    if _is_yahoo(cells):
        return len(cells)
    return len(LAYOUT_COLUMNS.intersection(map(_bare, cells)))


def _bare(name: str) -> str:
    return name.strip().casefold()


def _header(table: Table) -> list[str]:
    """Return the columns' names; those that layouts know as layouts write them."""
    names = [cell.strip() for cell in table.rows[0].cells]
    names = [_bare(name) if _bare(name) in LAYOUT_COLUMNS else name for name in names]
    twice = [name for at, name in enumerate(names) if name in names[:at]]
    if twice:
        raise InputError(
            f"{table.path}, line {table.rows[0].line}: two columns `{twice[0]}`; keep "
            "one."
        )
    return names


def _is_yahoo(cells: Sequence[str]) -> bool:
    classes = {str(number) for number in range(1, len(YAHOO_TOPICS) + 1)}
    return len(cells) == len(YAHOO_COLUMNS) and cells[0] in classes


def _yahoo_topic(file: Path, row: Row) -> str:
    if not _is_yahoo(row.cells):
        raise InputError(
            f"{file}, line {row.line}: class index `{row.cells[0]}` is not one of 1 to "
            "10."
        )
    return YAHOO_TOPICS[int(row.cells[0]) - 1]

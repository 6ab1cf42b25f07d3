"""Rows of text from tables: CSV, TSV and their like."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from trimwave.base.errors import InputError
from trimwave.base.table import Row, Table, read_table
from trimwave.lm.data.layouts import LAYOUTS, YAHOO_COLUMNS, YAHOO_TOPICS

LAYOUT_COLUMNS = {
    column for one in LAYOUTS for column in (*one.needs, *one.reads)
}
"""Columns that a layout uses."""


class TableRows(NamedTuple):
    """The records of a table."""

    records: list[Mapping[str, object]]
    """Column to text, a row each."""
    lines: list[int]
    """The line on which each row begins, from 1."""


def read_table_rows(file: Path) -> TableRows:
    """Read a table with a header, or the header-less one of Yahoo Answers.

    Raises
    ------
    InputError
        If it is no table; names the line.
    """
    table = read_table(file, _known_columns, free_text=True)
    columns: Sequence[str] = YAHOO_COLUMNS
    if headed := not _is_yahoo(table.rows[0].cells):
        columns = _header(table)
    found = TableRows([], [])
    for row in table.rows[headed:]:
        table.check_width(row, columns)
        cells = row.cells
        if not headed:
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

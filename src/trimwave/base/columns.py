"""Columns of numbers from a table: by name, with units, each value with its place."""

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trimwave.base.errors import InputError, nearest
from trimwave.base.quantity import Quantity
from trimwave.base.table import DELIMITERS, Row, Table, read_table, shown
from trimwave.base.units import FloatArray

COMMENT = "_"
"""Columns whose names begin with it are not read."""

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)

MISSING = frozenset(
    {"nan", "na", "n/a", "#n/a", "none", "null", "nil", "-", "--", "?", "unknown"}
)
"""How tables say that there is no value."""

INFINITE = frozenset({"inf", "+inf", "infinity", "+infinity"})

KINDS = (
    (NUMBER.pattern, "it is larger than any number"),
    (r"0[xX][\da-fA-F]+", "write it in decimals"),
    (r"[+-]?\d+,\d+([eE][+-]?\d+)?", "a decimal comma is suspected; write a point"),
    (r"[+-]?\d{1,3}([ ,.'’\u00a0\u202f]\d{3})+", "write it without separators"),
    (r"[+-]?\d[\d_]*_[\d_]*", "write it without separators"),
    (r"[\u2010-\u2015\u2212].*", "its minus is a typographic one; write `-`"),
    (r".*%", "write a number without the percent sign"),
    (r"[+-]?[\d.,]+([eE][+-]?\d+)?\s*[^\W\d_].*", "write the number without a unit"),
    (r"#[\w/#]+[!?]?", "the spreadsheet has an error there"),
    (r"=.*", "it is a formula; save its value"),
)
"""What cells hold that are nearly numbers: a pattern, and what to do."""


@dataclass(frozen=True)
class Column:
    """A column that a table may have."""

    name: str
    quantity: Quantity | None = None
    """What its values can be; None = whole numbers that only tell rows apart."""
    required: bool = True
    gives: str = ""
    """What it is another way to write: a name that several columns may share, of which
    a table has one at the most; empty = its own name."""
    factor: float = 1.0
    """One of its unit in that of what it gives."""
    is_text: bool = False
    """Holds any text, in `Columns.texts`, instead of numbers."""
    may_be_missing: bool = False
    """Cells may be empty or in `MISSING`, and are nan then."""

    @property
    def key(self) -> str:
        """The name under which its values are found."""
        return self.gives or self.name

    @property
    def unit(self) -> str:
        """What is expected in it, for messages."""
        if self.is_text:
            return "a text"
        if self.quantity is None:
            return "a whole number"
        return f"a number in {self.quantity.unit}"


@dataclass(frozen=True)
class Columns:
    """The numbers of a table, and where each stands in the file."""

    path: Path
    lines: tuple[int, ...]
    """The line of each row."""
    headings: dict[str, str]
    """By a column's key, how the file writes its name."""
    values: dict[str, FloatArray]
    """By key, one value per row in the key's unit; of the columns that are there."""
    texts: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By key, one text per row; of the columns of text that are there."""

    def where(self, row: int, name: str) -> str:
        """Return the place of a value, for messages."""
        return f"{self.path}, line {self.lines[row]}, column `{self.headings[name]}`"


HeaderCheck = Callable[[str, Mapping[str, str]], object]
"""Told where a header is and, by key, how it writes what it has; raises if that is no
header of such a table."""


def read_columns(
    path: Path,
    columns: Sequence[Column],
    check_header: HeaderCheck | None = None,
    expected: str = "",
) -> Columns:
    """Read columns of numbers from a table with a header, in any order.

    Names are compared without case, surrounding space and quotation marks. Columns
    whose names begin with ``_`` and lines that begin with ``#`` are comments.

    Parameters
    ----------
    path : Path
        A file as `read_table` takes it.
    columns : sequence of Column
        What may be there; anything else is refused.
    check_header : callable, optional
        What is to hold of the columns together.
    expected : str
        What messages say is expected; the required columns if left out.

    Raises
    ------
    InputError
        If the file is no such table, or a value is no number or cannot be in its unit;
        names line, column and what is expected.
    """
    known = {column.name.casefold(): column for column in columns}
    table = read_table(path, lambda cells: sum(_bare(one) in known for one in cells))
    header, *rows = table.rows
    expected = expected or _listed(known)
    places = _places(table, header, known, expected)
    headings = {column.key: header.cells[at].strip() for column, at in places}
    if check_header is not None:
        check_header(f"{path}, line {header.line}", headings)
    if not rows:
        raise InputError(f"{path}: no rows below the header.")
    for row in rows:
        table.check_width(row, header.cells)
        if not any(cell.strip() for cell in row.cells):
            raise InputError(
                f"{path}, line {row.line}: every cell is empty; take the line out."
            )
    kept = [(column, at) for column, at in places if not column.is_text]
    written = {column.key: _numbers(table, rows, at, column) for column, at in kept}
    found = Columns(
        path=path,
        lines=tuple(row.line for row in rows),
        headings=headings,
        values={column.key: written[column.key] * column.factor for column, _ in kept},
        texts={
            column.key: tuple(_text(table, row, at) for row in rows)
            for column, at in places
            if column.is_text
        },
    )
    for column, _ in kept:
        _check(found, column, written[column.key])
    return found


def _bare(name: str) -> str:
    """Return a column's name as it is compared."""
    return name.strip().strip("\ufeff\"'`“”„").strip().casefold()


def _places(
    table: Table, header: Row, known: dict[str, Column], expected: str
) -> list[tuple[Column, int]]:
    """Return the columns that are there, and where each stands."""
    where = f"{table.path}, line {header.line}"
    names = [_bare(cell) for cell in header.cells]
    if all(NUMBER.fullmatch(name) for name in names):
        raise InputError(
            f"{where}: numbers, where the columns' names must be; begin the file with "
            f"a header: {expected}."
        )
    places: dict[str, tuple[Column, int]] = {}
    for at, name in enumerate(names):
        if name.startswith(COMMENT):
            continue
        if name not in known:
            raise InputError(_unknown(where, header, at, known, expected))
        column = known[name]
        if column.key in places:
            _, first = places[column.key]
            here, there = header.cells[at].strip(), header.cells[first].strip()
            two = f"two columns `{here}`"
            if names[first] != name:
                two = f"`{there}` and `{here}` give the same"
            raise InputError(
                f"{where}: {two}, the {first + 1}. and the {at + 1}.; keep one."
            )
        places[column.key] = column, at
    absent = (one for one in known.values() if one.key not in places)
    missing = [one.name for one in absent if one.required]
    if missing:
        given = ", ".join(f"`{column.name}`" for column, _ in places.values()) or "none"
        raise InputError(
            f"{where}: no column {', '.join(f'`{name}`' for name in missing)}; "
            f"expected {expected}, found {given}."
        )
    return list(places.values())


def _listed(known: dict[str, Column]) -> str:
    return ", ".join(name for name, column in known.items() if column.required)


def _unknown(
    where: str, header: Row, at: int, known: dict[str, Column], expected: str
) -> str:
    """Say what to do about a column that nothing reads."""
    name = header.cells[at].strip()
    if len(header.cells) == 1:
        if any(one in name for one in DELIMITERS):
            return (
                f"{where}: the whole line is within quotation marks, {shown(name)}; "
                "take those at its ends away, in every line."
            )
        separators = ", ".join(DELIMITERS.values())
        return (
            f"{where}: one column alone, {shown(name)}; expected {expected}, "
            f"with one of {separators} between them."
        )
    if not name:
        return (
            f"{where}: the {at + 1}. column has no name; take it out (an index that "
            "was saved too, or a separator at the line's end?), or name it "
            f"`{COMMENT}index` to keep it unread."
        )
    return (
        f"{where}: unknown column {shown(name)} ({nearest(_bare(name), known)}); take "
        f"it out, or name it `{COMMENT}{shown(name)[1:-1]}` to keep it unread."
    )


def _numbers(table: Table, rows: Sequence[Row], at: int, column: Column) -> FloatArray:
    """Return a column as numbers: at once, or cell by cell if one is not plain."""
    cells = [row.cells[at].strip() for row in rows]
    if all(map(NUMBER.fullmatch, cells)):
        values = np.array([*map(float, cells)])
        if np.isfinite(values).all():
            return values
    return np.array([_number(table, row, at, column) for row in rows])


def _number(table: Table, row: Row, at: int, column: Column) -> float:
    """Return one cell as a number."""
    cell = row.cells[at].strip()
    none_is = column.quantity.none_is if column.quantity else None
    if NUMBER.fullmatch(cell) and math.isfinite(value := float(cell)):
        return value
    if cell.casefold() in INFINITE and none_is == np.inf:
        return np.inf
    if column.may_be_missing and (not cell or cell.casefold() in MISSING):
        return np.nan
    heading = table.rows[0].cells[at].strip()
    raise InputError(
        f"{table.path}, line {row.line}, column `{heading}`: must be {column.unit}, "
        f"got {shown(row.cells[at])}{_advice(cell)}."
    )


def _text(table: Table, row: Row, at: int) -> str:
    """Return one cell as a text on one line."""
    text = " ".join(row.cells[at].split())
    if text and text.isprintable():
        return text
    heading = table.rows[0].cells[at].strip()
    what = "is empty; fill it in" if not text else f"cannot be shown: {text!r}"
    raise InputError(f"{table.path}, line {row.line}, column `{heading}`: {what}.")


def _advice(cell: str) -> str:
    """Say what is wrong with a cell that is no number."""
    if not cell:
        return "; fill it in, or take the line out"
    if cell.casefold() in MISSING or cell.casefold().lstrip("+-") in INFINITE:
        return ", which is no value; fill it in, or take the line out"
    for pattern, advice in KINDS:
        if re.fullmatch(pattern, cell, re.ASCII):
            return f"; {advice}"
    return ""


def _check(found: Columns, column: Column, values: FloatArray) -> None:
    """Refuse values that cannot be, and warn once of those that are unusual.

    `values` are in the unit of the column.
    """
    doubts = []
    plain = values % 1 == 0 if column.quantity is None else column.quantity.has(values)
    plain |= np.isnan(values)  # missing, as far as that may be
    for row in np.flatnonzero(~plain).tolist():
        value = float(values[row])
        if column.quantity is None:
            fault = None if value % 1 == 0 else f"must be whole, got {value:g}"
        else:
            fault = column.quantity.fault(value)
        if fault is not None:
            raise InputError(f"{found.where(row, column.key)}: {fault}.")
        if column.quantity and (doubt := column.quantity.doubt(value)):
            doubts.append(f"{found.where(row, column.key)}: {doubt}")
    if doubts:
        more = f" (so are {len(doubts) - 1} more)" if len(doubts) > 1 else ""
        warnings.warn(f"{doubts[0]}{more}.", stacklevel=4)

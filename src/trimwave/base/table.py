"""Tables in text files: delimiter and header recognised, rows by the file's own lines.

The one reader of cells, traces and data rows. Cells are text here; `columns.py` makes
numbers of them.
"""

import csv
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from trimwave.base.decode import read_text
from trimwave.base.errors import InputError

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
"""Endings of tables, in any case."""

BROUGHT_SUFFIXES = (*TABLE_SUFFIXES, ".xlsx", ".xls", ".ods", ".parquet")
"""Endings of what is meant as a table; the reader says what of it is none."""

PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".zst", ".zip")

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
"""What may separate columns; the first that fits best is taken."""

LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
DECLARED = re.compile(r"\s*\"?sep=(.)\"?\s*")
"""The line in which Excel writes down the delimiter."""

SPREADSHEET_ERROR = re.compile(r"#(N/A|[A-Z0-9/]+[!?]|#)")
"""Begins as a comment does, but is a row whose first value is missing."""

NUMBER_LIKE = re.compile(r"[-+.\deE\s]*")
INTEGER = re.compile(r"\s*[+-]?\d+\s*")
FRACTION = re.compile(r"\d+([eE][+-]?\d+)?\s*")
"""What stands behind a decimal comma, or a comma between thousands."""

_limit_lock = threading.Lock()

Fit = Callable[[Sequence[str]], int]
"""How many cells of a first row are what they should be."""


class Row(NamedTuple):
    """One row of a table."""

    line: int
    """The line of the file on which it begins, from 1."""
    cells: list[str]
    """Its cells, as they stand there, without quotation marks."""


@dataclass(frozen=True)
class Table:
    """The rows of a file, the first of which may be its header."""

    path: Path
    delimiter: str
    rows: list[Row]
    free_text: bool

    def check_width(self, row: Row, columns: Sequence[str]) -> None:
        """Refuse a row that has more or fewer cells than there are columns.

        Raises
        ------
        InputError
            Naming line, column and what is in excess.
        """
        cells, wanted = row.cells, len(columns)
        if len(cells) == wanted:
            return
        said = (
            f"{self.path}, line {row.line}: {len(cells)} "
            f"{'cell' if len(cells) == 1 else 'cells'} for {wanted} columns"
        )
        if len(cells) > wanted:
            excess = ", ".join(shown(cell) for cell in cells[wanted:][:4])
            raise InputError(f"{said}, in excess: {excess}{self._suspicion(row)}.")
        for other, name in DELIMITERS.items():
            if len(cells) == 1 and cells[0].count(other) == wanted - 1:
                raise InputError(
                    f"{said}; it has {name} where the header has "
                    f"{DELIMITERS[self.delimiter]}."
                )
        raise InputError(f"{said}; `{columns[len(cells)]}` has none. Was it cut?")

    def _suspicion(self, row: Row) -> str:
        """Say what may have cut numbers in two."""
        excess = len(row.cells) - len(self.rows[0].cells)
        if not any(cell.strip() for cell in row.cells[-excess:]):
            return "; take the separators at the line's end away"
        if self.free_text:
            return f"; a text with `{self.delimiter}` needs quotation marks around it"
        if self.delimiter != "," or not all(map(NUMBER_LIKE.fullmatch, row.cells)):
            return ""
        # Each comma too many has whole digits before it, and digits behind it.
        cut = sum(
            bool(INTEGER.fullmatch(before) and FRACTION.fullmatch(after))
            for before, after in pairwise(row.cells)
        )
        if cut >= excess:
            return (
                "; decimal commas or thousands separators are suspected: write points, "
                "and no separators, or put `;` between columns"
            )
        return ""


def is_table_name(name: str) -> bool:
    """Whether a file's name is that of a table, packed or in another format too."""
    endings = [ending.lower() for ending in Path(name).suffixes]
    if endings and endings[-1] in PACKED_SUFFIXES:
        endings.pop()
    return bool(endings) and endings[-1] in BROUGHT_SUFFIXES


def shown(cell: str) -> str:
    """Return a cell for an error message, cut where it is long."""
    return repr(cell if len(cell) <= 40 else cell[:37] + "...")


def read_table(
    path: Path, fit: Fit, *, free_text: bool = False, unpack: bool = False
) -> Table:
    """Read the rows of a table, the header included.

    Blank lines are passed over; in tables of numbers, lines that begin with ``#`` too.

    Parameters
    ----------
    path : Path
        A file of text, in any encoding of `read_text`.
    fit : callable
        Of a first row's cells, how many are what they should be; the delimiter with
        which most are is taken, the one with more columns where as many are.
    free_text : bool
        The cells are text whose white space and ``#`` count.
    unpack : bool
        Unpack a file that is compressed with gzip.

    Raises
    ------
    InputError
        If the file is no table, is empty, or a quotation mark is left open.
    """
    text = read_text(path, unpack=unpack)
    with _fields_of_any_length():
        delimiter = _delimiter(path, text, fit, free_text)
        rows = list(_rows(path, text, delimiter, free_text))
    if not rows:
        raise InputError(f"{path}: is empty; expected a header and rows.")
    return Table(path, delimiter, rows, free_text)


@contextmanager
def _fields_of_any_length() -> Iterator[None]:
    """Lift the csv module's limit, which is one for the whole process."""
    with _limit_lock:
        before = csv.field_size_limit(sys.maxsize)
        try:
            yield
        finally:
            csv.field_size_limit(before)


def _delimiter(path: Path, text: str, fit: Fit, free_text: bool) -> str:
    first = LINE.match(text)
    declared = DECLARED.fullmatch(first.group()) if first else None
    if declared and declared[1] in DELIMITERS:
        return declared[1]
    order = list(DELIMITERS)
    if ".tsv" in (path.suffix.lower(), Path(path.stem).suffix.lower()):
        order.sort(key="\t".__ne__)
    best, most = order[0], (-1, -1)
    for delimiter in order:
        try:
            cells = next(_rows(path, text, delimiter, free_text)).cells
        except (InputError, StopIteration):
            continue  # with the delimiter that is taken in the end it is said
        if (found := (fit(cells), len(cells))) > most:
            best, most = delimiter, found
    return best


class _Lines:
    """The lines of a text, counted; comments before a row are passed over.

    A ``#`` within quotation marks that run over several lines is none: the csv module
    asks for those lines in the midst of a row.
    """

    def __init__(self, text: str, comments: bool) -> None:
        self._found = LINE.finditer(text)
        self._comments = comments
        self._number = 0
        self.begins = True
        """Whether the next line begins a row."""
        self.first = 0
        """Line on which the last row began."""

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        for match in self._found:
            line = match.group()
            self._number += 1
            if self.begins and self._is_passed_over(line):
                continue
            if self.begins:
                self.begins, self.first = False, self._number
            return line
        raise StopIteration

    def _is_passed_over(self, line: str) -> bool:
        if self._number == 1 and DECLARED.fullmatch(line):
            return True
        # A line of tabs alone is a row whose cells are all empty.
        bare = line.strip(" \r\n")
        if not self._comments or SPREADSHEET_ERROR.match(bare):
            return False
        return bare[:1] in ("", "#")


def _rows(path: Path, text: str, delimiter: str, free_text: bool) -> Iterator[Row]:
    lines = _Lines(text, comments=not free_text)
    table = csv.reader(
        lines, delimiter=delimiter, strict=True, skipinitialspace=not free_text
    )
    while True:
        lines.begins = True
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            what = str(error)
            if "unexpected end" in what:
                what = "a quotation mark is opened and not closed"
            raise InputError(
                f"{path}, line {lines.first}: not as a table should be: {what}."
            ) from None
        if cells:
            yield Row(lines.first, cells)

"""Tables as people spoil them, and as programs write them."""

import csv
import io
from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")


@dataclass(frozen=True)
class Sheet:
    """A table and how it is written down."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    delimiter: str = ","
    line_end: str = "\n"
    encoding: str = "utf-8"
    quoting: int = csv.QUOTE_MINIMAL
    between: tuple[str, ...] = field(default=())
    """Lines before the header."""

    def text(self) -> str:
        file = io.StringIO()
        writer = csv.writer(
            file,
            delimiter=self.delimiter,
            lineterminator=self.line_end,
            quoting=self.quoting,
        )
        writer.writerows([self.header, *self.rows])
        return "".join(line + self.line_end for line in self.between) + file.getvalue()

    def content(self) -> bytes:
        return self.text().encode(self.encoding)

    @property
    def first_line(self) -> int:
        """The line of the first row."""
        return len(self.between) + 2

    def with_cell(self, row: int, column: int, value: str) -> "Sheet":
        cells = [list(one) for one in self.rows]
        cells[row][column] = value
        return replace(self, rows=tuple(map(tuple, cells)))

    def with_columns(self, order) -> "Sheet":
        return replace(
            self,
            header=tuple(self.header[at] for at in order),
            rows=tuple(tuple(row[at] for at in order) for row in self.rows),
        )


@st.composite
def rewritten(draw, sheet):
    """The same table otherwise written: any program's, anyone's hand."""
    order = draw(st.permutations(range(len(sheet.header))))
    sheet = sheet.with_columns(order)
    space = st.sampled_from(["", " ", "  ", "\u00a0"])
    case = st.sampled_from([str.lower, str.upper, str.title])
    header = tuple(
        draw(space) + draw(case)(name) + draw(space) for name in sheet.header
    )
    rows = tuple(
        tuple(draw(st.sampled_from(["", " "])) + cell for cell in row)
        for row in sheet.rows
    )
    if draw(st.booleans()):
        header, rows = (*header, " _note"), tuple((*row, "x, y; z") for row in rows)
    return replace(
        sheet,
        header=header,
        rows=rows,
        delimiter=draw(st.sampled_from(list(DELIMITERS))),
        line_end=draw(st.sampled_from(["\n", "\r\n", "\r"])),
        encoding=draw(st.sampled_from(ENCODINGS)),
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        between=tuple(draw(st.lists(st.sampled_from(["", "# by hand", " "])))),
    )


NO_NUMBERS = (
    *("", " ", "nan", "NaN", "inf", "-inf", "None", "null", "-", "N/A", "#N/A", "?"),
    *("#DIV/0!", "####", "4 GB", "50%", "20,5", "1,000,000", "1_000", "4 000", "x"),
    *("0x10", "1e", "e9", "--1", "1.2.3", "−5", "１", "1e400", "=A1", "True", "1+1"),
)
"""Cells that are nobody's number."""


@st.composite
def spoiled(draw, sheet):
    """A table with one fault that cannot be read past; and the line it is on, if any.

    A fault of the header has the header's line.
    """
    row = draw(st.integers(0, len(sheet.rows) - 1))
    column = draw(st.integers(0, len(sheet.header) - 1))
    line = sheet.first_line + row
    rows, header = list(sheet.rows), list(sheet.header)
    kind = draw(st.sampled_from(["cell", "cut", "long", "renamed", "dropped", "twice"]))
    if kind == "cell":
        return sheet.with_cell(row, column, draw(st.sampled_from(NO_NUMBERS))), line
    if kind == "cut":
        rows[row] = rows[row][: draw(st.integers(1, len(header) - 1))]
        return replace(sheet, rows=tuple(rows)), line
    if kind == "long":
        rows[row] = (*rows[row], draw(st.sampled_from(["5", "", "x"])))
        return replace(sheet, rows=tuple(rows)), line
    if kind == "renamed":
        header[column] = draw(st.sampled_from(["x", "", header[column] + "s", "1"]))
        return replace(sheet, header=tuple(header)), sheet.first_line - 1
    if kind == "twice":
        again = [*range(len(header)), column]
        return sheet.with_columns(again), sheet.first_line - 1
    others = [at for at in range(len(header)) if at != column]
    return sheet.with_columns(others), sheet.first_line - 1

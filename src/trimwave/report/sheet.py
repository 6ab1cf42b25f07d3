"""A table with the lines below it, as text, on a terminal and in a notebook."""

import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from trimwave.report.console import print_whole

COLUMNS = 80
"""What a sheet is laid out for; a wider table is printed whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sheet:
    """What a command would print: ``print(sheet)``, or its name in a notebook cell."""

    content: Table | Sequence[str]
    """A table, or its lines."""
    lines: Sequence[str] = ()

    def __str__(self) -> str:
        console = Console(
            file=io.StringIO(),
            width=COLUMNS,
            markup=False,
            emoji=False,
            highlight=False,
        )
        if isinstance(self.content, Table):
            print_whole(console, self.content)
        else:
            console.print("\n".join(self.content), soft_wrap=True)
        for line in self.lines:
            console.print(line, soft_wrap=True)
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        return "\n".join(line.rstrip() for line in text.splitlines())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        if isinstance(self.content, Table):
            yield self.content
        else:
            yield from self.content
        yield from self.lines

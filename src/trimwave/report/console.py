"""The console that commands print to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.table import Table

from trimwave.base.signals import Stopped
from trimwave.report.aligned import wrapped

NARROWEST, WIDEST = 40, 1000
"""Columns that a line is laid out for, whatever the terminal says."""


def plain_console(stderr: bool = False, file: IO[str] | None = None) -> Console:
    """Return a console that prints names as they are, whatever is in them."""
    console = Console(
        stderr=stderr, file=file, markup=False, emoji=False, highlight=False
    )
    console.width = max(console.width, NARROWEST)  # COLUMNS=0 would print nothing
    return console


def print_whole(console: Console, table: Table) -> None:
    """Print a table with no number cut: wider than the terminal if need be.

    Its caption is as wide as the terminal, and breaks between words alone.
    """
    legend, table.caption = table.caption, None
    wide = console.options.update(max_width=WIDEST)
    before, needed = console.width, console.measure(table, options=wide).maximum
    console.width = max(before, needed)  # `print` takes no more than that
    console.print(table, crop=False)
    console.width = before
    for line in wrapped(str(legend or ""), console.width):
        console.print(line, style="dim", soft_wrap=True)


@contextmanager
def stopped_hint(console: Console, command: str, needed: Path) -> Iterator[None]:
    """Say after Ctrl-C or `kill` how to go on, or that nothing was begun.

    Parameters
    ----------
    console : Console
        Where to say it.
    command : str
        What goes on.
    needed : Path
        What must be there for that.
    """
    try:
        yield
    except (KeyboardInterrupt, Stopped):
        if needed.exists():
            console.print(f"\nstopped; go on with: {command}", soft_wrap=True)
        else:
            console.print("\nstopped while loading; nothing was begun", soft_wrap=True)
        raise

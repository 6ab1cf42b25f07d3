"""The console that commands print to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from trimwave.base.signals import Stopped


def plain_console(stderr: bool = False) -> Console:
    """Return a console that prints names as they are, whatever is in them."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


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

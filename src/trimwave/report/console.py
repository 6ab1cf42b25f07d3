"""The console that commands print to."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console


def plain_console(stderr: bool = False) -> Console:
    """Return a console that prints names as they are, whatever is in them."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


@contextmanager
def stopped_hint(console: Console, command: str, needed: Path) -> Iterator[None]:
    """Say after Ctrl-C how to go on, once there is something to go on with."""
    try:
        yield
    except KeyboardInterrupt:
        if needed.exists():
            console.print(f"\nstopped; go on with: {command}", soft_wrap=True)
        raise

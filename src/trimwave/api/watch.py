"""Who is told of a run's progress."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from trimwave.methods import label_of
from trimwave.recipe.config import Config
from trimwave.report.progress import RoundProgress

OnRound = Callable[[str, dict[str, Any]], None]
"""Told the label of a method and the record of each of its rounds."""


def _unheard(label: str, record: dict[str, Any]) -> None:
    """Nobody listens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watch:
    """Who is told of progress."""

    console: Console
    on_round: OnRound = _unheard


@contextmanager
def heard(watch: Watch, config: Config) -> Iterator[tuple[Any, Any]]:
    """Show a run's progress: whom to tell of a record, and of a client."""
    label = label_of(config.method, config.options)
    with RoundProgress(watch.console, label, config.rounds) as progress:

        def on_record(record: dict[str, Any]) -> None:
            progress.on_record(record)
            watch.on_round(label, record)

        yield on_record, progress.on_client

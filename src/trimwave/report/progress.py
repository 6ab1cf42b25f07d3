"""Live progress on a terminal; one plain line per round elsewhere."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from trimwave.report.task_metrics import task_words


class RoundProgress:
    """Shows round, losses, virtual seconds, the straggler and the time left."""

    def __init__(self, console: Console, label: str, num_rounds: int) -> None:
        self._console = console
        self._label = label
        self._num_rounds = num_rounds
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[clients]}ETA", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(label, total=num_rounds, clients="")
        self._done = 0

    def __enter__(self) -> "RoundProgress":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def on_client(self, client: int, place: int, num_clients: int) -> None:
        """Take note that a client starts, as the how-manyeth of its round, from 0."""
        number = min(self._done + 1, self._num_rounds)
        self._bar.update(
            self._task,
            completed=self._done + place / num_clients,
            description=f"{self._label} round {number}/{self._num_rounds}",
            clients=f"{place + 1}/{num_clients} clients (number {client}), ",
        )

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Print a finished round."""
        self._done = record["round"]
        self._bar.update(self._task, completed=self._done, clients="")
        line = (
            f"{self._label:<8} round {record['round']:>3}/{self._num_rounds}  "
            f"{record['virtual_s']:>9.2f} virtual s  "
            f"loss {record['loss_emulator']:.4f} emulator, "
            f"{record['loss_full']:.4f} full"
        )
        if "stage" in record:
            line += f"  stage {record['stage']}"
        if "plan" in record:
            slowest = record["plan"]["straggler"]
            prune_rate = record["plan"]["prune_rate"][slowest]
            line += f"  last: client {slowest}"
            if prune_rate > 0:
                line += f", beta {prune_rate:.2f}"
        self._console.print(line, soft_wrap=True)
        if record.get("metrics"):
            words = task_words(record["metrics"])
            self._console.print(f"{'':<8} {words}", soft_wrap=True)

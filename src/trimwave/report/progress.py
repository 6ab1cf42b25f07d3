"""Live progress on a terminal; one plain line per round elsewhere."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)


class RoundProgress:
    """Shows round, losses, virtual seconds, the straggler and the time left."""

    def __init__(
        self, console: Console, label: str, num_rounds: int, num_clients: int
    ) -> None:
        self._console = console
        self._label = label
        self._num_rounds = num_rounds
        self._num_clients = num_clients
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("clients, ETA"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(label, total=num_rounds * num_clients)
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

    def on_client(self, client: int) -> None:
        """Take note that a client starts."""
        number = min(self._done + 1, self._num_rounds)
        description = f"{self._label} round {number}/{self._num_rounds}"
        completed = self._done * self._num_clients + client
        self._bar.update(
            self._task,
            completed=completed,
            description=f"{description} client {client}",
        )

    def on_record(self, record: Mapping[str, Any]) -> None:
        """Print a finished round."""
        self._done = record["round"]
        self._bar.update(self._task, completed=self._done * self._num_clients)
        line = (
            f"{self._label:<8} round {record['round']:>3}/{self._num_rounds}  "
            f"{record['virtual_s']:>9.2f} virtual s  "
            f"loss {record['loss_emulator']:.4f} emulator, "
            f"{record['loss_full']:.4f} full"
        )
        if "plan" in record:
            slowest = record["plan"]["straggler"]
            prune_rate = record["plan"]["prune_rate"][slowest]
            line += f"  last: client {slowest}"
            if prune_rate > 0:
                line += f", beta {prune_rate:.2f}"
        self._console.print(line, soft_wrap=True)

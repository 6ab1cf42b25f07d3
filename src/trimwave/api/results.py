"""What the functions return: tables, axes, rows, and where everything lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from trimwave.decision.check import PER_CLIENT
from trimwave.decision.plan import Plan, Situation
from trimwave.recipe.config import Config
from trimwave.report.aligned import legend, wrapped
from trimwave.report.axes import frame_of, plot_losses, plot_plan
from trimwave.report.plan_table import (
    plan_json,
    plan_lines,
    plan_meanings,
    plan_table,
)
from trimwave.report.sheet import COLUMNS, Sheet
from trimwave.report.summary import numbers_of, table
from trimwave.report.target import Records, choose_target, target_lines

Loss = Literal["loss_full", "loss_emulator"]

Row = dict[str, Any]


class Shown:
    """Prints, and shows in a notebook, what `table` returns."""

    __slots__ = ()

    def table(self) -> Sheet:
        """Return the table that the command prints."""
        raise NotImplementedError

    def to_rows(self) -> list[Row]:
        """Return plain rows."""
        raise NotImplementedError

    def to_pandas(self) -> Any:
        """Return `to_rows` as a pandas data frame.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        return frame_of(list(self.to_rows()))

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison(Shown):
    """Finished runs of several methods."""

    results: Mapping[str, Sequence[Records]]
    """Label of a method to the records of its runs, one per seed."""
    folder: Path
    """Where the runs are."""
    config: Config
    """What the runs have in common."""

    def table(self) -> Sheet:
        """Return the table that `trimwave compare` prints."""
        target = choose_target(self.results)
        return Sheet(
            content=table(numbers_of(self.results, target), target),
            lines=tuple(target_lines(self.results, target)),
        )

    def plot(self, ax: Any = None, *, loss: Loss = "loss_full") -> Any:
        """Draw a test loss over virtual time; returns matplotlib axes.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        return plot_losses(self.results, ax, loss)

    def to_rows(self) -> list[Row]:
        """Return one row per method, seed and round; round 0 is before training."""
        return [
            {"method": label, "seed": self.config.seed + number, **_plain(record)}
            for label, runs in self.results.items()
            for number, records in enumerate(runs)
            for record in records
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run(Comparison):
    """A finished run of one method."""

    @property
    def label(self) -> str:
        """What tables call the method."""
        return next(iter(self.results))

    @property
    def records(self) -> Records:
        """What rounds.jsonl holds, a dict per round; round 0 is before training."""
        return self.results[self.label][0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned(Shown):
    """A plan of one round."""

    label: str
    """What tables call the method."""
    situation: Situation
    """What the method saw."""
    plan: Plan
    """What it decided: arrays over the clients."""

    @property
    def latency_s(self) -> float:
        """The round's time [s]."""
        return self.plan.latency_s

    @property
    def record(self) -> Row:
        """What `trimwave plan --json` prints."""
        return plan_json(self.situation, self.plan)

    def table(self) -> Sheet:
        """Return the table that `trimwave plan` prints."""
        told = legend(plan_meanings(self.plan), COLUMNS)
        for line in plan_lines(self.situation, self.plan):
            told += wrapped(line, COLUMNS)
        return Sheet(content=["", *plan_table(self.plan, COLUMNS), ""], lines=told)

    def plot(self, ax: Any = None) -> Any:
        """Draw the seconds of every client; returns matplotlib axes.

        Raises
        ------
        MissingExtraError
            If matplotlib is not installed.
        """
        return plot_plan(self.plan, ax, self.label)

    def to_rows(self) -> list[Row]:
        """Return one row per client, by its id where the cell has some."""
        record = self.plan.record()
        names = ["scheduled", "prune_rate", "total_s", *PER_CLIENT, "binding"]
        names += [name for name in ("up_bandwidth_hz", "energy_j") if name in record]
        ids = record.get("client_ids", range(self.plan.num_clients))
        return [
            {"client": who, **{name: record[name][k] for name in names}}
            for k, who in enumerate(ids)
        ]


def _plain(record: Mapping[str, Any]) -> Row:
    """Return what a record has one number of."""
    return {
        name: value
        for name, value in record.items()
        if not isinstance(value, Mapping | list)
    }

"""A sweep on the screen: its progress, and one row per grid point and method."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from trimwave.base.quantity import plain
from trimwave.report.aligned import aligned, narrow
from trimwave.sweep.draws import PLANNED

Row = Mapping[str, Any]

NEEDED = ("method", "seed", "status", "round_s")
"""Columns that are read, besides the keys that vary."""

MOST_REASONS = 5
"""Reasons that are printed."""

QUANTILES = (0.5, 0.05, 0.95)

MEANINGS = {
    "method": "who decides; `trimwave methods` lists them",
    "s per round": "median over draws of the mean over a draw's rounds",
    "5 %, 95 %": "of the draws are below",
    "planned": "rounds that have a plan, of all",
}
"""Titles of the table besides the keys that vary."""

WIDEST = 7
"""Characters of a time in the table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What a method does at a grid point."""

    varied: tuple[Any, ...]
    """Values of the keys that vary."""
    method: str
    """What tables call it."""
    num_planned: int
    """Rounds that have a plan."""
    num_rows: int
    """Rounds, over all draws."""
    round_s: tuple[float, ...] | None
    """Median, 5 % and 95 % quantile over draws of the mean time of a draw's rounds
    [s]; None where nothing could be planned."""
    reason: str
    """Why the first round without a plan has none."""


def summarise(rows: Iterable[Row], keys: Sequence[str]) -> list[Summary]:
    """Reduce a sweep's rows, in their order, to one line per grid point and method."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[(*(row[key] for key in keys), row["method"])].append(row)
    return [_summary(varied, method, of) for (*varied, method), of in groups.items()]


def _summary(varied: Sequence[Any], method: str, rows: Sequence[Row]) -> Summary:
    draws: dict[int, list[float]] = defaultdict(list)
    reasons = []
    for row in rows:
        if row["status"] == PLANNED:
            draws[row["seed"]].append(row["round_s"])
        else:
            reasons.append(row["status"])
    means = [float(np.mean(latencies)) for latencies in draws.values()]
    quantiles = np.quantile(means, QUANTILES).tolist() if means else None
    return Summary(
        varied=tuple(varied),
        method=method,
        num_planned=len(rows) - len(reasons),
        num_rows=len(rows),
        round_s=tuple(quantiles) if quantiles else None,
        reason=reasons[0] if reasons else "",
    )


@contextmanager
def draw_progress(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on a terminal; give what is to be told how many draws are done."""
    bar = Progress(
        "draws",
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        "ETA",
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("draws", total=None)
    with bar:
        yield lambda done, total: bar.update(task, completed=done, total=total)


def sweep_table(
    summaries: Sequence[Summary], keys: Sequence[str], width: int
) -> list[str]:
    """Lay out what `summarise` says of the same keys."""
    columns = {
        _short(key): [_written(one.varied[at]) for one in summaries]
        for at, key in enumerate(keys)
    }
    columns["method"] = [one.method for one in summaries]
    for at, title in enumerate(("s per round", "5 %", "95 %")):
        columns[title] = [
            narrow(one.round_s[at], 3, WIDEST) if one.round_s else ""
            for one in summaries
        ]
    columns["planned"] = [f"{one.num_planned}/{one.num_rows}" for one in summaries]
    return aligned(columns, width, left=("method",))


def sweep_meanings(keys: Sequence[str]) -> dict[str, str]:
    """Return the titles of the table and what they mean."""
    varied = {_short(key): f"`{key}` of the recipe" for key in keys}
    return varied | MEANINGS


def _written(value: Any) -> str:
    """Write a value of a key as a user would."""
    return plain(value) if isinstance(value, float) else str(value)


def reason_lines(summaries: Sequence[Summary], keys: Sequence[str]) -> list[str]:
    """Say why rounds have no plan: each first reason once, and only so many."""
    places: dict[str, str] = {}
    for one in summaries:
        if one.reason and one.reason not in places:
            values = zip(map(_short, keys), map(_written, one.varied), strict=True)
            point = ", ".join(f"{key} {value}" for key, value in values)
            place = f"{one.method} at {point}" if point else one.method
            places[one.reason] = f"no plan: {place}: {one.reason}"
    lines = list(places.values())
    if len(lines) > MOST_REASONS:
        more = len(lines) - MOST_REASONS
        lines[MOST_REASONS:] = [f"and {more} more reasons, in the column `status`"]
    return lines


def _short(key: str) -> str:
    return key.rpartition(".")[2]

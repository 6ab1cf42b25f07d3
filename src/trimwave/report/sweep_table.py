"""A sweep on the screen: its progress, and one row per grid point and method."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table

from trimwave.sweep.draws import PLANNED

Row = Mapping[str, Any]

NEEDED = ("method", "seed", "status", "round_s")
"""Columns that are read, besides the keys that vary."""

MOST_REASONS = 5
"""Reasons that are printed."""

QUANTILES = (0.5, 0.05, 0.95)

CAPTION = (
    "s per round: mean over a draw's rounds; median and 5-95 % interval over draws. "
    "planned: rounds that have a plan, of all."
)


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


def sweep_table(summaries: Sequence[Summary], keys: Sequence[str]) -> Table:
    """Lay out what `summarise` says of the same keys."""
    shown = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        caption=CAPTION,
        caption_justify="left",
        caption_style="dim",
    )
    for key in keys:
        shown.add_column(_short(key), justify="right", overflow="fold")
    shown.add_column("method", no_wrap=True)
    for title in ("s per\nround", "5 %", "95 %", "planned"):
        shown.add_column(title, justify="right", no_wrap=True)
    for one in summaries:
        numbers = [f"{value:.3f}" for value in one.round_s or ()] or [""] * 3
        planned = f"{one.num_planned}/{one.num_rows}"
        shown.add_row(*map(str, one.varied), one.method, *numbers, planned)
    return shown


def reason_lines(summaries: Sequence[Summary], keys: Sequence[str]) -> list[str]:
    """Say why rounds have no plan: each first reason once, and only so many."""
    places: dict[str, str] = {}
    for one in summaries:
        if one.reason and one.reason not in places:
            values = zip(map(_short, keys), one.varied, strict=True)
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

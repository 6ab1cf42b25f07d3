"""Results on matplotlib axes that a notebook can go on drawing on."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from trimwave.base.errors import MissingExtraError
from trimwave.decision.plan import Plan
from trimwave.report.picture import COLOURS, draw_panel, methods_with
from trimwave.report.target import Results

PARTS = {
    "compute_s": ("compute", COLOURS[2]),
    "down_s": ("download", COLOURS[5]),
    "up_s": ("upload", COLOURS[1]),
}
"""What a client's round is made of, with its colour."""


def axes_or_new(axes: Any | None) -> Any:
    """Return the axes that were given, or new ones.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    if axes is not None:
        return axes
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError as missing:
        raise MissingExtraError("report", str(missing.name)) from missing
    return plt.subplots(figsize=(7, 4), layout="constrained")[1]


def plot_losses(results: Results, axes: Any | None, loss: str) -> Any:
    """Draw a test loss over virtual time, as the picture of a comparison does."""
    axes = axes_or_new(axes)
    draw_panel(axes, results, loss, methods_with(results, loss))
    if axes.lines:
        axes.legend(fontsize=8)
    return axes


def plot_plan(plan: Plan, axes: Any | None, label: str) -> Any:
    """Draw the seconds of every client that takes part, part by part."""
    axes = axes_or_new(axes)
    clients = np.flatnonzero(plan.scheduled)
    start = np.zeros(clients.size)
    for name, (part, colour) in PARTS.items():
        seconds = getattr(plan, name)[clients]
        axes.barh(clients, seconds, left=start, label=part, color=colour)
        start = start + seconds
    axes.axvline(plan.latency_s, color="0.3", linestyle=":", linewidth=1.2)
    axes.invert_yaxis()
    if clients.size <= 20:
        axes.set_yticks(clients)
    axes.set_xlabel("time in the round [s]")
    axes.set_ylabel("client")
    axes.set_title(f"{label}: round {plan.latency_s:.4g} s")
    axes.legend()
    return axes


def frame_of(rows: list[Mapping[str, Any]]) -> Any:
    """Return rows as a pandas data frame.

    Raises
    ------
    MissingExtraError
        If pandas is not installed.
    """
    try:
        import pandas
    except ModuleNotFoundError as missing:
        raise MissingExtraError("report", str(missing.name)) from missing
    return pandas.DataFrame(rows)

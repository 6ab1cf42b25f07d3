"""Loss against virtual time, as the letter's Fig. 2."""

import textwrap
import warnings
from collections.abc import Sequence
from math import ceil, floor, log10
from pathlib import Path
from typing import Any

import numpy as np

from trimwave.base.errors import MissingExtraError
from trimwave.base.units import FloatArray
from trimwave.report.target import Records, Results, Target

PANELS = {
    "loss_emulator": "adapter on the method's emulator",
    "loss_full": "adapter plugged into the full model",
}
"""A method whose emulator is the full model is drawn on the second alone."""

COLOURS = ("#000000", "#e69f00", "#0072b2", "#009e73", "#d55e00", "#56b4e9", "#cc79a7")
"""Okabe and Ito's for colour-blind readers, without the yellow, faint on white."""
DASHES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1, 1.5)))
"""Taken in turn with the colours: 21 methods differ in colour or dashes."""
MARKERS = "os^DvP<X>p*hd"

TITLE_LETTERS = 90
"""What one line of the title holds."""

LEGEND_COLUMNS = 5

MARKED_ROUNDS = 8
"""About how many markers a line carries."""

WIDE_RATIO = 20
"""The time axis is logarithmic if the methods' total times differ by more than this."""


def save_picture(
    results: Results, title: str, path: Path, target: Target | None = None
) -> None:
    """Save `draw`'s picture as PNG, SVG or PDF.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    figure = draw(results, title, target)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in the title
        figure.savefig(path, dpi=150)


def draw(results: Results, title: str, target: Target | None = None) -> Any:
    """Draw test loss over virtual time, one line per method.

    A line is the mean over seeds at equal rounds, the band around it goes from the
    lowest to the highest seed; the target, a mean over seeds too, is dotted.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise MissingExtraError("report", str(missing.name)) from missing

    drawn = {name: _methods_with(results, name) for name in PANELS}
    names = [name for name in PANELS if drawn[name]]
    height = 3.7 + 0.25 * ceil(len(results) / LEGEND_COLUMNS)
    figure = Figure(figsize=(9, height), layout="constrained")
    axes: list[Any] = figure.subplots(1, len(names), squeeze=False)[0].tolist()
    for axis, name in zip(axes, names, strict=True):
        for number, (label, runs) in enumerate(results.items()):
            if label in drawn[name]:
                _draw_method(axis, number, label, runs, name, len(results))
        axis.set_title(PANELS[name], fontsize=10)
        axis.set_ylabel("test loss [nat/answer token]")
        axis.grid(alpha=0.3)
        _scale_time(axis, results)
    if target:
        _draw_target(axes[-1], target.mean_loss_full)
    _draw_legend(figure, results)
    # A picture cannot scroll: long names go on in a second line.
    figure.suptitle(textwrap.fill(title, TITLE_LETTERS), fontsize=11, parse_math=False)
    return figure


def _draw_legend(figure: Any, results: Results) -> None:
    num_seeds = max(len(runs) for runs in results.values())
    bands = f"mean of {num_seeds} seeds; band: lowest to highest seed"
    figure.legend(
        *figure.axes[-1].get_legend_handles_labels(),
        loc="outside lower center",
        ncols=LEGEND_COLUMNS,
        fontsize=9,
        handlelength=4,
        title=bands if num_seeds > 1 else None,
        title_fontsize=9,
    )


def _methods_with(results: Results, name: str) -> list[str]:
    """Return the methods that a panel shows."""
    if name == "loss_full":
        return list(results)
    return [
        label
        for label, runs in results.items()
        if not np.allclose(_by_round(runs, name), _by_round(runs, "loss_full"))
    ]


def _draw_method(
    axis: Any,
    number: int,
    label: str,
    runs: Sequence[Records],
    name: str,
    num_methods: int,
) -> None:
    """Draw the mean over seeds as a line and the range of the seeds as a band."""
    colour = COLOURS[number % len(COLOURS)]
    time_s, losses = _mean_time_s(runs), _by_round(runs, name)
    every = max(1, len(time_s) // MARKED_ROUNDS)
    axis.plot(
        time_s,
        losses.mean(axis=0),
        color=colour,
        linestyle=DASHES[number // len(COLOURS) % len(DASHES)],
        linewidth=1.4,
        marker=MARKERS[number % len(MARKERS)],
        markersize=4,
        markevery=(number % every, every),  # methods of like times mark other rounds
        label=label,
    )
    if len(runs) > 1:
        low, high = losses.min(axis=0), losses.max(axis=0)
        alpha = min(0.15, 0.8 / num_methods)  # many bands lie upon each other
        axis.fill_between(time_s, low, high, color=colour, alpha=alpha, linewidth=0)


def _draw_target(axis: Any, loss: float) -> None:
    axis.axhline(loss, color="0.3", linestyle=":", linewidth=1.2)
    axis.annotate(
        "target",
        (1, loss),
        xycoords=("axes fraction", "data"),
        xytext=(3, 0),
        textcoords="offset points",
        verticalalignment="center",
        fontsize=8,
        color="0.3",
    )


def _scale_time(axis: Any, results: Results) -> None:
    """Make the axis logarithmic, but for its start, where the methods' times demand."""
    times_s = [_mean_time_s(runs) for runs in results.values()]
    times_s = [one for one in times_s if one[-1] > 0]
    longest_s = max((one[-1] for one in times_s), default=1.0)
    axis.set_xlabel("virtual time [s]")
    axis.set_xlim(0, 1.03 * longest_s)
    if longest_s > WIDE_RATIO * min((one[-1] for one in times_s), default=longest_s):
        first_s = 10.0 ** floor(log10(min(one[1] for one in times_s)))
        axis.set_xscale("symlog", linthresh=first_s, linscale=0.3)
        axis.set_xlabel(f"virtual time [s], logarithmic from {first_s:g} s on")
        axis.set_xlim(0, 1.5 * longest_s)
        axis.xaxis.set_major_formatter("{x:g}")


def _mean_time_s(runs: Sequence[Records]) -> FloatArray:
    """Return the virtual time of every round, mean over seeds [s]."""
    return _by_round(runs, "virtual_s").mean(axis=0)


def _by_round(runs: Sequence[Records], name: str) -> FloatArray:
    """Return a quantity as an array [seed, round]."""
    return np.array([[record[name] for record in records] for records in runs])

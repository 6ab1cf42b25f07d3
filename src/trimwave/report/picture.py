"""Loss against virtual time, as the letter's Fig. 2."""

import textwrap
import warnings
from collections.abc import Sequence
from math import floor, log10
from pathlib import Path
from typing import Any

import numpy as np

from trimwave.base.errors import MissingExtraError
from trimwave.base.units import FloatArray
from trimwave.report.line_labels import Name, write_names
from trimwave.report.target import Records, Results, Target

PANELS = {
    "loss_emulator": "adapter on the method's emulator",
    "loss_full": "adapter plugged into the full model",
}
"""A method whose emulator is the full model is drawn on the second alone; the first
says so."""

COLOURS = ("#000000", "#e69f00", "#0072b2", "#009e73", "#d55e00", "#56b4e9", "#cc79a7")
"""Okabe and Ito's for colour-blind readers, without the yellow, faint on white."""
DASHES = ("-", (0, (5, 1.5)), (0, (6, 1.5, 1, 1.5)))
"""Taken in turn with the colours: 21 methods differ in colour or dashes."""
MARKERS = "os^DvP<X>p*hd"

TITLE_LETTERS = 120
"""What one line of the title holds."""

NOTE_LETTERS = 60
"""What one line of a note in a panel holds."""

NEAR = 5e-3
"""Lines that differ by less, relatively, lie upon each other to the eye."""

LINE_WIDTH, OUTLINE = 1.4, 2.0
"""Of a line [pt], and by how much more each line is drawn upon which another lies."""

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

    drawn = {name: methods_with(results, name) for name in PANELS}
    names = [name for name in PANELS if drawn[name]]
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    axes: list[Any] = figure.subplots(1, len(names), squeeze=False)[0].tolist()
    for axis, name in zip(axes, names, strict=True):
        draw_panel(axis, results, name, drawn[name])
    num_seeds = max(len(runs) for runs in results.values())
    if num_seeds > 1:
        bands = f"mean of {num_seeds} seeds; band: lowest to highest seed"
        figure.supxlabel(bands, fontsize=9)
    # A picture cannot scroll: long names go on in a second line.
    figure.suptitle(textwrap.fill(title, TITLE_LETTERS), fontsize=11, parse_math=False)
    figure.draw_without_rendering()  # lays it out, so that the lines' ends are known
    for axis, name in zip(axes, names, strict=True):
        labels = _names_of(results, name, drawn[name])
        if target and name == "loss_full":
            labels.append(_draw_target(axis, target.mean_loss_full))
        write_names(axis, labels)
    return figure


def draw_panel(axis: Any, results: Results, name: str, drawn: Sequence[str]) -> None:
    """Draw one loss of the methods that have it, and name those that do not."""
    upon = _upon(results, name, drawn)
    for number, (label, runs) in enumerate(results.items()):
        if label in drawn:
            width = LINE_WIDTH + OUTLINE * upon[label]
            _draw_method(axis, number, label, runs, name, len(results), width)
    axis.set_title(PANELS[name], fontsize=10)
    axis.set_ylabel("test loss [nat/answer token]")
    axis.grid(alpha=0.3)
    axis.margins(y=0.08)
    _scale_time(axis, results)
    absent = [label for label in results if label not in drawn]
    if absent:
        said = f"not here, the full model being theirs: {', '.join(absent)}"
        axis.annotate(
            textwrap.fill(said, NOTE_LETTERS),
            (1, 1),
            xycoords="axes fraction",
            xytext=(-4, -4),
            textcoords="offset points",
            horizontalalignment="right",
            verticalalignment="top",
            fontsize=7,
            color="0.3",
            parse_math=False,
        )


def _upon(results: Results, name: str, drawn: Sequence[str]) -> dict[str, int]:
    """Count the later lines that lie upon each, so that it is drawn wider than they."""
    lines = {
        label: np.stack(
            [_mean_time_s(results[label]), _by_round(results[label], name).mean(0)]
        )
        for label in drawn
    }

    def alike(one: str, other: str) -> bool:
        same = lines[one].shape == lines[other].shape
        return same and np.allclose(lines[one], lines[other], rtol=NEAR)

    return {
        label: sum(alike(label, later) for later in drawn[place + 1 :])
        for place, label in enumerate(drawn)
    }


def _names_of(results: Results, name: str, drawn: Sequence[str]) -> list[Name]:
    """Return each method's name and where its line ends."""
    return [
        Name(
            label,
            COLOURS[number % len(COLOURS)],
            float(_mean_time_s(runs)[-1]),
            float(_by_round(runs, name).mean(axis=0)[-1]),
        )
        for number, (label, runs) in enumerate(results.items())
        if label in drawn
    ]


def methods_with(results: Results, name: str) -> list[str]:
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
    width: float,
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
        linewidth=width,
        marker=MARKERS[number % len(MARKERS)],
        markersize=3 + width,
        markevery=(number % every, every),  # methods of like times mark other rounds
        label=label,
    )
    if len(runs) > 1:
        low, high = losses.min(axis=0), losses.max(axis=0)
        alpha = min(0.15, 0.8 / num_methods)  # many bands lie upon each other
        axis.fill_between(time_s, low, high, color=colour, alpha=alpha, linewidth=0)


def _draw_target(axis: Any, loss: float) -> Name:
    """Draw the target and return its name, at the left: no line begins below it."""
    # Below the names, so that it does not strike one out.
    axis.axhline(loss, color="0.3", linestyle=":", linewidth=1.2, zorder=1.8)
    return Name("target", "0.3", axis.get_xlim()[0], loss)


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

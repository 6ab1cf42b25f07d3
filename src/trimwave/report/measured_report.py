"""A measurement as tables for recipes, as a table to read, and as a picture."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trimwave.base.errors import MissingExtraError
from trimwave.base.stored import write_atomic
from trimwave.base.units import FloatArray
from trimwave.recipe.measured import Measured, damage_of, emulator_time_of
from trimwave.report.aligned import aligned, narrow

TIME_FILE, DAMAGE_FILE, PICTURE = "emulator_time.csv", "damage.csv", "measured.png"


def write_tables(found: Measured, folder: Path) -> None:
    """Write what `cell.emulator_time` and `limits.damage` of a recipe read."""
    columns = {
        TIME_FILE: ("kept,time_s", found.kept, found.time_s),
        DAMAGE_FILE: ("prune_rate,damage", 1 - found.kept[::-1], found.damage[::-1]),
    }
    for name, (header, *pair) in columns.items():
        rows = [f"{x:.9g},{y:.9g}" for x, y in zip(*pair, strict=True)]
        write_atomic(folder / name, "\n".join([header, *rows, ""]))


MEANINGS = {
    "kept": "fraction of the emulator's parameters",
    "beta": "1 - kept",
    "time ms": "the fastest forward pass of embedding and emulator",
    "relative": "to the whole one's, where eq. (5) says `kept`",
    "loss": "per answer token of the public rows, with the original adapter",
    "damage": "loss above the whole emulator's",
}


def measured_table(found: Measured, width: int) -> list[str]:
    """Lay out what was measured at each size, as lines."""
    columns = {
        "kept": [f"{one:.4f}" for one in found.kept],
        "beta": [f"{1 - one:.4f}" for one in found.kept],
        "time ms": [narrow(1e3 * one, 2, 7) for one in found.time_s],
        "relative": [f"{one:.3f}" for one in found.time_s / found.time_s[-1]],
        "loss": [f"{one:.4f}" for one in found.loss],
        "damage": [f"{one:.4f}" for one in found.damage],
    }
    return aligned(columns, width)


def closing_lines(found: Measured, folder: Path) -> list[str]:
    """Say what a recipe has to hold to use it."""
    return [
        f"this machine computes {found.speed_flops_per_s / 1e9:.4g} GFLOP/s on the "
        "whole emulator, by the FLOPs of eq. (5)",
        f"tables  {folder / TIME_FILE}",
        f"        {folder / DAMAGE_FILE}",
        f'in a recipe: [cell] emulator_time = "{folder.absolute() / TIME_FILE}"',
        f'             [limits] damage = "{folder.absolute() / DAMAGE_FILE}"',
    ]


def save_measured(found: Measured, title: str, folder: Path) -> str:
    """Draw the curves, measured and as they will be read; say where, or why not."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        return f"no picture: {MissingExtraError('report', str(missing.name))}"
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the picture shows what they would say
        time_read = emulator_time_of(folder / TIME_FILE, 1)
        damage_read = damage_of(folder / DAMAGE_FILE)
    relative, rate = found.time_s / found.time_s[-1], 1 - found.kept
    _draw(left, found.kept, relative, time_read(found.kept))
    left.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="eq. (5)")
    left.set_xlabel("kept fraction of the emulator")
    left.set_ylabel("time, relative to the whole emulator")
    left.set_xlim(0, 1.02)
    left.set_ylim(bottom=0)
    _draw(right, rate, found.damage, damage_read(rate))
    right.set_xlabel("pruning rate")
    right.set_ylabel("damage [nat/answer token]")
    for axis in (left, right):
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    figure.suptitle(title, fontsize=11, parse_math=False)
    figure.savefig(folder / PICTURE, dpi=150)
    return f"picture  {folder / PICTURE}"


def _draw(
    axis: Any, at: FloatArray, measured: FloatArray, read: FloatArray | Sequence[float]
) -> None:
    order = np.argsort(at)
    axis.plot(at, measured, "o", color="#0072b2", markersize=4, label="measured")
    axis.plot(
        at[order], np.asarray(read)[order], color="#e69f00", label="as it is read"
    )

"""Predicted against measured seconds of a run over shaped links: table and picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trimwave.base.errors import MissingExtraError
from trimwave.report.aligned import aligned, narrow
from trimwave.runs.phases import PHASES, Phases, median_errors

PICTURE = "phases.png"

COLOURS = "#0072b2", "#e69f00", "#009e73"
"""Okabe and Ito's for colour-blind readers."""

NAMES = {
    **{phase: f"of a client's {phase} phase" for phase in PHASES},
    "round": "of a client's round, the sum of its phases",
    "slowest": "of the round, its slowest client's sum",
}

LEGEND = (
    "pred: by the plan [s]. meas: seconds that the link carried bytes in, or that the "
    "client trained. wall: from when the client was asked to when its answer was "
    "there. between: the wall's seconds that are of no phase, the engine's own."
)


def phases_table(rows: Sequence[Phases], width: int) -> list[str]:
    """Lay out every client's rounds, as lines."""
    columns = {
        "round": [str(one.round) for one in rows],
        "client": [str(one.client) for one in rows],
    }
    for phase in (*PHASES, "round"):
        short = "sum" if phase == "round" else phase
        columns[f"{short} pred"] = [_seconds(one.predicted_s(phase)) for one in rows]
        columns[f"{short} meas"] = [_seconds(one.measured_s(phase)) for one in rows]
    columns["wall"] = [_seconds(one.wall_s) for one in rows]
    columns["between"] = [_seconds(one.between_s) for one in rows]
    return aligned(columns, width)


def error_lines(rows: Sequence[Phases]) -> list[str]:
    """Say how far the predictions were off, and what else passed over the links."""
    errors = median_errors(rows)
    lines = ["median of |measured / predicted - 1|:"]
    lines += [
        f"  {_percent(errors[name]):>6}  {words}" for name, words in NAMES.items()
    ]
    for way in ("down", "up"):
        planned = sum(getattr(one, f"{way}_planned_bytes") for one in rows)
        passed = sum(getattr(one, f"{way}_passed_bytes") for one in rows)
        if planned > 0:
            lines.append(
                f"bytes {way}: {planned / 2**20:.2f} MiB planned, "
                f"{passed / 2**20:.2f} MiB passed ({passed / planned - 1:+.1%})"
            )
    counted = [one for one in rows if one.counted_flops > 0]
    if counted:
        planned = sum(one.planned_flops for one in counted)
        found = sum(one.counted_flops for one in counted)
        lines.append(
            f"training: {planned / 1e9:.2f} GFLOPs planned, {found / 1e9:.2f} counted "
            f"({found / planned - 1:+.1%})"
        )
    return lines


def save_phases_picture(rows: Sequence[Phases], title: str, path: Path) -> None:
    """Draw each client's round as two bars, predicted beside measured.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as missing:
        raise MissingExtraError("report", str(missing.name)) from missing
    figure = Figure(figsize=(max(6.0, 0.45 * len(rows) + 2), 4), layout="constrained")
    axis = figure.subplots()
    at = np.arange(len(rows), dtype=float)
    for kind, shift, alpha in (("predicted", -0.2, 0.5), ("measured", 0.2, 1.0)):
        below = np.zeros(len(rows))
        for phase, colour in zip(PHASES, COLOURS, strict=True):
            values = np.array([getattr(one, f"{phase}_{kind}_s") for one in rows])
            axis.bar(
                at + shift,
                values,
                0.38,
                bottom=below,
                color=colour,
                alpha=alpha,
                label=f"{phase}, {kind}",
            )
            below += values
    axis.set_xticks(at, [f"{one.round}:{one.client}" for one in rows], fontsize=7)
    axis.set_xlabel("round : client")
    axis.set_ylabel("seconds")
    axis.grid(alpha=0.3, axis="y")
    axis.legend(fontsize=8, ncols=2)
    figure.suptitle(title, fontsize=11, parse_math=False)
    figure.savefig(path, dpi=150)


def _seconds(value: float) -> str:
    return narrow(value, 2, 7)


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.1%}"

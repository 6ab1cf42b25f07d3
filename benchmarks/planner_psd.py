"""How far Algorithm 1 and the even split end from the optimum under a noise density."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from planner_cells import PATH_LOSS_DB, letters_draws

from trimwave.base.units import FloatArray, linear_to_db
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Status, solve
from trimwave.solvers import SOLVERS, Exact

Record = dict[str, Any]

FADES_DB = (PATH_LOSS_DB, 94.0, 104.0, 114.0)
"""The letter's path loss, and deep fades."""

PSD_HEADS = (
    *("path loss [dB]", "SNR down, up [dB]", "bcd / exact: mean", "median", "worst"),
    *("uniform / exact: mean", "median", "worst", "proven optimal", "largest gap"),
    *("exact, all at once [ms/draw]", "bcd [ms/draw]"),
)

LEAST_PERCENT = 1e-3
"""Where the picture begins."""

STYLES = (
    ("#0072b2", "-"),
    ("#009e73", (0, (5, 1.5))),
    ("#e69f00", (0, (6, 1.5, 1, 1.5))),
    ("#d55e00", (0, (1.5, 1.5))),
)


def psd(draws: int) -> Iterator[Record]:
    """Compare the three solvers at every path loss."""
    for path_loss_db in FADES_DB:
        stacked, each = letters_draws(draws, path_loss_db, "psd")
        begin = time.perf_counter()
        exact = Exact().solve_batch(stacked)
        exact_s = time.perf_counter() - begin
        begin = time.perf_counter()
        bcd = _latencies_s(each, "bcd") / exact.latency_s[:, 0]
        bcd_s = time.perf_counter() - begin
        uniform = _latencies_s(each, "uniform") / exact.latency_s[:, 0]
        snrs = stacked.cell.snr_down, stacked.cell.snr_up
        yield {
            "path_loss_db": path_loss_db,
            "draws": draws,
            "median_snr_db": [float(linear_to_db(np.median(snr))) for snr in snrs],
            "bcd": bcd.tolist(),
            "uniform": uniform.tolist(),
            "worst_seed": int(np.argmax(bcd)),
            "proven": float(np.mean(exact.status == Status.OPTIMAL)),
            "largest_gap": float(np.nanmax(exact.gap)),
            "exact_ms": 1e3 * exact_s / draws,
            "bcd_ms": 1e3 * bcd_s / draws,
        }


def _latencies_s(problems: Sequence[Problem], solver: str) -> FloatArray:
    return np.array([solve(one, SOLVERS[solver]).latency_s for one in problems])


def psd_row(record: Record) -> list[str]:
    """Format one path loss."""
    down_db, up_db = record["median_snr_db"]
    ratios = (record[name] for name in ("bcd", "uniform"))
    return [
        *(f"{record['path_loss_db']:.0f}", f"{down_db:.0f}, {up_db:.0f}"),
        *(f"{f(one):.3f}" for one in ratios for f in (np.mean, np.median, np.max)),
        *(f"{record['proven']:.1%}", f"{record['largest_gap']:.0e}"),
        *(f"{record['exact_ms']:.2f}", f"{record['bcd_ms']:.1f}"),
    ]


def save_picture(records: Sequence[Record], path: Path) -> None:
    """Draw the distribution of how much longer a round of Algorithm 1 takes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    axis = figure.subplots()
    for record, (colour, dashes) in zip(records, STYLES, strict=True):
        percent = 100 * (np.sort(record["bcd"]) - 1)
        percent = np.maximum(percent, LEAST_PERCENT)
        share = np.arange(1, percent.size + 1) / percent.size
        label = f"{record['path_loss_db']:.0f} dB"
        axis.step(
            *(percent, share),
            where="post",
            color=colour,
            linestyle=dashes,
            linewidth=1.4,
            label=label,
        )
    axis.set_xscale("log")
    axis.set_xlim(left=LEAST_PERCENT)
    axis.set_ylim(0, 1)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("round time of bcd beyond the optimum's [%]")
    axis.set_ylabel(f"share of {records[0]['draws']:,} rounds")
    axis.grid(alpha=0.3)
    axis.legend(title="path loss", fontsize=9, title_fontsize=9)
    figure.suptitle("Algorithm 1 under a noise density (psd), 8 clients", fontsize=11)
    figure.savefig(path, dpi=150)

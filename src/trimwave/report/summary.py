"""A run's records in one row; several seeds of a method in mean and deviation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from trimwave.units import MIB_BYTES

Records = Sequence[Mapping[str, Any]]

COLUMNS = {
    "rounds": "rounds",
    "virtual_s": "virtual\ns",
    "round_s": "s per\nround",
    "prune_rate": "mean\nbeta",
    "down_mib": "down\nMiB",
    "up_mib": "up\nMiB",
    "gflops": "GFLOPs",
    "loss_emulator": "loss,\nemulator",
    "loss_full": "loss,\nfull",
}

SPREAD = ("virtual_s", "loss_emulator", "loss_full")
"""Columns that show the deviation over seeds."""

CAPTION = (
    "virtual s: the whole run on the latency model's clock. MiB, GFLOPs: per client "
    "and round. loss: test cross-entropy per answer token, with the adapter on the "
    "emulator pruned at beta_bar, and plugged into the full model."
)


def summarise(records: Records) -> dict[str, float]:
    """Reduce one run's records to numbers; losses are those of the last round."""
    rounds = [record for record in records if record["round"] > 0]
    summary = {
        "rounds": float(len(rounds)),
        "virtual_s": float(records[-1]["virtual_s"]),
        "loss_emulator_start": float(records[0]["loss_emulator"]),
        "loss_full_start": float(records[0]["loss_full"]),
        "loss_emulator": float(records[-1]["loss_emulator"]),
        "loss_full": float(records[-1]["loss_full"]),
    }
    if not rounds:
        return summary

    def mean(values: list[float]) -> float:
        return float(np.mean(values))

    clients = len(rounds[0]["plan"]["prune_rate"])
    return summary | {
        "round_s": mean([record["round_s"] for record in rounds]),
        "prune_rate": mean([float(np.mean(r["plan"]["prune_rate"])) for r in rounds]),
        "down_mib": mean([r["down_bytes"] for r in rounds]) / clients / MIB_BYTES,
        "up_mib": mean([r["up_bytes"] for r in rounds]) / clients / MIB_BYTES,
        "gflops": mean([r["total_flops"] for r in rounds]) / clients / 1e9,
    }


def table(results: Mapping[str, Sequence[Records]]) -> Table:
    """Lay methods out beside each other, below the losses before training.

    Parameters
    ----------
    results : mapping
        Label of a method to its runs, one per seed.
    """
    shown = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),  # ten columns must fit into 80 characters
        caption=CAPTION,
        caption_justify="left",
        caption_style="dim",
    )
    shown.add_column("method", no_wrap=True)
    for title in COLUMNS.values():
        shown.add_column(title, justify="right", no_wrap=True)
    everything = [summarise(records) for runs in results.values() for records in runs]
    shown.add_row(
        "untrained", *(_cell(f"{name}_start", everything) for name in COLUMNS)
    )
    for label, runs in results.items():
        summaries = [summarise(records) for records in runs]
        shown.add_row(label, *(_cell(name, summaries) for name in COLUMNS))
    return shown


def _cell(name: str, summaries: Sequence[Mapping[str, float]]) -> str:
    """Mean over seeds, and the deviation if the seeds differ."""
    values = [summary[name] for summary in summaries if name in summary]
    if not values:
        return ""
    if name == "rounds":
        return f"{values[0]:.0f}"
    digits = 3 if name.startswith(("loss", "prune_rate")) else 1
    text = f"{np.mean(values):.{digits}f}"
    if len(set(values)) > 1 and name in SPREAD:
        text += f"\n+-{np.std(values, ddof=1):.{digits}f}"
    return text

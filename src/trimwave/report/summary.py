"""Runs in numbers: one row per method, mean and deviation over its seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from trimwave.base.units import MIB_BYTES
from trimwave.report.target import (
    Measure,
    Numbers,
    Records,
    Results,
    Target,
    first_at_or_below,
)
from trimwave.report.task_metrics import task_numbers
from trimwave.runs.best import best_round

TO_TARGET = {"target_rounds": "target\nround", "target_s": "target\ns"}
"""Columns of a comparison that has a target."""

WITHOUT_TARGET = {"virtual_s": "virtual\ns", "prune_rate": "mean\nbeta"}
"""What stands in their place otherwise."""

COLUMNS = {
    "round_s": "s per\nround",
    "install_s": "set-up\ns",
    "down_mib": "down\nMiB",
    "up_mib": "up\nMiB",
    "gflops": "\nGFLOPs",
    "memory_gb": "peak\nGB",
    "loss_emulator": "loss,\nemul.",
    "loss_full": "loss,\nfull",
}

SPREAD = ("target_rounds", "target_s", "virtual_s", "loss_emulator", "loss_full")
"""Columns that show the deviation over seeds."""

CAPTIONS = {
    True: "target: the first round at or below the target loss, and its time on the "
    "latency model's clock; > where a run ended before. ",
    False: "virtual s: the whole run on the latency model's clock. mean beta: mean "
    "pruning rate of scheduled clients. ",
}
"""By whether there is a target."""

CAPTION = (
    "s per round: mean, on that clock. "
    "set-up s: one-time download to the devices, not on that clock. MiB, GFLOPs: per "
    "scheduled client and round. GB: highest peak memory of a client, by the model. "
    "loss: test cross-entropy per answer token after the last round, with the adapter "
    "on the method's emulator, and plugged into the full model. +-: standard deviation "
    "over seeds."
)


def summarise(records: Records) -> dict[str, float]:
    """Reduce one run's records to numbers; losses are those of the last round.

    Rates, bytes, FLOPs and joules are means over the clients that took part, of all
    rounds.
    """
    rounds, best = records[1:], best_round(records)
    summary = {
        "rounds": float(len(rounds)),
        "virtual_s": float(records[-1]["virtual_s"]),
        "loss_emulator_start": float(records[0]["loss_emulator"]),
        "loss_full_start": float(records[0]["loss_full"]),
        "loss_emulator": float(records[-1]["loss_emulator"]),
        "loss_full": float(records[-1]["loss_full"]),
        "best_round": float(best),
        "loss_full_best": float(records[best]["loss_full"]),
    } | task_numbers(records)
    if not rounds:
        return summary
    plans = [record["plan"] for record in rounds]
    rates = [rate for plan in plans for rate in plan["prune_rate"] if rate is not None]
    num_scheduled = sum(sum(plan["scheduled"]) for plan in plans)

    def per_client(name: str) -> float:
        return float(sum(record[name] for record in rounds) / num_scheduled)

    if all("energy_j" in plan for plan in plans):
        spent_j = sum(sum(plan["energy_j"]) for plan in plans)
        summary["energy_j"] = float(spent_j / num_scheduled)
    return summary | {
        "round_s": float(np.mean([record["round_s"] for record in rounds])),
        "install_s": float(plans[0]["install_s"]),
        "prune_rate": float(np.mean(rates)),
        "down_mib": per_client("down_bytes") / MIB_BYTES,
        "up_mib": per_client("up_bytes") / MIB_BYTES,
        "gflops": per_client("total_flops") / 1e9,
        "memory_gb": max(max(plan["memory_bytes"]) for plan in plans) / 1e9,
    }


def numbers_of(results: Results, target: Target | None) -> dict[str, Numbers]:
    """Return every method's numbers; the table and summary.json show these."""
    methods: dict[str, Numbers] = {}
    for label, runs in results.items():
        summaries = [summarise(records) for records in runs]
        names = [name for name in summaries[0] if all(name in s for s in summaries)]
        numbers = {name: _measure([s[name] for s in summaries]) for name in names}
        methods[label] = numbers | (_to_target(runs, target) if target else {})
    return methods


def table(methods: Mapping[str, Numbers], target: Target | None) -> Table:
    """Lay methods out beside each other, below the losses before training."""
    shown = Table(
        box=None,
        pad_edge=False,
        padding=(0, 1, 0, 0),  # eleven columns must fit into 80 characters
        caption=CAPTIONS[target is not None] + CAPTION,
        caption_justify="left",
        caption_style="dim",
    )
    columns = (TO_TARGET if target else WITHOUT_TARGET) | COLUMNS
    shown.add_column("\nmethod")  # a long label is folded, a number never
    for title in columns.values():
        shown.add_column(title, justify="right", no_wrap=True)
    shown.add_row("untrained", *(_untrained(name, methods) for name in columns))
    for label, numbers in methods.items():
        shown.add_row(label, *(_cell(name, numbers.get(name)) for name in columns))
    return shown


def summary_json(
    methods: Mapping[str, Numbers], target: Target | None, title: str
) -> dict[str, Any]:
    """Return the table's numbers for a machine: unrounded, seed by seed."""
    return {
        "title": title,
        "target": target
        and {**asdict(target), "mean_loss_full": target.mean_loss_full},
        "methods": {
            label: {name: asdict(measure) for name, measure in numbers.items()}
            for label, numbers in methods.items()
        },
    }


def _to_target(runs: Sequence[Records], target: Target) -> Numbers:
    pairs = list(zip(runs, target.loss_full, strict=True))
    reached = [first_at_or_below(records, loss) for records, loss in pairs]
    return {
        name: _measure(
            [float(one[key]) if one else None for one in reached],
            ends=[float(records[-1][key]) for records in runs],
        )
        for name, key in (("target_rounds", "round"), ("target_s", "virtual_s"))
    }


def _measure(values: Sequence[float | None], ends: Sequence[float] = ()) -> Measure:
    known = [value for value in values if value is not None]
    is_exceeded = len(known) < len(values)
    if is_exceeded:
        pairs = zip(values, ends, strict=True)
        known = [end if value is None else value for value, end in pairs]
    several = len(known) > 1 and not is_exceeded
    return Measure(
        per_seed=tuple(values),
        mean=float(np.mean(known)),
        is_exceeded=is_exceeded,
        deviation=float(np.std(known, ddof=1)) if several else None,
    )


def _untrained(name: str, methods: Mapping[str, Numbers]) -> str:
    """Return a loss before training, if all methods start from the same."""
    starts = {_cell(name, numbers.get(f"{name}_start")) for numbers in methods.values()}
    return starts.pop() if len(starts) == 1 else ""


def _cell(name: str, measure: Measure | None) -> str:
    """Mean over seeds, and the deviation if the seeds differ."""
    if measure is None:
        return ""
    text = ">" * measure.is_exceeded + _shown(name, measure.mean)
    if measure.deviation and name in SPREAD:
        text += f"\n+-{_shown(name, measure.deviation)}"
    return text


def _shown(name: str, value: float) -> str:
    """Three decimals for a loss, else about three digits."""
    if name.startswith("loss"):
        return f"{value:.3f}"
    if value == 0 or (name == "target_rounds" and value == int(value)):
        return f"{value:.0f}"
    if value >= 99999.5 or 0 < value < 0.005:
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}"

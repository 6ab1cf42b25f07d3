"""Task metrics of runs: a table below the losses, a line below a round's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.table import Table

from trimwave.report.target import Numbers

COUNTED = {"exact_match": "exact match", "accuracy": "accuracy"}
"""Metrics that are so many of so many rows."""

F1 = {"f1": "macro F1"}

OWN = {"own_loss_mean": "own\nloss", "own_loss_worst": "worst\nown"}
"""Of the clients' losses on their own test rows."""

CAPTIONS = {
    "exact_match": "exact match: test rows whose generated answer has the right number "
    "behind ####. ",
    "accuracy": "accuracy: test rows whose label is the likeliest answer. ",
    "f1": "macro F1: mean over labels. ",
    "own_loss_mean": "own loss: on each client's own test rows, mean over clients; "
    "worst own: of the client with the highest. ",
}
"""What a column means, by its number's name."""

CAPTION = "All with the trained blocks plugged into the full model, after this round."


def task_numbers(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Reduce one run's task metrics to numbers, before training and at the end.

    The end is the last round that has them. A number of before ends in ``_start``.
    """
    found: dict[str, float] = {}
    for key, ending, taken in (
        ("metrics", "_start", [records[0]]),
        ("metrics", "", records),
        ("client_test_loss", "_start", [records[0]]),
        ("client_test_loss", "", records),
    ):
        have = [record for record in taken if record.get(key)]
        if not have:
            continue
        read = _of_metrics if key == "metrics" else _of_clients
        numbers = read(have[-1])
        found |= {f"{name}{ending}": value for name, value in numbers.items()}
    return found


def _of_metrics(record: Mapping[str, Any]) -> dict[str, float]:
    numbers = {"metrics_round": float(record["round"])}
    for name, values in record["metrics"].items():
        numbers[name] = float(values["value"])
        for count in ("correct", "total"):
            if count in values:
                numbers[f"{name}_{count}"] = float(values[count])
    return numbers


def _of_clients(record: Mapping[str, Any]) -> dict[str, float]:
    losses = [loss for loss in record["client_test_loss"] if loss is not None]
    return {
        "own_loss_mean": float(np.mean(losses)),
        "own_loss_worst": float(max(losses)),
    }


def task_table(methods: Mapping[str, Numbers]) -> Table | None:
    """Lay methods' task metrics out below those before training; None without any."""
    columns = {
        name: title
        for name, title in (COUNTED | F1 | OWN).items()
        if any(name in numbers for numbers in methods.values())
    }
    if not columns:
        return None
    notes = [note for name, note in CAPTIONS.items() if name in columns]
    shown = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        caption="".join(notes) + CAPTION,
        caption_justify="left",
        caption_style="dim",
    )
    shown.add_column("\nmethod")
    for title in ("round", *columns.values()):
        title = title if "\n" in title else f"\n{title}"
        shown.add_column(title, justify="right", no_wrap=True)
    rows = [
        [_rounds(numbers, ending), *(_cell(name, numbers, ending) for name in columns)]
        for ending in ("_start", "")
        for numbers in methods.values()
    ]
    before, after = rows[: len(methods)], rows[len(methods) :]
    # One row for all, where all begin alike.
    same = ({*cells} for cells in zip(*before, strict=True))
    shown.add_row("untrained", *(one.pop() if len(one) == 1 else "" for one in same))
    for label, row in zip(methods, after, strict=True):
        shown.add_row(label, *row)
    return shown


def _rounds(numbers: Numbers, ending: str) -> str:
    """Return which round it is, of several seeds the first and the last."""
    rounds = numbers.get(f"metrics_round{ending}") or (
        numbers["rounds"] if not ending else None
    )
    if rounds is None:
        return "0"
    found = sorted({int(one or 0) for one in rounds.per_seed})
    return f"{found[0]}" if len(found) == 1 else f"{found[0]}-{found[-1]}"


def _cell(name: str, numbers: Numbers, ending: str) -> str:
    """Sum counts over seeds, take the mean of other numbers."""
    measure = numbers.get(f"{name}{ending}")
    if measure is None:
        return ""
    if name not in COUNTED:
        return f"{measure.mean:.3f}"
    correct, total = (
        sum(one or 0 for one in numbers[f"{name}_{count}{ending}"].per_seed)
        for count in ("correct", "total")
    )
    return f"{correct:.0f}/{total:.0f} {100 * correct / total:.1f} %"


def task_words(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """Say a round's metrics in one line."""
    return ", ".join(
        f"{COUNTED[name]} {values['correct']} of {values['total']}"
        if name in COUNTED
        else f"{F1[name]} {values['value']:.3f}"
        for name, values in metrics.items()
    )

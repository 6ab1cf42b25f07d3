"""Which round of a run is the best, and whether it is time to stop."""

from collections.abc import Mapping, Sequence
from typing import Any

LOSS = "loss_full"
"""What rounds are judged by: the test loss of what was trained on the full model."""

STOPPED = "stopped"
"""Key of the last record of a run that ended before its rounds: why."""


def best_round(records: Sequence[Mapping[str, Any]]) -> int:
    """Return the round of the least test loss, the first of several; 0 is untrained.

    Parameters
    ----------
    records : sequence of mapping
        All of a run, from round 0 on; at least one.
    """
    return min(range(len(records)), key=lambda number: float(records[number][LOSS]))


def stop_after(records: Sequence[Mapping[str, Any]], patience: int) -> dict[str, Any]:
    """Return what the last record says on top if the run ends with it, else nothing.

    Parameters
    ----------
    records : sequence of mapping
        All of a run so far.
    patience : int
        Rounds without a lower loss after which it ends; 0 = never.
    """
    best = best_round(records)
    if not patience or len(records) - 1 - best < patience:
        return {}
    return {STOPPED: {"by": "train.patience", "best_round": best}}


def has_stopped(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a run ended before its rounds."""
    return bool(records) and STOPPED in records[-1]


def why_stopped(records: Sequence[Mapping[str, Any]]) -> str:
    """Say why a run ended before its rounds; nothing if it did not."""
    if not has_stopped(records):
        return ""
    last, best = len(records) - 1, records[-1][STOPPED]["best_round"]
    return (
        f"stopped after round {last}: none of the last {last - best} has a lower "
        f"loss on the full model than round {best} (`train.patience`)"
    )

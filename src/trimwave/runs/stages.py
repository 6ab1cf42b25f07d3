"""Which stage a run is in, by its records alone, so that a resumed run knows."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trimwave.base.units import FloatArray
from trimwave.decision.plan import Stage
from trimwave.runs.counted import last_counted

STAGE = "stage"
"""In a record of a run with several stages: which one the round was of, from 0."""

ROUNDS_OF_A_SLOPE = 2
"""Rounds that the fall of the loss is taken over: one is mostly noise."""

Record = Mapping[str, Any]


def stage_of(record: Record) -> int:
    """Return the stage that a record's round was of."""
    return int(record.get(STAGE, 0))


def stage_after(records: Sequence[Record], stages: Sequence[Stage]) -> int:
    """Return the stage that the round after these records is of."""
    at = stage_of(records[-1])
    stage, done = stages[at], rounds_of(records, at)
    if at + 1 == len(stages):
        return at
    if stage.rounds is not None and done >= stage.rounds:
        return at + 1
    if stage.least_slope_per_s is None or done < ROUNDS_OF_A_SLOPE:
        return at
    first, last = records[-1 - ROUNDS_OF_A_SLOPE], records[-1]
    fell = first["loss_full"] - last["loss_full"]
    least = stage.least_slope_per_s * (last["virtual_s"] - first["virtual_s"])
    return at + 1 if fell < least else at


def warn_of_unreached(stages: Sequence[Stage], num_rounds: int, method: str) -> None:
    """Warn where so many rounds end before the last stage begins."""
    needed = rounds_to_reach_all(stages)
    if num_rounds < needed:
        warnings.warn(
            f"{num_rounds} rounds do not reach the last stage of `{method}`; raise "
            f"`rounds` to {needed} or more.",
            stacklevel=3,
        )


def rounds_to_reach_all(stages: Sequence[Stage]) -> int:
    """Return which round is the last stage's first; a slope may end one at once."""
    before = [one.rounds for one in stages[:-1] if not one.least_slope_per_s]
    return 1 + sum(one or 0 for one in before)


def rounds_of(records: Sequence[Record], stage: int) -> int:
    """Return how many rounds of a stage there were."""
    return sum(stage_of(one) == stage for one in records if one["round"])


def first_step(
    records: Sequence[Record], stages: Sequence[Stage], num_local_steps: int
) -> int | None:
    """Return how many local steps a client is past; None where M is one for all.

    Parameters
    ----------
    num_local_steps : int
        M of the recipe.
    """
    own = [one.scheme.submodel.num_local_steps for one in stages]
    if len(stages) == 1 or own == len(own) * [None]:
        return None
    return sum(
        rounds_of(records, at) * (steps or num_local_steps)
        for at, steps in enumerate(own)
    )


def owed_bits(
    records: Sequence[Record], stage: int, learnt_bits: Sequence[int], num_clients: int
) -> FloatArray | None:
    """Return what each client lacks of what earlier stages have learnt, [K] [bit].

    Whoever took part in a stage was sent at its first round what those before it had
    learnt, and has the model merged from there.

    Parameters
    ----------
    learnt_bits : sequence of int
        What the end of each finished stage takes on the air [bit].
    """
    if not stage:
        return None
    merged = np.zeros(num_clients, dtype=np.int64)
    for k, record in last_counted(records).items():
        merged[k] = stage_of(record)
    lacking = [float(sum(learnt_bits[have:stage])) for have in merged.tolist()]
    return np.array(lacking)

"""What a plan says of a method that trains in stages."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from trimwave.base.units import BITS_PER_BYTE
from trimwave.decision.plan import Plan, Stage
from trimwave.sweep.one_round import PlannedStage


def stage_lines(stages: Sequence[PlannedStage]) -> list[str]:
    """Return a line per stage."""
    lines = []
    for at, one in enumerate(stages):
        name = f"stage {at}, {_until(one.stage, at + 1 == len(stages))}: "
        earlier_bits = sum(before.learnt_bits for before in stages[:at])
        lines.append(
            f"{name if len(stages) > 1 else ''}{_what(one.stage)} train, in "
            f"{np.max(one.plan.memory_bytes) / 1e9:.2f} GB"
            f"{_times(one, at, earlier_bits)}{_away(one.plan)}"
        )
    return lines


def stage_json(stages: Sequence[PlannedStage]) -> dict[str, Any]:
    """Return the same as plain numbers, by name; empty where there is nothing."""
    if not stages:
        return {}
    return {
        "stages": [
            {
                "trained_blocks": len(one.stage.scheme.submodel.trained_blocks),
                "rounds": one.stage.rounds,
                "least_slope_per_s": one.stage.least_slope_per_s,
                "scheduled": one.plan.scheduled.tolist(),
                "memory_bytes": int(np.max(one.plan.memory_bytes)),
                "latency_s": one.plan.latency_s,
                "latency_states_kept_s": one.kept and one.kept.latency_s,
                "learnt_bytes": one.learnt_bits // BITS_PER_BYTE,
                "first_pass_s": one.first_pass and one.first_pass._asdict(),
            }
            for one in stages
        ]
    }


def _until(stage: Stage, is_last: bool) -> str:
    if is_last:
        return "to the end"
    found = []
    if stage.rounds is not None:
        found = [f"{stage.rounds} round{'s' * (stage.rounds > 1)}"]
    if stage.least_slope_per_s is not None:
        found.append(f"until the loss falls by less than {stage.least_slope_per_s:g}/s")
    return " or ".join(found)


def _what(stage: Stage) -> str:
    submodel = stage.scheme.submodel
    first, last = submodel.trained_blocks[0], submodel.trained_blocks[-1]
    return f"blocks {first} to {last}" if first < last else f"block {first}"


def _times(one: PlannedStage, number: int, earlier_bits: int) -> str:
    times = f", a round takes {one.plan.latency_s:.6g} s"
    if one.kept is not None:
        times += (
            f" where all rows are new, {one.kept.latency_s:.6g} s where all states are "
            "kept"
        )
    if one.learnt_bits:
        mib = one.learnt_bits / BITS_PER_BYTE / 2**20
        times += f", its first one brings {mib:.3g} MiB of the stage before"
        if earlier_bits:
            mib += earlier_bits / BITS_PER_BYTE / 2**20
            times += f", {mib:.3g} MiB of all to who joins late"
    if one.first_pass is not None:
        joins = "for who joins here, " if number else ""  # others have the base
        times += (
            f"; {joins}the base and a round's rows through it, block by block: "
            f"{one.first_pass.in_turn_s:.6g} s in turn, "
            f"{one.first_pass.side_by_side_s:.6g} s side by side"
        )
    return times


def _away(plan: Plan) -> str:
    away = int((~plan.scheduled).sum())
    if not away:
        return ""
    return f"; {away} of {plan.num_clients} clients sit it out"

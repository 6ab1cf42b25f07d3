"""What the pruning methods share: kept fractions and a split of the band to a plan."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimwave.base.units import FloatArray
from trimwave.model.costs import Costs
from trimwave.model.submodel import Trained
from trimwave.plan.plan import Plan, Scheme, Situation
from trimwave.plan.predict import plan_of
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution


def pruned_scheme(
    costs: Costs, limits: Limits, trained: Trained, learning_rate: float | None
) -> Scheme:
    """Test on the emulator pruned at beta_bar."""
    submodel = costs.pruned(1 - limits.beta_bar, trained)
    return Scheme(submodel=submodel, learning_rate=learning_rate)


def pruned_plan(
    situation: Situation,
    trained: Trained,
    kept: FloatArray,
    bandwidth_hz: FloatArray,
    solution: Solution | None = None,
    *,
    up_bandwidth_hz: FloatArray | None = None,
    problem: Problem | None = None,
    scheduled: NDArray[np.bool_] | None = None,
    carry: Mapping[str, Any] | None = None,
) -> Plan:
    """Return the plan in which every scheduled client prunes to its kept fraction.

    Parameters
    ----------
    kept, bandwidth_hz : [K]
        x_k and B_k [Hz].
    up_bandwidth_hz : [K], optional
        Shares of the uplink's own band under FDD [Hz].
    problem : Problem, optional
        P1 of the situation, where the caller has it at hand.
    scheduled : [K] of bool, optional
        Who takes part; everyone if left out.
    """
    chosen = np.ones(kept.size, dtype=bool) if scheduled is None else scheduled
    submodels = [
        situation.costs.pruned(x, trained) if taken else None
        for x, taken in zip(kept.tolist(), chosen.tolist(), strict=True)
    ]
    problem, cell = problem or situation.problem(trained), situation.cell
    measured = cell.held is not None or cell.emulator_time is not None
    return plan_of(
        situation,
        submodels,
        bandwidth_hz,
        up_bandwidth_hz=up_bandwidth_hz,
        binding=_binding(problem, np.where(chosen, kept, np.nan)),
        solution=solution,
        carry=carry,
        problem=problem if measured else None,
    )


def _binding(problem: Problem, kept: FloatArray) -> tuple[str, ...]:
    """Name the bound that each x_k sits at, to the size of one unit; none for nan."""
    sizes = problem.workload.emulator_sizes
    near = 1e-7
    if sizes is not None and sizes.size > 1:
        near = float(np.max(np.diff(sizes)) / problem.workload.emulator_params)
    held = {
        "memory": kept >= problem.memory_kept_max - near,
        "beta_max": kept <= problem.kept_min + near,
        "beta_min": kept >= 1 - problem.limits.beta_min - near,
    }
    return tuple(np.select([*held.values()], [*held], default="-").tolist())

"""What the pruning methods share: kept fractions and a split of the band to a plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimwave.base.errors import InputError
from trimwave.base.units import FloatArray
from trimwave.decision.plan import Plan, Scheme, Situation
from trimwave.decision.predict import plan_of
from trimwave.methods.common import CommonOptions
from trimwave.model.costs import Costs
from trimwave.model.submodel import Trained
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution
from trimwave.solvers.integers import round_to_sizes


@dataclass(frozen=True, kw_only=True, slots=True)
class PruningRule(CommonOptions):
    """A pruning method of one's own: write `decide`, the rest is here.

    Subclasses are frozen dataclasses; their fields are options. They train, send and
    test as JCPBA does, so that a comparison is of the decisions alone.
    """

    adapter: Trained = "full"
    """Train the adapter's weights, or LoRA factors on them."""

    def decide(self, problem: Problem) -> tuple[FloatArray, FloatArray]:
        """Decide a round.

        Parameters
        ----------
        problem : Problem
            P1 of the round, eq. (10): `cell` has what the base station sees,
            `kept_min` and `kept_max` the bounds of C3 and C4, `latency` the times.

        Returns
        -------
        kept : [K]
            x_k = 1 - beta_k; rounded to real heads and neurons by the caller.
        bandwidth_hz : [K]
            B_k [Hz].
        """
        raise NotImplementedError(f"{type(self).__name__} has no `decide`")

    @property
    def label(self) -> str:
        """What tables and pictures call it; the class's name if it says nothing."""
        return type(self).__name__

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Test on the emulator pruned at beta_bar."""
        return pruned_scheme(costs, limits, self.adapter, self.learning_rate)

    def plan(self, situation: Situation) -> Plan:
        """Decide, check C1 to C5, and round to real sub-models.

        Raises
        ------
        InputError
            If the decision breaks a constraint: which, for whom, by how much.
        """
        problem = situation.problem(self.adapter)
        problem.cell.require_one_band(f"method {self.label}")
        answer = self.decide(problem)
        kept, bandwidth_hz = self._arrays(answer, problem.cell.num_clients)
        if broken := problem.violations(kept, bandwidth_hz):
            said = " ".join(str(one) for one in broken[:3])
            raise InputError(
                f"the decision of {self.label} breaks P1: {said} `problem.kept_min` "
                "and `kept_max`, the band and `limits.beta_bar` bound what it may."
            )
        kept = round_to_sizes(problem, kept, bandwidth_hz)
        return pruned_plan(situation, self.adapter, kept, bandwidth_hz, problem=problem)

    def _arrays(self, answer: object, clients: int) -> tuple[FloatArray, FloatArray]:
        """Return a decision as two arrays, [K] each."""
        wanted = f"`decide` of {self.label} must return kept and bandwidth_hz, "
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise InputError(f"{wanted}two arrays, got {type(answer).__name__}.")
        arrays = [np.asarray(one, dtype=np.float64) for one in answer]
        for name, array in zip(("kept", "bandwidth_hz"), arrays, strict=True):
            if array.shape != (clients,):
                raise InputError(
                    f"{wanted}[K] each, got {name} of shape {array.shape} for "
                    f"{clients} clients."
                )
            for k in np.flatnonzero(~(np.isfinite(array) & (array >= 0)))[:1]:
                raise InputError(
                    f"{wanted}finite and at least 0, got {array[k]} as {name} of "
                    f"client {k}."
                )
        return arrays[0], arrays[1]


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

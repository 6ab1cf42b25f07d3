"""JCPBA, the letter's method: client-specific pruning and bandwidth, jointly."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from trimwave.base.units import FloatArray, IntArray
from trimwave.decision.bands import realised
from trimwave.decision.plan import Plan, Scheme, Situation
from trimwave.methods.common import CommonOptions
from trimwave.methods.pruning import pruned_plan, pruned_scheme
from trimwave.model.costs import Costs
from trimwave.model.submodel import Trained
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution, solve
from trimwave.solvers import get_solver


@dataclass(frozen=True, kw_only=True, slots=True)
class Jcpba(CommonOptions):
    """Joint client-specific pruning and bandwidth allocation."""

    solver: Literal["exact", "bcd"] = "exact"
    """``exact``: the global optimum, shown as JCPBA*. ``bcd``: Algorithm 1 as printed,
    shown as JCPBA, which is what the letter's figures are made with."""
    adapter: Trained = "full"
    """Train the adapter's weights, or LoRA factors on them."""

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "JCPBA*" if self.solver == "exact" else "JCPBA"

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Test on the emulator pruned at beta_bar."""
        return pruned_scheme(costs, limits, self.adapter, self.learning_rate)

    def problem(self, situation: Situation) -> Problem:
        """Return P1 of a round, eq. (10)."""
        return situation.problem(self.adapter)

    def plan(self, situation: Situation) -> Plan:
        """Solve P1, round to real sub-models, and split the band again for those."""
        problem = self.problem(situation)
        solution = solve(problem, get_solver(self.solver))
        return self.plan_for(situation, problem, solution)

    def plan_for(
        self,
        situation: Situation,
        problem: Problem,
        solution: Solution,
        clients: IntArray | None = None,
    ) -> Plan:
        """Return the plan that an answer to P1 comes to in real sub-models.

        Parameters
        ----------
        problem : Problem
            P1 of all clients.
        solution : Solution
            Of `clients`, in their order.
        clients : IntArray, optional
            Who takes part, ascending; everyone if left out.
        """
        everyone = np.arange(problem.cell.num_clients)
        chosen = everyone if clients is None else clients
        part = problem
        if clients is not None:
            part = replace(problem, cell=problem.cell.take(clients))
        real = realised(part, solution)
        if problem.cell.resource_block_hz is not None:
            solution = real  # what is proven of whole blocks, not of any share

        def spread(values: FloatArray, rest: float) -> FloatArray:
            full = np.full(everyone.size, rest)
            full[chosen] = values
            return full

        up_hz = real.up_bandwidth_hz
        return pruned_plan(
            situation,
            self.adapter,
            spread(real.kept, np.nan),
            spread(real.bandwidth_hz, 0.0),
            solution,
            up_bandwidth_hz=None if up_hz is None else spread(up_hz, 0.0),
            problem=problem,
            scheduled=np.isin(everyone, chosen),
        )

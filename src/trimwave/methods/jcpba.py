"""JCPBA, the letter's method: client-specific pruning and bandwidth, jointly."""

from dataclasses import dataclass
from typing import Literal

from trimwave.methods.common import CommonOptions
from trimwave.methods.pruning import pruned_plan, pruned_scheme
from trimwave.model.costs import Costs
from trimwave.model.submodel import Trained
from trimwave.plan.plan import Plan, Scheme, Situation
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem
from trimwave.problem.solution import solve
from trimwave.solvers import get_solver
from trimwave.solvers.integers import realise


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
        real = realise(problem, solution)
        return pruned_plan(
            situation,
            self.adapter,
            real.kept,
            real.bandwidth_hz,
            solution,
            problem=problem,
        )

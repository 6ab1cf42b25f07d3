"""JCPBA, the letter's method: pruning rates and bandwidths chosen together."""

from dataclasses import dataclass
from typing import Literal

from trimwave.methods.rounding import round_to_sizes
from trimwave.problem import Problem
from trimwave.solution import Plan, make_plan, solve
from trimwave.solvers import get_solver
from trimwave.solvers.blocks import bandwidth_block


@dataclass(frozen=True, kw_only=True, slots=True)
class Jcpba:
    """Joint client-specific pruning and bandwidth allocation."""

    solver: Literal["exact", "bcd"] = "exact"
    """``exact``: the global optimum, shown as JCPBA*. ``bcd``: Algorithm 1 as printed,
    shown as JCPBA, which is what the letter's figures are made with."""

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "JCPBA*" if self.solver == "exact" else "JCPBA"

    def plan(self, problem: Problem) -> Plan:
        """Solve P1, round to real sub-models, and split the band again for those."""
        solution = solve(problem, get_solver(self.solver))
        bandwidth_hz = solution.bandwidth_hz
        kept = round_to_sizes(problem, solution.kept, bandwidth_hz)
        if problem.workload.emulator_sizes is not None:
            bandwidth_hz = bandwidth_block(problem, kept)
        return make_plan(problem, solution, kept, bandwidth_hz)

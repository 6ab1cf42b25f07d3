"""UBFP: uniform bandwidth, fixed pruning; the letter's plainest baseline."""

from dataclasses import dataclass

from trimwave.methods.rounding import round_to_sizes
from trimwave.problem import Problem
from trimwave.solution import Plan, make_plan, solve
from trimwave.solvers import get_solver


@dataclass(frozen=True, kw_only=True, slots=True)
class Ubfp:
    """B_k = B / K and beta_k = beta_bar, all else as JCPBA."""

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "UBFP"

    def plan(self, problem: Problem) -> Plan:
        """Give everyone the same."""
        solution = solve(problem, get_solver("uniform"))
        kept = round_to_sizes(problem, solution.kept, solution.bandwidth_hz)
        return make_plan(problem, solution, kept, solution.bandwidth_hz)

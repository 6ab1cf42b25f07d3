"""What a solver returns, and the verb that calls one: Solution, solve."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from trimwave.problem import Problem
from trimwave.units import FloatArray


class Status(StrEnum):
    """How a solver ended."""

    OPTIMAL = "optimal"
    """Globally optimal; `bound_s` and `kkt_residual` prove it."""
    FEASIBLE = "feasible"
    """All constraints hold; nothing is claimed about optimality."""
    ITERATION_LIMIT = "iteration_limit"
    """Feasible, stopped by the iteration limit before its own stopping rule."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A point of P1 and what is known of it."""

    solver: str
    status: Status
    kept: FloatArray
    """[K] x_k = 1 - beta_k."""
    bandwidth_hz: FloatArray
    """[K] B_k [Hz]."""
    latency_s: float
    """max_k T_k [s]."""
    bound_s: float | None = None
    """Certified lower bound on the optimum [s]: no point of P1 is faster."""
    price_hz: float | None = None
    """Band that one more unit of sum x_k costs [Hz]; 0 if C5 is slack."""
    kkt_residual: float | None = None
    """Largest relative violation of the optimality conditions."""
    trace: tuple[float, ...] = ()
    """Latency after each iteration [s]."""
    sweeps: int = 0
    """Iterations until the solver's stopping rule held."""

    @property
    def prune_rate(self) -> FloatArray:
        """[K] beta_k."""
        return 1 - self.kept

    @property
    def gap(self) -> float | None:
        """Relative distance between the value and its bound."""
        if self.bound_s is None:
            return None
        return (self.latency_s - self.bound_s) / self.latency_s


class Solver(Protocol):
    """An algorithm for P1."""

    @property
    def name(self) -> str:
        """What `--solver` calls it."""

    def solve(self, problem: Problem) -> Solution:
        """Solve a problem that has passed `Problem.check`."""


def solve(problem: Problem, solver: Solver) -> Solution:
    """Solve P1 with one algorithm, eq. (10).

    Raises
    ------
    InfeasibleError
        If C3, C4 and C5 exclude each other: which, for whom, by how much.
    """
    problem.check()
    return solver.solve(problem)

"""What a solver returns, and the verb that calls one: Solution, solve."""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trimwave.base.errors import InfeasibleError
from trimwave.base.tolerances import PROVEN
from trimwave.base.units import FloatArray
from trimwave.problem.problem import Problem


class Status(StrEnum):
    """How a solver ended."""

    OPTIMAL = "optimal"
    """Globally optimal; `bound_s` and `kkt_residual` prove it."""
    FEASIBLE = "feasible"
    """All constraints hold; nothing is claimed about optimality."""
    ITERATION_LIMIT = "iteration_limit"
    """Feasible, stopped by the iteration limit before its own stopping rule."""
    INFEASIBLE = "infeasible"
    """Nothing satisfies the constraints; only in a batch, where `solve` would raise."""


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
    up_bandwidth_hz: FloatArray | None = None
    """[K] share of the uplink's own band under FDD [Hz]; None = B_k serves both."""
    bound_s: float | None = None
    """Certified lower bound on the optimum [s]: no point of P1 is faster; where whole
    resource blocks were searched (`realise`), none in whole blocks."""
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


@dataclass(frozen=True, kw_only=True, eq=False)
class SolutionBatch:
    """Solutions of many draws at once: [..., 1] for each draw; nan where there is none.

    ``batch[i]`` is the `Solution` of one draw.
    """

    solver: str
    status: NDArray[np.str_] = field(
        default_factory=lambda: np.array(Status.FEASIBLE.value)
    )
    """[..., 1] values of `Status`; `judged` says them."""
    kept: FloatArray
    """[..., K]"""
    bandwidth_hz: FloatArray
    """[..., K]"""
    latency_s: FloatArray
    """[..., 1]"""
    bound_s: FloatArray
    """[..., 1]; nan where no bound is proven."""
    price_hz: FloatArray
    """[..., 1]"""
    kkt_residual: FloatArray
    """[..., 1]; nan where it is not computed."""
    up_bandwidth_hz: FloatArray | None = None
    """[..., K], or None."""
    trace: tuple[FloatArray, ...] = ()
    """The deadlines that were tried, [..., 1] each."""

    @property
    def prune_rate(self) -> FloatArray:
        """[..., K] beta_k."""
        return 1 - self.kept

    def judged(self, solvable: NDArray[np.bool_]) -> "SolutionBatch":
        """Say of each draw what its bound proves; nan where a draw has no solution.

        Parameters
        ----------
        solvable : [..., 1]
            Which draws have one; the numbers of the others mean nothing. A bound of 0
            is none.
        """
        proven = self.bound_s >= self.latency_s * (1 - PROVEN)
        status = np.where(proven, Status.OPTIMAL, Status.FEASIBLE)
        nan, up_hz = np.where(solvable, 0.0, np.nan), self.up_bandwidth_hz
        return replace(
            self,
            status=np.where(solvable, status, Status.INFEASIBLE),
            kept=self.kept + nan,
            bandwidth_hz=self.bandwidth_hz + nan,
            up_bandwidth_hz=None if up_hz is None else up_hz + nan,
            latency_s=self.latency_s + nan,
            bound_s=np.where(solvable & (self.bound_s > 0), self.bound_s, np.nan),
            price_hz=self.price_hz + nan,
            kkt_residual=self.kkt_residual + nan,
        )

    @property
    def gap(self) -> FloatArray:
        """Relative distance between the values and their bounds, [..., 1]."""
        return (self.latency_s - self.bound_s) / self.latency_s

    def __getitem__(self, draw: int | tuple[int, ...]) -> Solution:
        """Return one draw's solution; `draw` indexes the leading axes."""
        at = draw if self.status.ndim > 1 else ()

        def number(values: FloatArray) -> float:
            return float(values[at][0])

        def known(values: FloatArray) -> float | None:
            return None if np.isnan(number(values)) else number(values)

        up_hz = self.up_bandwidth_hz
        return Solution(
            solver=self.solver,
            status=Status(str(self.status[at][0])),
            kept=self.kept[at],
            bandwidth_hz=self.bandwidth_hz[at],
            latency_s=number(self.latency_s),
            up_bandwidth_hz=None if up_hz is None else up_hz[at],
            bound_s=known(self.bound_s),
            price_hz=number(self.price_hz),
            kkt_residual=known(self.kkt_residual),
            trace=tuple(number(deadline_s) for deadline_s in self.trace),
        )


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
    found = solver.solve(problem)
    if found.status is Status.INFEASIBLE:
        raise InfeasibleError(
            [
                "C1 to C5 leave no room but for rounding; raise `beta_bar` by 1e-8, or "
                "lower the least shares by 1e-8 of the band."
            ]
        )
    return found

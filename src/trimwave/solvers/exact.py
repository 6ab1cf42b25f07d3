"""The global optimum of P1, with a certificate.

At a fixed deadline T the smallest band that client k needs, B_k(x_k), is convex and
increasing in what it keeps. So {(x, B): T_k <= T for all k} is convex for every T, P1
is jointly quasi-convex, and a search for T with a convex feasibility problem inside
finds the global optimum. The inner problem, min sum B_k(x_k) subject to C5, is
separable with one coupling: a search for its multiplier, the price in hertz. Both
searches are Newton's with a bracket, on every draw at once.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trimwave.base.roots import newton_root
from trimwave.base.tolerances import MARGIN
from trimwave.base.units import FloatArray
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution, SolutionBatch
from trimwave.solvers.answers import Cheapest
from trimwave.solvers.blocks import bandwidth_block, even_kept, keeps_enough
from trimwave.solvers.certificate import lower_bound_s, price_rises
from trimwave.solvers.deadline import SEARCHED, AtDeadline
from trimwave.solvers.duplex import solve_duplex
from trimwave.solvers.earliest import earliest_deadline
from trimwave.solvers.kkt import kkt_residual
from trimwave.solvers.nonconvex import enclosed_bound_s


@dataclass(frozen=True, kw_only=True, slots=True)
class Exact:
    """Newton on the deadline with water-filling on the price inside.

    O(K) for each step, and no loop over clients or draws. Valid as the optimum when
    B_k(x_k) is convex: proven for ``noise="fixed"`` with a convex `Cell.emulator_time`,
    and for ``"psd"`` when R_up/R_dn does not depend on B_k; for others of ``"psd"``
    checked at the answer. It fails where the uplink is much weaker than the downlink.
    There, and for a table that is not convex, the bound holds all the same but one
    client or more may leave a gap; the status is OPTIMAL where the gap is below 1e-9
    and FEASIBLE elsewhere.
    """

    name: str = "exact"

    def solve(self, problem: Problem) -> Solution:
        """Find the optimum and its certificate."""
        return self.solve_batch(problem)[0]

    def solve_batch(self, problem: Problem) -> SolutionBatch:
        """Find them for every draw; a draw without a solution says so in its status."""
        if problem.cell.up_bandwidth_hz is not None:
            return solve_duplex(problem, self.name)
        slowest, solvable = _even_deadline(problem)
        best, trace = _search(problem, slowest)
        reachable = solvable & np.isfinite(best.need_hz)
        latency, bounds = problem.latency, problem.cell.share_bounds_hz
        bandwidth_hz = bandwidth_block(latency, best.kept, *bounds)
        total_s = latency.total_s(best.kept, bandwidth_hz)
        latency_s = np.max(total_s, axis=-1, keepdims=True)
        likely_s = np.where(reachable, latency_s, 1.0)
        found = SolutionBatch(
            solver=self.name,
            kept=best.kept,
            bandwidth_hz=bandwidth_hz,
            latency_s=latency_s,
            bound_s=_bound_s(problem, likely_s, best.price_hz),
            price_hz=best.price_hz,
            kkt_residual=kkt_residual(problem, best.kept, bandwidth_hz, best.price_hz),
            trace=tuple(trace),
        )
        return found.judged(reachable)


def _bound_s(
    problem: Problem, latency_s: FloatArray, price_hz: FloatArray
) -> FloatArray:
    """Latency that no point beats, [..., 1] [s]; 0 where none is proven."""
    rises = price_rises(problem, latency_s)
    bound_s = lower_bound_s(problem, latency_s, price_hz)
    if rises.all():
        return bound_s
    return np.where(rises, bound_s, enclosed_bound_s(problem, latency_s, price_hz))


def _even_deadline(problem: Problem) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return a deadline that can be met if any can, and whether one can, [..., 1].

    That of even pruning with the best split of the band: as a rule a few percent late.
    """
    cell, latency = problem.cell, problem.latency
    least_hz, kept = cell.share_min_hz, even_kept(problem)
    share = bandwidth_block(latency, kept, *cell.share_bounds_hz)
    slowest = np.max(latency.total_s(kept, share), axis=-1, keepdims=True)
    fits = keeps_enough(problem)
    if least_hz is not None:
        most_hz = cell.total_bandwidth_hz * (1 + MARGIN)
        fits &= np.sum(least_hz, axis=-1, keepdims=True) <= most_hz
    return slowest * (1 + MARGIN), fits & np.isfinite(slowest)


def _search(problem: Problem, slowest: FloatArray) -> tuple[Cheapest, list[FloatArray]]:
    """Find the deadline at which the least band is the whole one."""
    fastest = np.minimum(_fastest(problem, slowest), slowest)
    start = slowest
    if problem.cell.share_max_hz is not None:  # it may be the optimum already
        start = np.minimum(fastest * (1 + MARGIN**1.5), slowest)
    return earliest_deadline(
        partial(AtDeadline, problem),
        problem.cell.total_bandwidth_hz,
        fastest,
        slowest,
        start,
        SEARCHED[problem.cell.noise],
    )


def _fastest(problem: Problem, slowest: FloatArray) -> FloatArray:
    """Return a deadline that everyone's largest share allows at best, [..., 1]."""
    latency, low, most = problem.latency, problem.kept_min, problem.share_max_hz()
    if problem.cell.share_max_hz is None:
        return np.max(latency.unshared_s(low), axis=-1, keepdims=True)
    alone = np.max(latency.total_s(low, most), axis=-1, keepdims=True)
    high = np.maximum(problem.kept_max, low)

    def more(deadline_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        kept = np.clip(latency.kept_at(most, deadline_s), low, high)
        found = problem.avoided(kept) - problem.avoid_min
        return found, np.full_like(found, np.nan)

    _, _, together = newton_root(more, np.minimum(alone, slowest), slowest, alone)
    return np.maximum(alone, together)

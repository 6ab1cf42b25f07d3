"""The global optimum of P1, with a certificate.

At a fixed deadline T the smallest band that client k needs, B_k(x_k), is convex and
increasing in what it keeps. So {(x, B): T_k <= T for all k} is convex for every T, P1
is jointly quasi-convex, and a search for T with a convex feasibility problem inside
finds the global optimum. The inner problem, min sum B_k(x_k) subject to C5, is
separable with one coupling: a search for its multiplier, the price in hertz. Both
searches are Newton's with a bracket, on every draw at once.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimwave.problem import Problem
from trimwave.roots import newton_root
from trimwave.solution import Solution, SolutionBatch, Status
from trimwave.solvers.blocks import bandwidth_block, even_kept
from trimwave.solvers.certificate import lower_bound_s, price_rises
from trimwave.solvers.deadline import SEARCHED, TOLERANCE, AtDeadline, Cheapest
from trimwave.solvers.kkt import kkt_residual
from trimwave.units import FloatArray

MARGIN = 1e-9
"""Relative room above a feasible deadline, so that rounding cannot hide the optimum
where it is the even split already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Exact:
    """Newton on the deadline with water-filling on the price inside.

    O(K) for each step, and no loop over clients or draws. Valid when B_k(x_k) is
    convex: proven for ``noise="fixed"`` where time and payload are convex in x_k, and
    for ``"psd"`` when R_up/R_dn does not depend on B_k. It can fail under ``"psd"``
    where the uplink is much weaker than the downlink; whether it holds is then checked
    at the answer, and where it does not the answer is FEASIBLE, without a bound.
    """

    name: str = "exact"

    def solve(self, problem: Problem) -> Solution:
        """Find the optimum and its certificate."""
        return self.solve_batch(problem)[0]

    def solve_batch(self, problem: Problem) -> SolutionBatch:
        """Find them for every draw; a draw without a solution says so in its status."""
        slowest, solvable = _even_deadline(problem)
        best, trace = _search(problem, slowest)
        reachable = solvable & np.isfinite(best.need_hz)
        latency, cell = problem.latency, problem.cell
        bandwidth_hz = bandwidth_block(
            latency, best.kept, cell.bandwidth_min_hz, cell.bandwidth_max_hz
        )
        total_s = latency.total_s(best.kept, bandwidth_hz)
        latency_s = np.max(total_s, axis=-1, keepdims=True)
        proven = reachable & price_rises(problem, latency_s)
        bound_s = lower_bound_s(problem, latency_s, best.price_hz)
        residual = kkt_residual(problem, best.kept, bandwidth_hz, best.price_hz)
        status = np.where(proven, Status.OPTIMAL, Status.FEASIBLE)
        nan = np.where(reachable, 0.0, np.nan)
        return SolutionBatch(
            solver=self.name,
            status=np.where(reachable, status, Status.INFEASIBLE),
            kept=best.kept + nan,
            bandwidth_hz=bandwidth_hz + nan,
            latency_s=latency_s + nan,
            bound_s=np.where(proven, bound_s, np.nan),
            price_hz=best.price_hz + nan,
            kkt_residual=residual + nan,
            trace=tuple(trace),
        )


def _even_deadline(problem: Problem) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return a deadline that can be met if any can, and whether one can, [..., 1].

    That of even pruning with the best split of the band: as a rule a few percent late.
    """
    cell, latency = problem.cell, problem.latency
    least_hz, kept = cell.bandwidth_min_hz, even_kept(problem)
    share = bandwidth_block(latency, kept, least_hz, cell.bandwidth_max_hz)
    slowest = np.max(latency.total_s(kept, share), axis=-1, keepdims=True)
    enough = problem.avoid_min - MARGIN * cell.num_clients
    fits = problem.kept_max >= problem.kept_min - MARGIN
    fits = np.all(fits, axis=-1, keepdims=True)
    fits &= problem.avoided(np.maximum(problem.kept_max, problem.kept_min)) >= enough
    if least_hz is not None:
        most_hz = cell.total_bandwidth_hz * (1 + MARGIN)
        fits &= np.sum(least_hz, axis=-1, keepdims=True) <= most_hz
    return slowest * (1 + MARGIN), fits & np.isfinite(slowest)


def _search(problem: Problem, slowest: FloatArray) -> tuple[Cheapest, list[FloatArray]]:
    """Find the deadline at which the least band is the whole one.

    On 1 / band, which is concave in the deadline for fixed kept fractions and nearly a
    line: Newton lands below the root and closes in from there.
    """
    band = problem.cell.total_bandwidth_hz
    fastest = np.minimum(_fastest(problem, slowest), slowest)
    start = slowest
    if problem.cell.bandwidth_max_hz is not None:  # it may be the optimum already
        start = np.minimum(fastest * (1 + MARGIN**1.5), slowest)
    best: Cheapest | None = None
    trace: list[FloatArray] = []

    def spare(deadline_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        nonlocal best
        trace.append(deadline_s)
        found = AtDeadline(problem, deadline_s, best).cheapest()
        best = found if best is None else found.unless_unreachable(best)
        ratio = band / found.need_hz
        with np.errstate(invalid="ignore"):
            return ratio - 1, -ratio * (found.slope_hz_per_s / found.need_hz)

    tolerance = TOLERANCE * SEARCHED[problem.cell.noise] ** 0.5
    newton_root(spare, fastest, slowest, start, tolerance=tolerance)
    assert best is not None
    return best, trace


def _fastest(problem: Problem, slowest: FloatArray) -> FloatArray:
    """Return a deadline that everyone's largest share allows at best, [..., 1]."""
    latency, low, most = problem.latency, problem.kept_min, problem.share_max_hz()
    if problem.cell.bandwidth_max_hz is None:
        return np.max(latency.compute_s(low), axis=-1, keepdims=True)
    alone = np.max(latency.total_s(low, most), axis=-1, keepdims=True)
    high = np.maximum(problem.kept_max, low)

    def more(deadline_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        kept = np.clip(latency.kept_at(most, deadline_s), low, high)
        found = problem.avoided(kept) - problem.avoid_min
        return found, np.full_like(found, np.nan)

    _, _, together = newton_root(more, np.minimum(alone, slowest), slowest, alone)
    return np.maximum(alone, together)

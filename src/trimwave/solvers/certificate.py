"""Proof that a point of P1 is optimal, checked apart from how it was found."""

import numpy as np

from trimwave.problem import Problem
from trimwave.units import FloatArray

EPSILON = float(np.finfo(np.float64).eps)


def deadline_is_infeasible(
    problem: Problem, deadline_s: float, price_hz: float
) -> bool:
    """Prove that no point of P1 meets a deadline, by weak duality.

    For any price >= 0, every feasible x needs at least
    sum_k min_x (B_k(x) - price x) + price X of band, with x in the box that C3, C4 and
    the deadline leave. If that exceeds B the deadline cannot be met.

    Valid when B_k(x) is convex (see `Exact`); the price need not be the best one.
    """
    latency, band = problem.latency, problem.cell.total_bandwidth_hz
    low = problem.kept_min
    high = np.minimum(
        problem.kept_max, latency.kept_at(np.full_like(low, band), deadline_s)
    )
    if np.any(high < low) or np.sum(high) < problem.kept_total * (1 - 8 * EPSILON):
        return True
    least = latency.required_bandwidth_hz(low, deadline_s)
    most = np.clip(latency.required_bandwidth_hz(high, deadline_s), least, band)
    if price_hz > 0:
        share = latency.bandwidth_at_price_hz(price_hz, deadline_s, least, most)
        kept = np.clip(latency.kept_at(share, deadline_s), low, high)
    else:
        share, kept = least, low
    owed = price_hz * (problem.kept_total - float(np.sum(kept)))
    rounding = 16 * EPSILON * (float(np.sum(share)) + price_hz * problem.kept_total)
    return float(np.sum(share)) + owed - rounding > band


def lower_bound_s(problem: Problem, latency_s: float, price_hz: float) -> float:
    """Largest deadline just below a latency that is proven infeasible [s].

    Tried at relative distances 1e-15, 1e-14, ...; 0 if none is proven, which would mean
    that the latency is far from optimal or the price wrong.
    """
    for exponent in range(15, -1, -1):
        deadline_s = latency_s * (1 - 10.0**-exponent)
        if deadline_s > 0 and deadline_is_infeasible(problem, deadline_s, price_hz):
            return deadline_s
    return 0.0


def kkt_residual(
    problem: Problem, kept: FloatArray, bandwidth_hz: FloatArray, price_hz: float
) -> float:
    """Largest relative violation of the optimality conditions of P1.

    Primal: all T_k equal, band and C5 used up. Stationarity: dB_k/dx_k equals the price
    strictly inside the bounds of x_k, is no lower at the lower bound and no higher at
    the upper one.
    """
    latency, band = problem.latency, problem.cell.total_bandwidth_hz
    total_s = latency.total_s(kept, bandwidth_hz)
    latency_s = float(np.max(total_s))
    spread = float(latency_s - np.min(total_s)) / latency_s
    unused = abs(float(np.sum(bandwidth_hz)) - band) / band
    missing = max(0.0, problem.kept_total - float(np.sum(kept))) / kept.size
    residual = max(spread, unused, missing)
    if price_hz <= 0:
        return residual
    mismatch = latency.price_hz(bandwidth_hz, latency_s) / price_hz - 1
    near = 1e-9
    at_low = kept <= problem.kept_min + near
    at_high = kept >= problem.kept_max - near
    inside = ~at_low & ~at_high
    wrong = np.where(inside, np.abs(mismatch), 0.0)
    wrong = np.where(at_low & ~at_high, np.maximum(-mismatch, 0), wrong)
    wrong = np.where(at_high & ~at_low, np.maximum(mismatch, 0), wrong)
    return max(residual, float(np.max(wrong)))

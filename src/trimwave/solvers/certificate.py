"""Proof that a point of P1 is optimal, checked apart from how it was found."""

import numpy as np

from trimwave.problem import Problem
from trimwave.units import FloatArray

EPSILON = float(np.finfo(np.float64).eps)

PRICE_POINTS, PRICE_ROUNDING = 257, 1e-12
"""How finely a rising price is checked, and what counts as rounding."""

KINK = 1e-9
"""Relative distance at which the two sides of a kink are looked at."""


def deadline_is_infeasible(
    problem: Problem, deadline_s: float, price_hz: float
) -> bool:
    """Prove that no point of P1 meets a deadline, by weak duality.

    For any price >= 0, every feasible x needs at least
    sum_k min_x (B_k(x) - price x) + price X of band, with x in the box that C3, C4 and
    the deadline leave. If that exceeds B the deadline cannot be met.

    Valid when B_k(x) is convex (see `price_rises`); the price need not be the best.
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


def price_rises(problem: Problem, deadline_s: float) -> bool:
    """Whether dB_k/dx_k rises with B_k for every client, which convexity needs.

    True by proof for ``fixed`` noise; for ``psd`` looked at on a grid of shares between
    what the least and the most kept fraction need at the deadline.
    """
    if problem.cell.noise == "fixed":
        return True
    latency, band = problem.latency, problem.cell.total_bandwidth_hz
    least = latency.required_bandwidth_hz(problem.kept_min, deadline_s)
    most = latency.required_bandwidth_hz(problem.kept_max, deadline_s)
    most = np.clip(most, least, band)
    grid = np.linspace(0.0, 1.0, PRICE_POINTS)[:, None]
    shares = least * (most / least) ** grid  # [points, K]
    prices = np.array([latency.price_hz(share, deadline_s) for share in shares])
    return bool(np.all(np.diff(prices, axis=0) >= -PRICE_ROUNDING * prices[1:]))


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
    mismatch = _price_mismatch(problem, bandwidth_hz, latency_s, price_hz)
    near = 1e-9
    at_low = kept <= problem.kept_min + near
    at_high = kept >= problem.kept_max - near
    inside = ~at_low & ~at_high
    wrong = np.where(inside, np.abs(mismatch), 0.0)
    wrong = np.where(at_low & ~at_high, np.maximum(-mismatch, 0), wrong)
    wrong = np.where(at_high & ~at_low, np.maximum(mismatch, 0), wrong)
    return max(residual, float(np.max(wrong)))


def _price_mismatch(
    problem: Problem, bandwidth_hz: FloatArray, latency_s: float, price_hz: float
) -> FloatArray:
    """How far dB_k/dx_k is from the price, relative, [K].

    Where a share reaches a modem's cap the rate has a kink: any price between the two
    one-sided slopes is stationary there.
    """
    latency = problem.latency
    mismatch = latency.price_hz(bandwidth_hz, latency_s) / price_hz - 1
    if problem.cell.noise == "fixed" or np.isinf(problem.cell.max_spectral_efficiency):
        return np.asarray(mismatch)
    below, above = (
        latency.price_hz(bandwidth_hz * side, latency_s) / price_hz - 1
        for side in (1 - KINK, 1 + KINK)
    )
    at_kink = (below <= 0) & (above >= 0)
    return np.where(at_kink, 0.0, mismatch)

"""A bound that holds where a client's band is not convex in what it keeps.

Under a noise density with an uplink much weaker than the downlink B_k(x) may bend the
wrong way, and a stationary point need not be the least. The Lagrangian's minimum over
each client's share, min B - price a(x(B)), is then enclosed from below: between two
neighbouring shares by the lines that its slopes at both ends allow. The shares that may
still hold the minimum are cut finer and finer.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trimwave.base.tolerances import C5_ROUNDING
from trimwave.base.units import FloatArray
from trimwave.problem.pieces import weight_at
from trimwave.problem.problem import Problem
from trimwave.solvers.certificate import halved

CUTS, LEVELS = 33, 6
"""Shares looked at on each level, and levels."""

FARTHEST, BISECTIONS = 12, 8
"""Deadlines tried for a bound, each ten times farther below the latency, and how often
the last step is halved."""


def least_band_hz(
    problem: Problem, deadline_s: FloatArray, price_hz: FloatArray
) -> FloatArray:
    """Band that a deadline needs at the least, by weak duality, [..., 1].

    Valid for any price >= 0 and whether or not B_k(x) is convex, if dB_k/dx is monotone
    between neighbouring shares.
    """
    latency, most_hz = problem.latency, problem.share_max_hz()
    high = np.minimum(latency.kept_at(most_hz, deadline_s), problem.kept_max)
    late = np.any(high < problem.kept_min, axis=-1, keepdims=True)
    high = np.maximum(high, problem.kept_min)
    most = problem.avoided(high)  # radios may let no band make up for the time
    late |= most < problem.avoid_min - C5_ROUNDING * (most + abs(problem.avoid_min))
    least_hz, whole_hz = (
        np.minimum(latency.required_bandwidth_hz(x, deadline_s), most_hz)
        for x in (problem.kept_min, high)
    )
    if (floor_hz := problem.cell.share_min_hz) is not None:
        least_hz, whole_hz = (np.maximum(x, floor_hz) for x in (least_hz, whole_hz))

    def net_hz(share_hz: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Cost of a share less what C5 pays for what it keeps, and its slope."""
        raw = latency.kept_at(share_hz, deadline_s)
        kept = np.clip(raw, problem.kept_min, high)
        paid = price_hz * problem.avoided_by(kept)
        weight = weight_at(problem.pieces, kept)
        with np.errstate(divide="ignore", invalid="ignore"):
            rises = price_hz * weight / latency.price_hz(share_hz, deadline_s)
        return share_hz - paid, 1 - np.where(kept == raw, rises, 0.0)

    begin, end, enclosed = least_hz, whole_hz, np.zeros(())
    for _ in range(LEVELS):
        begin, end, enclosed = _narrowed(net_hz, begin, end)
    total = np.sum(enclosed, axis=-1, keepdims=True) + price_hz * problem.avoid_min
    return np.where(late, np.inf, total)


def _narrowed(
    net_hz: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
    begin: FloatArray,
    end: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Keep the stretch that may hold the minimum, and a lower bound on that."""
    parts = np.linspace(0.0, 1.0, CUTS)[1:-1]
    shares = [begin, *(begin + part * (end - begin) for part in parts), end]
    values, slopes = zip(*(net_hz(share) for share in shares), strict=True)
    reached = np.min(values, axis=0)
    bounds = []
    for at in range(CUTS - 1):
        width = shares[at + 1] - shares[at]
        least = np.minimum(slopes[at], slopes[at + 1])
        most = np.maximum(slopes[at], slopes[at + 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            meet = (values[at + 1] - values[at] - most * width) / (least - most)
            inside = values[at] + least * meet
        ends = np.minimum(values[at], values[at + 1])
        bends = (least < 0) & (most > 0) & np.isfinite(inside)
        bounds.append(np.where(bends, np.minimum(inside, ends), ends))
    first, last = end, begin
    for at, bound in enumerate(bounds):
        may = bound <= reached
        first = np.where(may, np.minimum(first, shares[at]), first)
        last = np.where(may, np.maximum(last, shares[at + 1]), last)
    return first, last, np.min(bounds, axis=0)


def enclosed_bound_s(
    problem: Problem, latency_s: FloatArray, price_hz: FloatArray
) -> FloatArray:
    """Largest deadline below a latency that is proven infeasible, [..., 1] [s]."""
    band = problem.cell.total_bandwidth_hz * (1 + 1e-14)

    def infeasible(deadline_s: FloatArray) -> NDArray[np.bool_]:
        return least_band_hz(problem, deadline_s, price_hz) > band

    bound, above = np.zeros_like(latency_s), latency_s
    for exponent in range(FARTHEST, -1, -1):
        deadline_s = latency_s * (1 - 10.0**-exponent)
        found = infeasible(deadline_s) & (bound == 0)
        bound = np.where(found, deadline_s, bound)
        above = np.where(bound == 0, deadline_s, above)
        if np.all(bound > 0):
            break
    return halved(infeasible, bound, above, BISECTIONS)

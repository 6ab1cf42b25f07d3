"""How far a point is from the optimality conditions of P1.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

import numpy as np
from numpy.typing import NDArray

from trimwave.base.tolerances import AT_BOUND, AT_END
from trimwave.base.units import FloatArray
from trimwave.problem.pieces import weight_at
from trimwave.problem.problem import Problem

KINK = 1e-9
"""Relative distance at which the two sides of a kink are looked at."""


def kkt_residual(
    problem: Problem, kept: FloatArray, bandwidth_hz: FloatArray, price_hz: FloatArray
) -> FloatArray:
    """Largest relative violation of the optimality conditions of P1, [..., 1].

    Primal: all T_k equal but for clients at their least share, band and C5 used up.
    Stationarity: dB_k/dx_k equals the price times the client's weight in C5 strictly
    inside the bounds of x_k, is no lower at the lower bound and no higher at the upper
    one; where it jumps, the price lies between its two sides.
    """
    cell, latency = problem.cell, problem.latency
    total_s = latency.total_s(kept, bandwidth_hz)
    latency_s = np.max(total_s, axis=-1, keepdims=True)
    early = (latency_s - total_s) / np.where(latency_s > 0, latency_s, 1.0)
    if cell.share_min_hz is not None:
        at_least = bandwidth_hz <= cell.share_min_hz * (1 + AT_BOUND)
        early = np.where(at_least, 0.0, early)
    residual = np.max(early, axis=-1, keepdims=True)
    used = np.sum(bandwidth_hz, axis=-1, keepdims=True) / cell.total_bandwidth_hz
    unused = np.abs(1 - used)
    missing = np.maximum(problem.avoid_min - problem.avoided(kept), 0.0)
    residual = np.maximum(np.maximum(residual, unused), missing / cell.num_clients)
    wrong = _price_mismatch(problem, kept, bandwidth_hz, price_hz)
    wrong = np.where(price_hz > 0, np.maximum(residual, wrong), residual)
    if cell.share_max_hz is None:
        return wrong
    over = np.maximum(np.maximum(used - 1, 0), missing / cell.num_clients)
    radios = _held_by_radios(problem, kept, bandwidth_hz, total_s)
    return np.where(radios, np.minimum(over, wrong), wrong)


def _held_by_radios(
    problem: Problem, kept: FloatArray, bandwidth_hz: FloatArray, total_s: FloatArray
) -> NDArray[np.bool_]:
    """Whether the largest shares alone forbid an earlier end, [..., 1].

    So it is where a straggler keeps the least with its largest share; or where everyone
    has that or keeps the most, so that C5 cannot be met any sooner.
    """
    most_hz = problem.share_max_hz()
    latency_s = np.max(total_s, axis=-1, keepdims=True)
    limited = bandwidth_hz >= most_hz * (1 - AT_BOUND)
    limited &= total_s >= latency_s * (1 - AT_END)
    least = kept <= problem.kept_min + AT_BOUND
    most = kept >= problem.kept_max - AT_BOUND
    alone = np.any(limited & least, axis=-1, keepdims=True)
    return alone | np.all(limited | most, axis=-1, keepdims=True)


def _price_mismatch(
    problem: Problem, kept: FloatArray, bandwidth_hz: FloatArray, price_hz: FloatArray
) -> FloatArray:
    """How far dB_k/dx_k is on the wrong side of the price, relative, [..., 1]."""
    cell = problem.cell
    here = below = above = _over_price(problem, kept, bandwidth_hz)
    if cell.noise == "psd" or len(problem.pieces) > 1:
        below = _over_price(problem, kept - KINK, bandwidth_hz * (1 - KINK))
        above = _over_price(problem, kept + KINK, bandwidth_hz * (1 + KINK))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        far = here / price_hz - 1
    dear = np.where(below > price_hz, far, 0.0)  # cheaper to keep less
    cheap = np.where(above < price_hz, -far, 0.0)  # cheaper to keep more
    at_low = kept <= problem.kept_min + AT_BOUND
    if cell.share_min_hz is not None:  # what the least share buys costs nothing
        at_low |= bandwidth_hz <= cell.share_min_hz * (1 + AT_BOUND)
    at_high = kept >= problem.kept_max - AT_BOUND
    if cell.share_max_hz is not None:
        at_high |= bandwidth_hz >= cell.share_max_hz * (1 - AT_BOUND)
    wrong = np.fmax(np.where(at_low, 0.0, dear), np.where(at_high, 0.0, cheap))
    return np.maximum(np.max(wrong, axis=-1, keepdims=True), 0.0)


def _over_price(
    problem: Problem, kept: FloatArray, bandwidth_hz: FloatArray
) -> FloatArray:
    """dB_k/dx_k over the weight of C5, right of a bend, [..., K].

    No number where the client has nothing to send, and so takes any price.
    """
    latency, weight = problem.latency, weight_at(problem.pieces, kept)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        per_kept_s = latency.per_kept_s(kept, bandwidth_hz)
        saved = latency.saved_per_hz(kept, bandwidth_hz) * weight
        return np.where(saved > 0, per_kept_s / saved, np.nan)

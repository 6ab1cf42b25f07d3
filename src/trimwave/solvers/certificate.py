"""Proof that a point of P1 is optimal, checked apart from how it was found.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trimwave.base.tolerances import COARSE_GAP, ROOT_RTOL, SLOPE_ROUNDING, SUM_RTOL
from trimwave.base.units import FloatArray
from trimwave.problem.problem import Problem
from trimwave.solvers.answers import Cheapest
from trimwave.solvers.deadline import AtDeadline
from trimwave.solvers.search import DeadlineSearch

PRICE_POINTS = 65
"""How finely a rising price is checked."""

HALVINGS = 8
"""How often the last step towards a bound is halved where that leaves a gap."""

FARTHEST = 40
"""Deadlines tried for a bound, each ten times farther below the latency."""


def proven_band_hz(at_it: DeadlineSearch, price_hz: FloatArray) -> Cheapest:
    """Band that a deadline needs at the least, by weak duality, [..., 1].

    For any price >= 0, every feasible x needs at least
    sum_k min_x (B_k(x) - price a_k(x)) + price A of band, with a_k and A what C5 counts
    and asks for, and x in the box that C3, C4 and the deadline leave. Rounding is on
    the safe side.

    Valid when `kept` finds the least of each client: where B_k(x) is convex (see
    `price_rises`), or convex on pieces. The price need not be the best.
    """
    problem, found = at_it.problem, at_it.at_price(price_hz)
    size = np.sum(found.bandwidth_hz, axis=-1, keepdims=True)
    size = size + price_hz * (abs(problem.avoid_min) + problem.cell.num_clients)
    with np.errstate(invalid="ignore"):
        need_hz = found.need_hz - SUM_RTOL * size
    need_hz = np.where(np.isinf(found.need_hz), np.inf, need_hz)
    return replace(found, need_hz=need_hz)


def deadline_is_infeasible(
    problem: Problem, deadline_s: FloatArray | float, price_hz: FloatArray | float
) -> NDArray[np.bool_]:
    """Prove that no point of P1 meets a deadline, [..., 1]."""
    rows = np.zeros((*problem.cell.shape[:-1], 1))
    found = proven_band_hz(AtDeadline(problem, deadline_s + rows), price_hz + rows)
    return found.need_hz > problem.cell.total_bandwidth_hz


def lower_bound_s(
    problem: Problem, latency_s: FloatArray, price_hz: FloatArray
) -> FloatArray:
    """Largest deadline just below a latency that is proven infeasible, [..., 1] [s]."""
    band_hz = np.full_like(latency_s, problem.cell.total_bandwidth_hz)
    return largest_infeasible_s(
        partial(AtDeadline, problem), band_hz, latency_s, price_hz
    )


def largest_infeasible_s(
    at: Callable[[FloatArray], DeadlineSearch],
    band_hz: FloatArray,
    latency_s: FloatArray,
    price_hz: FloatArray,
) -> FloatArray:
    """Largest deadline just below a latency that is proven infeasible, [..., 1] [s].

    Tried first where the band's slope in the deadline says that the proof will be
    past its rounding, then farther and farther off at that deadline's own price, and
    at last between the last two; 0 if none is proven, which would mean that the latency
    is far from optimal.

    Parameters
    ----------
    at : callable
        The search at a deadline.
    band_hz, latency_s, price_hz : [..., 1]
        The band, the latency, and the price of C5 there.
    """
    at_it = proven_band_hz(at(latency_s), price_hz)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        short = np.maximum(band_hz - at_it.need_hz, 0) + SUM_RTOL * band_hz
        off = 2 * short / -at_it.slope_hz_per_s / latency_s
    off = np.where(np.isfinite(off), np.clip(off, ROOT_RTOL, 1e-10), ROOT_RTOL)
    bound = np.zeros_like(latency_s)
    for _ in range(FARTHEST):
        deadline_s = latency_s * (1 - np.minimum(off, 1.0))
        found = proven_band_hz(at(deadline_s), price_hz)
        proven = (found.need_hz > band_hz) & (deadline_s > bound)
        bound = np.where(proven, deadline_s, bound)
        if np.all((bound > 0) | (off >= 1)):
            break
        off = np.where(bound > 0, off, 10 * off)
        price_hz = at(deadline_s).cheapest().price_hz
    if np.all(latency_s - bound <= COARSE_GAP * latency_s):
        return bound
    above = np.where(bound > 0, latency_s * (1 - 0.1 * off), bound)

    def infeasible(deadline_s: FloatArray) -> NDArray[np.bool_]:
        tried = at(deadline_s)
        found = proven_band_hz(tried, tried.cheapest().price_hz)
        return found.need_hz > band_hz

    return halved(infeasible, bound, above, HALVINGS)


def halved(
    infeasible: Callable[[FloatArray], NDArray[np.bool_]],
    bound: FloatArray,
    above: FloatArray,
    times: int,
) -> FloatArray:
    """Raise a bound on the deadline towards where it is not proven, by bisection.

    Parameters
    ----------
    infeasible : callable
        Whether a deadline, [..., 1], is proven infeasible.
    bound, above : [..., 1]
        A deadline that is, and one that is not [s].
    times : int
        How often the distance is halved.
    """
    for _ in range(times):
        deadline_s = 0.5 * (bound + above)
        proven = infeasible(deadline_s)
        bound = np.where(proven, deadline_s, bound)
        above = np.where(proven, above, deadline_s)
    return bound


def price_rises(problem: Problem, deadline_s: FloatArray) -> NDArray[np.bool_]:
    """Whether dB_k/dx_k rises with B_k for all, which convexity needs, [..., 1].

    True by proof for ``fixed`` noise; for ``psd`` noise looked at at shares between
    what the least and the most kept fraction need at the deadline.
    """
    shape = (*problem.cell.shape[:-1], 1)
    if problem.cell.noise == "fixed":
        return np.ones(shape, dtype=bool)
    latency, band = problem.latency, problem.cell.total_bandwidth_hz
    least = latency.required_bandwidth_hz(problem.kept_min, deadline_s)
    most = latency.required_bandwidth_hz(problem.kept_max, deadline_s)
    least = np.where(np.isfinite(least) & (least > 0), least, band)
    most = np.clip(most, least, band)
    rises, below, piece_below = np.ones(shape, dtype=bool), np.zeros(()), np.zeros(())
    for at in np.linspace(0.0, 1.0, PRICE_POINTS):
        share = least * (most / least) ** at
        price, kept = (
            latency.price_hz(share, deadline_s),
            latency.kept_at(share, deadline_s),
        )
        piece = np.sum([kept >= one.start for one in problem.pieces], axis=0)
        # From one piece to the next it may fall, where a table is not convex.
        falls = (price < below * (1 - SLOPE_ROUNDING)) & (piece == piece_below)
        rises &= ~np.any(falls, axis=-1, keepdims=True)
        below, piece_below = price, piece
    return rises

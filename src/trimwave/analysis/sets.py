"""Sets of clients worth trying at a deadline, and a bound on all of them.

At a deadline and a price for C5 client k costs psi_k = min_x B_k(x) - price a_k(x) of
band, with a_k what it adds to C5, which may be negative. Any n clients that meet the
deadline and C5 have sum psi_k <= B, whatever the price: where even the n smallest sum
up to more, no n clients can. The best price, of a concave function, shows that if any
does. The clients that it and the prices next to it name are worth a try, and swaps of
those whose costs are close.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trimwave.base.units import FloatArray, IntArray
from trimwave.problem.problem import Problem
from trimwave.solvers.certificate import price_rises
from trimwave.solvers.deadline import AtDeadline

PRICE_STEPS, ZOOMS = 16, 10
"""Prices tried at once, and how often between the neighbours of the best."""

BEYOND = 1e4
"""How far past the prices at which a client's x_k moves s is looked at, as a factor:
dearer still, who counts much in C5 is named first; cheaper, who needs little band."""

MOST_SWAPPED = 4
"""Clients on either side of the last one served between whom places are swapped."""


def who_fits(problem: Problem) -> NDArray[np.bool_]:
    """Say whose memory (C3) and bounds of the share (C2) leave a plan, [K]."""
    fits = problem.kept_max >= problem.kept_min
    if (least_hz := problem.cell.share_min_hz) is not None:
        fits &= least_hz <= problem.share_max_hz()
    return fits


def who_could(problem: Problem, deadline_s: float) -> IntArray:
    """Return who could meet a deadline alone at `beta_max`, C5 aside, ascending."""
    can = problem.latency.kept_at(problem.share_max_hz(), deadline_s)
    return np.flatnonzero(who_fits(problem) & (can >= problem.kept_min))


def bound_holds(problem: Problem, deadline_s: float) -> bool:
    """Whether B_k(x_k) is convex for all who could meet a deadline (`Exact`)."""
    part = replace(problem, cell=problem.cell.take(who_could(problem, deadline_s)))
    return bool(price_rises(part, np.array([deadline_s]))[0])


def cheapest(
    problem: Problem, deadline_s: float, size: int
) -> tuple[float, list[IntArray]]:
    """Return the band that any so many clients need at the least [Hz].

    And the clients who could serve in the order of their costs: at the best price, at
    those next to it, and in the order of what they can add to C5.
    """
    clients = who_could(problem, deadline_s)
    if clients.size < size:
        return np.inf, []
    part = replace(problem, cell=problem.cell.take(clients))
    at_it = AtDeadline(part, np.array([deadline_s]))
    low_s, _, high_s = (float(one[0]) for one in at_it.price_range())
    low_s, high_s = low_s / BEYOND, high_s * BEYOND
    free_hz = at_it.required_hz(at_it.low)  # at no price
    best_hz = float(np.sum(np.sort(free_hz)[:size]))
    costs = [free_hz]
    for _ in range(ZOOMS):
        tried = np.geomspace(low_s, high_s, PRICE_STEPS)
        cost = _costs(at_it, tried)
        total = np.sum(np.partition(cost, size - 1, axis=1)[:, :size], axis=1)
        at = int(np.argmax(total))
        before, after = max(at - 1, 0), min(at + 1, PRICE_STEPS - 1)
        if total[at] > best_hz:
            best_hz, costs = float(total[at]), [*cost[[at, before, after]]]
        low_s, high_s = tried[before], tried[after]
    costs.append(-_surplus(part, at_it.high))
    return best_hz, [clients[np.argsort(one, kind="stable")] for one in costs]


def _costs(at_it: AtDeadline, tried: FloatArray) -> FloatArray:
    """psi_k, [prices, K] [Hz], at some s = price^(-1/2)."""
    s = tried[:, None]
    kept = at_it.kept(s).kept
    return at_it.required_hz(kept) - s**-2.0 * _surplus(at_it.problem, kept)


def _surplus(problem: Problem, kept: FloatArray) -> FloatArray:
    """Return what a client adds to C5 beyond what is asked of it, [..., K]."""
    return problem.avoided_by(kept) - problem.weight * problem.avoid_mean


def tops(orders: list[IntArray], size: int) -> Iterator[IntArray]:
    """Yield the first clients of each order, ascending."""
    return (np.sort(order[:size]) for order in orders)


def swaps(orders: list[IntArray], size: int) -> Iterator[IntArray]:
    """Yield them with one of the last replaced by one of the next."""
    for order in orders:
        for out in range(max(0, size - MOST_SWAPPED), size):
            for taken in order[size : size + MOST_SWAPPED]:
                swapped = order[:size].copy()
                swapped[out] = taken
                yield np.sort(swapped)

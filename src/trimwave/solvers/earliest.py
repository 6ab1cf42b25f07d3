"""The outer search: the earliest deadline that the band allows.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

from collections.abc import Callable

import numpy as np

from trimwave.base.roots import newton_root_aux
from trimwave.base.tolerances import SUM_RTOL
from trimwave.base.units import FloatArray
from trimwave.solvers.answers import Cheapest
from trimwave.solvers.search import DeadlineSearch


def earliest_deadline(
    at: Callable[[FloatArray, Cheapest | None], DeadlineSearch],
    band_hz: float | FloatArray,
    fastest_s: FloatArray,
    slowest_s: FloatArray,
    start_s: FloatArray,
    roughness: float,
    near: Cheapest | None = None,
) -> tuple[Cheapest, list[FloatArray]]:
    """Find the deadline at which the least band is the whole one.

    On 1 / band, which is concave in the deadline for fixed kept fractions and nearly a
    line: Newton lands below the root and closes in from there.

    Parameters
    ----------
    at : callable
        The search at a deadline, near an answer.
    band_hz : float or [..., 1]
        The band.
    fastest_s, slowest_s, start_s : [..., 1]
        Ends of the search, and where it begins.
    roughness : float
        As in `DeadlineSearch`.
    near : Cheapest, optional
        The answer at a deadline near `start_s`.

    Returns
    -------
    best : Cheapest
        The answer at the deadline found.
    trace : list of [..., 1]
        The deadlines that were tried.
    """
    tolerance = SUM_RTOL * roughness**0.5
    trace: list[FloatArray] = []

    def spare(deadline_s: FloatArray) -> tuple[FloatArray, FloatArray, Cheapest]:
        nonlocal near
        trace.append(deadline_s)
        found = at(deadline_s, near).cheapest()
        near = found if near is None else found.unless_unreachable(near)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = band_hz / found.need_hz
            slope = -ratio * (found.slope_hz_per_s / found.need_hz)
        # Where all are at their least shares an earlier deadline needs no more.
        flat = (ratio >= 1 - tolerance) & (found.slope_hz_per_s == 0)
        over = np.where(flat, np.inf, ratio - 1)
        return over, np.where(flat, np.nan, slope), near

    _, _, _, best = newton_root_aux(
        spare, fastest_s, slowest_s, start_s, tolerance=tolerance
    )
    return best, trace

"""Root finding on arrays: Newton where slopes are at hand, Chandrupatla elsewhere."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trimwave.base.tolerances import ROOT_RTOL
from trimwave.base.units import FloatArray

MAX_ITERATIONS = 200

Aux = TypeVar("Aux")
"""What a function returns beside its value and its slope."""


def bracket_root(
    function: Callable[[FloatArray], FloatArray],
    lower: ArrayLike,
    upper: ArrayLike,
    *,
    rtol: float = 1e-14,
) -> tuple[FloatArray, FloatArray]:
    """Shrink brackets around the roots of an increasing function, elementwise.

    Chandrupatla's method (1997): inverse quadratic interpolation where it is safe,
    bisection elsewhere; it is never much slower than bisection. The bracket comes back
    rather than a point, because the two ends are what a certificate needs.

    Parameters
    ----------
    function : callable
        [n] -> [n], non-decreasing in each element. ``inf`` and ``-inf`` are allowed.
    lower, upper : [n] or scalar
        Ends with ``function(lower) <= 0 <= function(upper)``; where an end is already
        on the wrong side, that end is returned twice.
    rtol : float
        Width of the bracket at which to stop, relative to its larger end.

    Returns
    -------
    lower, upper : [n]
        The shrunken bracket; ``function(upper) >= 0`` wherever a root was inside.
    """
    low, high = np.broadcast_arrays(
        np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    )
    low, high = low.copy(), high.copy()
    value_low, value_high = function(low), function(high)
    high = np.where(value_low > 0, low, high)
    low = np.where(value_high < 0, high, low)
    recent, value_recent = low.copy(), value_low.copy()  # the end last replaced
    fraction = np.full(low.shape, 0.5)
    for _ in range(MAX_ITERATIONS):
        scale = np.maximum(np.abs(low), np.abs(high))
        open_ = high - low > rtol * scale
        if not open_.any():
            break
        point = np.where(open_, low + fraction * (high - low), high)
        point = np.clip(point, low, high)
        value = function(point)
        above = value >= 0
        recent = np.where(above, high, low)
        value_recent = np.where(above, value_high, value_low)
        high, value_high = (
            np.where(above, point, high),
            np.where(above, value, value_high),
        )
        low, value_low = np.where(above, low, point), np.where(above, value_low, value)
        fraction = _next_fraction(
            low, high, recent, value_low, value_high, value_recent
        )
        # Step at least half a tolerance off an end, so that a bracket whose root sits
        # at one end also closes from the other.
        with np.errstate(invalid="ignore", divide="ignore"):
            margin = np.minimum(0.5, 0.5 * rtol * scale / (high - low))
        fraction = np.clip(fraction, margin, 1 - margin)
    return low, high


def _next_fraction(
    low: FloatArray,
    high: FloatArray,
    recent: FloatArray,
    value_low: FloatArray,
    value_high: FloatArray,
    value_recent: FloatArray,
) -> FloatArray:
    """Where in [low, high] to look next: interpolation if it is safe, else 1/2."""
    # The newest point is the end that was not kept from before: the one that moved
    # towards `recent`. Chandrupatla's a = newest end, b = other end, c = recent.
    newest_is_high = recent > high
    a = np.where(newest_is_high, high, low)
    b = np.where(newest_is_high, low, high)
    fa = np.where(newest_is_high, value_high, value_low)
    fb = np.where(newest_is_high, value_low, value_high)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        xi = (a - b) / (recent - b)
        phi = (fa - fb) / (value_recent - fb)
        safe = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
        step = fa / (fb - fa) * value_recent / (fb - value_recent) + (
            (recent - a) / (b - a) * fa / (value_recent - fa) * fb / (value_recent - fb)
        )
    step = np.where(safe & np.isfinite(step), np.clip(step, 0.0, 1.0), 0.5)
    return np.where(newest_is_high, 1 - step, step)


def newton_root(
    function: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
    lower: ArrayLike,
    upper: ArrayLike,
    start: ArrayLike,
    *,
    tolerance: ArrayLike = 0.0,
    rtol: float = ROOT_RTOL,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Find the roots of an increasing function by safeguarded Newton, elementwise.

    As `newton_root_aux`, of a function that returns its value and its slope alone.

    Returns
    -------
    lower, point, upper : [...]
        The last point, and the bracket around it.
    """
    low, point, high, _ = newton_root_aux(
        lambda x: (*function(x), None),
        lower,
        upper,
        start,
        tolerance=tolerance,
        rtol=rtol,
    )
    return low, point, high


def newton_root_aux(
    function: Callable[[FloatArray], tuple[FloatArray, FloatArray, Aux]],
    lower: ArrayLike,
    upper: ArrayLike,
    start: ArrayLike,
    *,
    tolerance: ArrayLike = 0.0,
    rtol: float = ROOT_RTOL,
    over_jumps: bool = False,
) -> tuple[FloatArray, FloatArray, FloatArray, Aux]:
    """Find roots, and return what the function computed on the way at the last point.

    A step out of the bracket ends at its end, and where that is known already at the
    root of the secant. Where a step has not halved the function the next one is a
    bisection: of the logarithm where the bracket spans magnitudes.

    Parameters
    ----------
    function : callable
        [...] -> value and slope, [...] each, and anything else. ``inf``, and slopes
        that are no number, are allowed.
    lower, upper : [...]
        Ends with ``function(lower) <= 0 <= function(upper)``; they are not evaluated.
    start : [...]
        First point, within.
    tolerance : [...]
        Absolute value of the function at which to stop.
    rtol : float
        Width of the bracket at which to stop, relative to the point.
    over_jumps : bool
        For a function that may jump over 0: never take so short a step that the jump is
        left on one side of the bracket, as steep slopes beside it would.

    Returns
    -------
    lower, point, upper : [...]
        The last point, and the bracket around it.
    aux
        What else the function returned there; of all elements at once.
    """
    low, high, point = (
        np.array(one, dtype=np.float64)
        for one in np.broadcast_arrays(lower, upper, start)
    )
    before = np.full(point.shape, np.inf)
    value_low, value_high = np.full((2, *point.shape), np.nan)
    for iteration in range(1, MAX_ITERATIONS + 1):
        value, slope, aux = function(point)
        above, below = value >= 0, value <= 0
        high, value_high = (
            np.where(above, point, high),
            np.where(above, value, value_high),
        )
        low, value_low = np.where(below, point, low), np.where(below, value, value_low)
        size = np.abs(point)
        with np.errstate(all="ignore"):
            if over_jumps:
                slope = np.minimum(slope, np.abs(value) / (2 * ROOT_RTOL * size))
            step = -value / slope
            ahead = np.clip(point + step, low, high)
        done = (np.abs(value) <= tolerance) | (high - low <= rtol * size)
        # A slope beyond all numbers makes no step, and says nothing of the root.
        done |= (np.abs(step) <= ROOT_RTOL * size) & (step != 0)
        if done.all() or iteration == MAX_ITERATIONS:
            break
        ahead, safe = _safe_step(
            ahead, (low, value_low), (high, value_high), np.abs(value), before
        )
        safe &= (ahead != point) & (iteration < MAX_ITERATIONS // 2)
        before = np.abs(value)
        point = np.where(done, point, np.where(safe, ahead, _middle(low, high)))
    return low, point, high, aux


def _safe_step(
    ahead: FloatArray,
    lower: tuple[FloatArray, FloatArray],
    upper: tuple[FloatArray, FloatArray],
    size: FloatArray,
    before: FloatArray,
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return where to step, and whether that is better than a bisection.

    An end of the bracket that is known needs no second look: the root of the secant
    through both ends instead. Not better where the function's `size` is more than half
    of that `before`.
    """
    (low, value_low), (high, value_high) = lower, upper
    with np.errstate(invalid="ignore"):
        halved = ~(size > 0.5 * before)
        seen = (ahead <= low) & (value_low <= 0) | (ahead >= high) & (value_high >= 0)
        secant = low - value_low * ((high - low) / (value_high - value_low))
        ahead = np.where(seen, secant, ahead)
        return ahead, halved & np.isfinite(ahead) & (ahead >= low) & (ahead <= high)


def _middle(low: FloatArray, high: FloatArray) -> FloatArray:
    """Return the middle of a bracket, of its logarithm where that is wide."""
    wide = (low > 0) & (high > 4 * low)
    with np.errstate(invalid="ignore"):
        return np.where(wide, np.sqrt(low) * np.sqrt(high), low + 0.5 * (high - low))

"""The two halves of P1: pruning for a given band, and the band for given pruning.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

import numpy as np
from numpy.typing import NDArray

from trimwave.base.roots import bracket_root, newton_root, newton_root_aux
from trimwave.base.tolerances import (
    BAND_NEARLY_USED,
    BAND_USED,
    MARGIN,
    ROUNDING,
)
from trimwave.base.units import FloatArray
from trimwave.problem.latency import RoundLatency
from trimwave.problem.problem import Problem
from trimwave.solvers.mixing import mixed

FILLS = 4
"""Linear steps at the most, each without those whom a bound stopped before."""


def even_kept(problem: Problem) -> FloatArray:
    """Kept fractions as equal as C3 and C4 allow, with C5 tight, [..., K].

    All equal 1 - beta_bar where no bound is in the way. Above `beta_max` C5 is slack
    and everyone keeps the least.
    """
    low = problem.kept_min
    high = np.maximum(problem.kept_max, low)
    rows = (*problem.cell.shape[:-1], 1)

    def excess(level: FloatArray) -> tuple[FloatArray, FloatArray]:
        kept = np.clip(level, low, high)
        more = problem.avoided(kept) - problem.avoid_min
        free = (kept > low) & (kept < high)
        return more, np.sum(free, axis=-1, keepdims=True).astype(np.float64)

    top = np.max(high, axis=-1, keepdims=True)
    start = np.clip(1 - problem.limits.beta_bar, low[..., :1], top)
    _, _, level = newton_root(
        excess, np.broadcast_to(low[..., :1], rows), np.broadcast_to(top, rows), start
    )
    return mixed(problem, low, np.clip(level, low, high))


def keeps_enough(problem: Problem) -> NDArray[np.bool_]:
    """Whether C3, C4 and C5 leave some kept fractions, but for rounding, [..., 1]."""
    low, high = problem.kept_min, problem.kept_max
    fits = np.all(high >= low - ROUNDING, axis=-1, keepdims=True)
    enough = problem.avoid_min - ROUNDING * problem.cell.num_clients
    return fits & (problem.avoided(np.maximum(high, low)) >= enough)


def prune_block(problem: Problem, bandwidth_hz: FloatArray) -> FloatArray:
    """Best kept fractions for fixed bandwidths: water-filling, [K].

    For a deadline T every client keeps what T allows; the smallest T at which C5 and
    x >= x_min hold is the block's optimum.
    """
    latency = problem.latency
    low, high = problem.kept_min, problem.kept_max
    fastest = float(np.max(latency.total_s(low, bandwidth_hz)))
    slowest = float(np.max(latency.total_s(high, bandwidth_hz)))

    def kept_by(deadline_s: float) -> FloatArray:
        return np.clip(latency.kept_at(bandwidth_hz, deadline_s), low, high)

    def excess(deadline_s: FloatArray) -> FloatArray:
        return problem.avoided(kept_by(float(deadline_s[0]))) - problem.avoid_min

    _, deadline = bracket_root(excess, np.array([fastest]), np.array([slowest]))
    return mixed(problem, low, kept_by(float(deadline[0])))


def bandwidth_block(
    latency: RoundLatency,
    kept: FloatArray,
    least_hz: FloatArray | None = None,
    most_hz: FloatArray | None = None,
) -> FloatArray:
    """Best bandwidths for fixed kept fractions: all finish together, [..., K] [Hz].

    A client held at its least share ends earlier. Where the largest shares leave some
    of the band unused, the slowest client is at its own.

    Parameters
    ----------
    latency : RoundLatency
        Of K clients.
    kept : [..., K]
        x_k.
    least_hz, most_hz : [..., K], optional
        Bounds of the shares [Hz]; 0 and the whole band if left out.
    """
    band = latency.down.total_bandwidth_hz
    shape = np.broadcast_shapes(kept.shape, np.shape(latency.compute_fixed_s))
    least = np.zeros(()) if least_hz is None else least_hz
    most = np.minimum(band, np.inf if most_hz is None else most_hz)
    start = np.clip(_even_above(shape, least, band), least, most)
    ends = latency.total_s(kept, start)
    slowest = np.max(ends, axis=-1, keepdims=True) * (1 + MARGIN)
    if most_hz is None:
        alone = latency.unshared_s(kept)
    else:
        alone = latency.total_s(kept, np.broadcast_to(most, shape))
    fastest = np.minimum(np.max(alone, axis=-1, keepdims=True), slowest)
    last_hz = start  # where the searches under a noise density go on from

    def spare(
        deadline_s: FloatArray,
    ) -> tuple[FloatArray, FloatArray, tuple[FloatArray, FloatArray]]:
        nonlocal last_hz
        need = latency.required_bandwidth_hz(kept, deadline_s, start_hz=last_hz)
        gained = latency.hz_per_s(kept, need, deadline_s)
        if least_hz is not None:
            gained = np.where(need > least_hz, gained, 0.0)
            need = np.maximum(need, least_hz)
        last_hz = need
        total = np.sum(need, axis=-1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.sum(gained, axis=-1, keepdims=True) / total
            return band / total - 1, band * slope / total, (need, gained)

    _, point, above, (need, gained) = newton_root_aux(
        spare, fastest, slowest, slowest, tolerance=BAND_USED, over_jumps=True
    )
    over = ~(np.sum(need, axis=-1, keepdims=True) <= band * (1 + BAND_NEARLY_USED))
    if over.any():  # a jump: its far side
        _, _, (need, gained) = spare(np.where(over, above, point))
    return _filled(need, gained, least, most, band)


def band_needed(
    latency: RoundLatency,
    kept: FloatArray,
    deadline_s: float | FloatArray,
    least_hz: FloatArray | None = None,
    most_hz: FloatArray | None = None,
) -> FloatArray:
    """Share with which each meets a deadline, within its bounds, [..., K] [Hz].

    inf where not even the largest does. The parameters are those of `bandwidth_block`.
    """
    need = latency.required_bandwidth_hz(kept, deadline_s)
    if most_hz is not None:
        need = np.where(need <= most_hz * (1 + ROUNDING), need, np.inf)
    return need if least_hz is None else np.maximum(need, least_hz)


def _even_above(shape: tuple[int, ...], least: FloatArray, band: float) -> FloatArray:
    """Everyone's least share and the rest of the band evenly."""
    least = np.broadcast_to(least, shape)
    rest = band - np.sum(least, axis=-1, keepdims=True)
    return least + np.maximum(rest, 0.0) / shape[-1]


def _filled(
    need: FloatArray,
    gained: FloatArray,
    least: FloatArray,
    most: FloatArray,
    band: float,
) -> FloatArray:
    """Make what is above the least shares use up the band.

    First by one and the same change of everyone's time, because rounding of a deadline
    may be a large part of the time that one of them has to send.
    """
    rest = band - np.sum(need, axis=-1, keepdims=True)
    need = np.minimum(need, most)
    near = np.abs(rest) <= BAND_NEARLY_USED * band
    for _ in range(FILLS):
        if not near.any():
            break
        total = np.sum(gained, axis=-1, keepdims=True)
        near &= total > 0
        earlier_s = np.divide(rest, total, out=np.zeros_like(rest), where=near)
        floor = np.maximum(least, 0.5 * need)
        need = np.clip(need + gained * earlier_s, floor, most)
        rest = band - np.sum(need, axis=-1, keepdims=True)
        near &= np.abs(rest) > BAND_USED * band
        if near.any():  # without those whom a bound stopped
            gained = np.where((need > floor) & (need < most), gained, 0.0)
    above = need - least
    rest = band - np.sum(np.broadcast_to(least, need.shape), axis=-1, keepdims=True)
    total = np.sum(above, axis=-1, keepdims=True)
    if not np.all(total > 0):  # nothing to send
        above = np.where(total > 0, above, 1.0)
        total = np.sum(above, axis=-1, keepdims=True)
    return np.minimum(least + np.maximum(rest / total, 0.0) * above, most)

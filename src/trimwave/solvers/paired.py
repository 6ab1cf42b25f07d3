"""FDD: a band for the downlink and one for the uplink, traded at a price.

For any price mu >= 0 of a hertz up in hertz down, every feasible point has
sum B_dn + mu sum B_up <= B + mu B'. So P1 with the one band B + mu B', of which client
k needs phi_k(x) = min B_dn + mu B_up, bounds the optimum from below, and the largest of
these bounds is the best. It is the optimum where phi_k is convex; with a fixed noise
power phi_k is concave at first and convex then,

    phi_k = (sqrt(d_k + e_k x) + sqrt(mu g_k))^2 / (T - u_k - v_k x),

with payloads over spectral efficiencies, so that a client may jump from keeping the
least to well inside its bounds. Only who would be in mid-jump keeps a gap open.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

import numpy as np
from numpy.typing import NDArray

from trimwave.base.roots import bracket_root, newton_root_aux
from trimwave.base.tolerances import SUM_RTOL
from trimwave.base.units import FloatArray
from trimwave.problem.problem import Problem
from trimwave.solvers.answers import AtPrice, Cheapest
from trimwave.solvers.deadline import HEADROOM
from trimwave.solvers.search import DeadlineSearch
from trimwave.solvers.split import Near, Split, split_band

SAMPLES = 17
"""Points of x at which the slope of phi is looked at to find where it bends up."""

ROUGHNESS = 1e3
"""How much rougher x_k(price) is here than a sum's rounding."""

STEP = 1e-6
"""Step of x for the curvature of phi, relative to what is left of a piece."""


class AtPairedDeadline(DeadlineSearch):
    """What each client can keep, at what price, with a band for either direction.

    Parameters
    ----------
    problem : Problem
        P1 of cells under FDD; leading axes of its arrays are draws.
    deadline_s : [..., 1]
        The deadlines.
    up_price : [..., 1]
        mu.
    near : Cheapest, optional
        The answer at a deadline near by, to begin from.
    shares : Near, optional
        Where the last search for shares ended.
    """

    def __init__(
        self,
        problem: Problem,
        deadline_s: FloatArray,
        up_price: FloatArray,
        near: Cheapest | None = None,
        shares: Near | None = None,
    ) -> None:
        self.up_price = up_price
        self.shares = Near() if shares is None else shares
        super().__init__(problem, deadline_s, near, roughness=ROUGHNESS, convex=False)
        self.spans = self._spans()
        self.bends = [self._bend(*span) for span in self.spans]
        self.points: dict[int, FloatArray] = {}

    def _box(self) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Say what clients can keep within the largest share."""
        low, reach = self.problem.kept_min, self._reach()
        late = np.any(reach < low, axis=-1, keepdims=True)
        return low, np.maximum(reach, low), late

    def _reach(self) -> FloatArray:
        """Largest x_k within `HEADROOM` bands, [..., K]; below the least if none is."""
        low = self.problem.kept_min
        most = np.maximum(self.problem.kept_max, low)
        band = total_band_hz(self.problem, self.up_price) * HEADROOM

        def over(kept: FloatArray) -> FloatArray:
            with np.errstate(divide="ignore"):
                return np.log(np.maximum(self.split(kept).need_hz, 1e-300) / band)

        out, within = over(low) > 0, over(most) <= 0
        reach = most
        if not within.all():  # how far need not be known well: it is four bands off
            below, _ = bracket_root(over, low, most, rtol=1e-4)
            reach = np.where(within, most, below)
        return np.where(out | (self.problem.kept_max < low), -1.0, reach)

    def split(self, kept: FloatArray) -> Split:
        """Return the cheapest pairs of shares."""
        return split_band(
            self.problem.latency, kept, self.deadline_s, self.up_price, self.shares
        )

    def _bend(self, start: FloatArray, end: FloatArray) -> tuple[FloatArray, ...]:
        """Where phi is steepest least, and its least and largest slope, on a piece."""
        first, last = self.split(start), self.split(end - (end - start) * 1e-9)
        at, least = start, first.per_kept_hz
        most = np.fmax(least, last.per_kept_hz)
        if np.all(self._curvature(start, end, first.per_kept_hz) >= 0):
            return at, least, most
        for part in np.linspace(0.0, 1.0, SAMPLES)[1:-1]:
            kept = start + part * (end - start)
            slope = self.split(kept).per_kept_hz
            at = np.where(slope < least, kept, at)
            least, most = np.fmin(least, slope), np.fmax(most, slope)
        return at, least, most

    def _curvature(
        self, kept: FloatArray, end: FloatArray, slope: FloatArray
    ) -> FloatArray:
        """d2phi/dx2 by a step towards the end of the piece, [..., K]."""
        step = STEP * (end - kept)
        ahead = self.split(kept + step).per_kept_hz
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(step > 0, (ahead - slope) / step, 0.0)

    def required_hz(self, kept: FloatArray) -> FloatArray:
        """phi, [..., K] [Hz]."""
        return self.split(kept).need_hz

    def hz_per_s(self, kept: FloatArray, need_hz: FloatArray) -> FloatArray:
        """-dphi/dT, [..., K] [Hz/s]."""
        return self.split(kept).hz_per_s

    def kept(self, s: FloatArray) -> AtPrice:
        """Return where phi less what C5 pays is least, of all pieces."""
        price, best, best_hz = s**-2.0, self.low, self._net_hz(self.low, s)
        fall = counted = np.zeros(np.shape(best))
        for at, piece in enumerate(self.problem.pieces):
            kept, curvature = self._met(at, price * piece.weight)
            net_hz = self._net_hz(kept, s)
            better = net_hz < best_hz
            with np.errstate(divide="ignore", invalid="ignore"):
                here = 2 * price / s * piece.weight / curvature
            here = np.where(curvature > 0, here, 0.0)
            best, best_hz = np.where(better, kept, best), np.fmin(net_hz, best_hz)
            fall = np.where(better, here, fall)
            counted = np.where(better, here * piece.weight, counted)
        return AtPrice(best, fall, np.sum(counted, axis=-1, keepdims=True))

    def _met(self, at: int, pays_hz: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Where dphi/dx meets what C5 pays on a piece, and d2phi/dx2; 0 at an end."""
        (_, end), (bend, least, most) = self.spans[at], self.bends[at]
        low = np.where(pays_hz >= most, end, bend)
        high = np.where(pays_hz <= least, bend, end)

        def excess(kept: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
            slope = self.split(kept).per_kept_hz
            curvature = self._curvature(kept, end, slope)
            return slope - pays_hz, curvature, curvature

        start = np.clip(self.points.get(at, 0.5 * (bend + end)), low, high)
        tolerance = 4 * SUM_RTOL * np.broadcast_to(pays_hz, np.shape(start))
        _, kept, _, curvature = newton_root_aux(
            excess, low, high, start, tolerance=tolerance
        )
        self.points[at] = kept
        return kept, np.where(high > low, curvature, 0.0)

    def _net_hz(self, kept: FloatArray, s: FloatArray) -> FloatArray:
        paid = s**-2.0 * self.problem.avoided_by(kept)
        return self.split(kept).need_hz - paid

    def price_range(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the range of s in which the price of C5 is searched, [..., 1] each."""
        lowest, highest = np.full(np.shape(self.up_price), np.inf), np.zeros(())
        for piece, (start, end), (_, least, most) in zip(
            self.problem.pieces, self.spans, self.bends, strict=True
        ):
            some = (end > start) & (np.asarray(piece.weight) > 0)
            with np.errstate(divide="ignore", invalid="ignore"):
                at_end, at_start = (np.sqrt(piece.weight / x) for x in (most, least))
            at_end = np.where(some & (most > 0), at_end, np.inf)
            at_start = np.where(some & np.isfinite(at_start), at_start, 0.0)
            lowest = np.minimum(lowest, np.min(at_end, axis=-1, keepdims=True))
            highest = np.maximum(highest, np.max(at_start, axis=-1, keepdims=True))
        priced = np.isfinite(lowest) & (highest > 0)
        lowest = np.where(priced, lowest, 1.0) * (1 - 1e-3)
        highest = np.maximum(np.where(priced, highest, 1.0), lowest) * (1 + 1e-3)
        return lowest, np.sqrt(lowest * highest), highest


def total_band_hz(problem: Problem, up_price: FloatArray) -> FloatArray:
    """B + mu B', [..., 1] [Hz]."""
    up_hz = problem.cell.up_bandwidth_hz
    assert up_hz is not None
    return problem.cell.total_bandwidth_hz + up_price * up_hz

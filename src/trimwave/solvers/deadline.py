"""What each client can keep, at what price, with one share for both directions.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trimwave.base.units import FloatArray
from trimwave.problem.pieces import weight_at
from trimwave.problem.problem import NO_WEIGHT, Problem
from trimwave.solvers.answers import AtPrice, Cheapest
from trimwave.solvers.curves import SMALLEST, Curve, Parabola, price_range
from trimwave.solvers.search import DeadlineSearch
from trimwave.solvers.searched import Searched

HEADROOM = 4.0
"""A share may be this many bands while a deadline is searched for, so that the need
passes through the whole band smoothly even where one client takes all of it."""

SEARCHED = {"fixed": 1.0, "psd": 1e3}
"""How much rougher x_k(price) is than a sum's rounding, by the noise: a closed form,
or a search of its own."""


class AtDeadline(DeadlineSearch):
    """What each client can keep, at what price, at one deadline per draw.

    Parameters
    ----------
    problem : Problem
        P1; leading axes of its arrays are draws.
    deadline_s : [..., 1]
        The deadlines.
    near : Cheapest, optional
        The answer at a deadline near by, to begin from.
    """

    def __init__(
        self, problem: Problem, deadline_s: FloatArray, near: Cheapest | None = None
    ) -> None:
        self.most_hz = problem.share_max_hz(HEADROOM)
        curve = problem.cell.emulator_time
        super().__init__(
            problem,
            deadline_s,
            near,
            roughness=SEARCHED[problem.cell.noise],
            convex=curve is None or curve.is_convex,
        )
        self.curves = self._curves()

    def _box(self) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Say what clients can keep within the largest share."""
        problem, low = self.problem, self.problem.kept_min
        high = problem.latency.kept_at(self.most_hz, self.deadline_s)
        high = np.fmin(high, problem.kept_max, out=high)
        late = np.any(high < low, axis=-1, keepdims=True)
        if problem.limits.damage is not None:  # nothing beyond what C5 counts
            for piece in problem.pieces:
                useful = np.where(np.asarray(piece.weight) > 0, np.inf, piece.start)
                high = np.minimum(high, useful)
        high = np.maximum(high, low, out=high)
        if problem.cell.share_min_hz is not None:  # it buys some of x for nothing
            tiny = SMALLEST * problem.cell.total_bandwidth_hz
            least_hz = np.maximum(problem.cell.share_min_hz, tiny)
            self.free = problem.latency.kept_at(least_hz, self.deadline_s)
            low = np.clip(self.free, low, high)
        return low, high, late

    def _curves(self) -> list[Curve]:
        latency, pieces = self.problem.latency, self.problem.pieces
        low, high = self.low, self.high
        spans = [(low, high)] if len(pieces) == 1 else self._spans()
        pairs = list(zip(pieces, spans, strict=True))
        if self.problem.cell.noise == "fixed":
            return [Parabola(latency, one, self.deadline_s, *at) for one, at in pairs]
        cuts = [low, *(end for _, end in spans)]
        needs = [self.required_hz(x) for x in cuts]
        ranges = zip(needs[:-1], needs[1:], strict=True)
        return [
            Searched(latency, one, self.deadline_s, *at, range_hz)
            for (one, at), range_hz in zip(pairs, ranges, strict=True)
        ]

    def required_hz(self, kept: FloatArray) -> FloatArray:
        """Band that kept fractions need, [..., K], within the bounds of a share.

        What those bounds allow is known, where a slack of rounding would hide it.
        """
        start_hz = None if self.near is None else self.near.bandwidth_hz
        need = self.problem.latency.required_bandwidth_hz(
            kept, self.deadline_s, start_hz=start_hz, most_hz=self.most_hz
        )
        np.minimum(need, self.most_hz, out=need)
        least_hz = self.problem.cell.share_min_hz
        if least_hz is None:
            return need
        return np.where(kept <= self.free, least_hz, np.maximum(need, least_hz))

    def hz_per_s(self, kept: FloatArray, need_hz: FloatArray) -> FloatArray:
        """Band that one more second saves, [..., K]; 0 at a client's least share."""
        gained = self.problem.latency.hz_per_s(kept, need_hz, self.deadline_s)
        np.maximum(gained, 0.0, out=gained)
        least_hz = self.problem.cell.share_min_hz
        return gained if least_hz is None else np.where(need_hz > least_hz, gained, 0.0)

    def _priced(
        self, kept: FloatArray, lacking: FloatArray, price: FloatArray
    ) -> Cheapest:
        """Count what a later deadline lets clients keep whom a share's bound stops."""
        found, cell = super()._priced(kept, lacking, price), self.problem.cell
        if cell.share_min_hz is None and cell.share_max_hz is None:
            return found
        latency, need_hz = self.problem.latency, found.bandwidth_hz
        stopped = (kept > self.problem.kept_min) & (kept < self.problem.kept_max)
        stopped &= (kept <= self.low) | (kept >= self.high)
        with np.errstate(divide="ignore", invalid="ignore"):
            per_kept_s = latency.per_kept_s(kept, need_hz)
            bought = price * weight_at(self.problem.pieces, kept) / per_kept_s
        stopped &= np.isfinite(bought)
        more = np.where(stopped, bought - self.hz_per_s(kept, need_hz), 0.0)
        slope = found.slope_hz_per_s - np.sum(more, axis=-1, keepdims=True)
        return replace(found, slope_hz_per_s=slope)

    def price_range(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the range of s in which the price of C5 is searched, [..., 1] each."""
        return price_range(self.curves)

    def kept(self, s: FloatArray) -> AtPrice:
        """Return what everyone keeps at a price."""
        if not self.convex:
            return self._best_of_pieces(s)
        (first, *others), (piece, *pieces) = self.curves, self.problem.pieces
        kept, fall = first.kept(s)
        counted = fall if piece.weight is NO_WEIGHT else fall * piece.weight
        for curve, piece in zip(others, pieces, strict=True):
            more, more_fall = curve.kept(s)
            kept = kept + (more - curve.low)
            fall = fall + more_fall
            counted = counted + more_fall * piece.weight
        return AtPrice(kept, fall, np.sum(counted, axis=-1, keepdims=True))

    def _best_of_pieces(self, s: FloatArray) -> AtPrice:
        """Compare the least of each piece, convex in itself, where all of it is not."""
        price, kept, least_hz = s**-2.0, self.low, np.full((), np.inf)
        fall = counted = np.zeros(())
        for curve, piece in zip(self.curves, self.problem.pieces, strict=True):
            here, here_fall = curve.kept(s)
            net_hz = self.required_hz(here) - price * self.problem.avoided_by(here)
            better = net_hz < least_hz
            kept, fall = np.where(better, here, kept), np.where(better, here_fall, fall)
            counted = np.where(better, here_fall * piece.weight, counted)
            least_hz = np.fmin(net_hz, least_hz)
        return AtPrice(kept, fall, np.sum(counted, axis=-1, keepdims=True))

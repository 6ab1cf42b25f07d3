"""The inner problem: the least band with which a deadline and C5 can be met.

min sum_k B_k(x_k) subject to C5 and the bounds of x_k: separable but for C5, whose
multiplier is the price in hertz. One row of everything for each draw.
"""

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import numpy as np

from trimwave.problem import NO_WEIGHT, Problem
from trimwave.roots import newton_root
from trimwave.solvers.curves import Curve, Parabola, Searched
from trimwave.units import FloatArray

HEADROOM = 4.0
"""A share may be this many bands while a deadline is searched for, so that the need
passes through the whole band smoothly even where one client takes all of it."""

TOLERANCE = 16 * float(np.finfo(np.float64).eps)
"""Rounding of a sum, relative."""

SEARCHED = {"fixed": 1.0, "psd": 1e3}
"""How much rougher x_k(price) is than a sum's rounding, by the noise: a closed form,
or a search of its own."""

CLOSE = 1e-9
"""Distance from C5, relative, from where a step along the slopes meets it."""


@dataclass(frozen=True, eq=False)
class Cheapest:
    """The inner problem's answer, [..., 1] for each draw."""

    need_hz: FloatArray
    """Least total band, by weak duality never above the true one; inf if none does."""
    slope_hz_per_s: FloatArray
    """Its derivative by the deadline; not positive."""
    price_hz: FloatArray
    """Multiplier of C5 [Hz]."""
    s: FloatArray
    """price^(-1/2), also where C5 costs nothing."""
    most_s: FloatArray
    """s from which on everyone keeps the least."""
    kept: FloatArray
    """[..., K]"""
    bandwidth_hz: FloatArray
    """[..., K]"""

    def with_need(self, need_hz: FloatArray) -> "Cheapest":
        """Return it with another claim about the band."""
        return replace(self, need_hz=need_hz)

    def unless_unreachable(self, other: "Cheapest") -> "Cheapest":
        """Return the other's answer in draws where this deadline cannot be met."""
        met = np.isfinite(self.need_hz)
        if met.all():
            return self
        return Cheapest(
            **{
                one.name: np.where(
                    met, getattr(self, one.name), getattr(other, one.name)
                )
                for one in fields(self)
            }
        )


class AtPrice(NamedTuple):
    """What everyone keeps at a price."""

    kept: FloatArray
    """[..., K]"""
    fall: FloatArray
    """[..., K] how fast it falls with s."""
    sum_fall: FloatArray
    """[..., 1] how fast what C5 counts falls."""


class AtDeadline:
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
        latency = problem.latency
        self.problem, self.deadline_s, self.near = problem, deadline_s, near
        self.most_hz = problem.share_max_hz(HEADROOM)
        self.low = problem.kept_min
        high = latency.kept_at(self.most_hz, deadline_s)
        self.high = np.fmin(high, problem.kept_max, out=high)
        late = np.any(self.high < self.low, axis=-1, keepdims=True)
        self.high = np.maximum(self.high, self.low, out=self.high)
        if problem.cell.bandwidth_min_hz is not None:  # it buys some of x for nothing
            free = latency.kept_at(problem.cell.bandwidth_min_hz, deadline_s)
            self.low = np.clip(free, self.low, self.high)
        most = problem.avoided(self.high)
        self.reachable = ~late & (most >= problem.avoid_min * (1 - TOLERANCE))
        size = most + np.abs(problem.avoid_min)
        self.rounding, self.near_enough = TOLERANCE * size, CLOSE * size
        self.tolerance = self.rounding * SEARCHED[problem.cell.noise]
        self.curves = self._curves()

    def _curves(self) -> list[Curve]:
        latency, pieces = self.problem.latency, self.problem.pieces
        low, high = self.low, self.high
        spans = [(low, high)]
        if len(pieces) > 1:
            spans = [
                (np.clip(one.start, low, high), np.clip(one.end, low, high))
                for one in pieces
            ]
        pairs = list(zip(pieces, spans, strict=True))
        if self.problem.cell.noise == "fixed":
            return [Parabola(latency, one, self.deadline_s, *at) for one, at in pairs]
        least, most = (self.required_hz(x) for x in (low, high))
        # Rounding can put what the largest share keeps just out of its reach.
        range_hz = np.minimum(least, self.most_hz), np.minimum(most, self.most_hz)
        return [
            Searched(latency, one, self.deadline_s, *at, range_hz) for one, at in pairs
        ]

    def required_hz(self, kept: FloatArray) -> FloatArray:
        """Band that kept fractions need, [..., K], no less than a client's least."""
        start_hz = None if self.near is None else self.near.bandwidth_hz
        need = self.problem.latency.required_bandwidth_hz(
            kept, self.deadline_s, start_hz=start_hz, most_hz=self.most_hz
        )
        least_hz = self.problem.cell.bandwidth_min_hz
        return need if least_hz is None else np.maximum(need, least_hz)

    def kept(self, s: FloatArray) -> "AtPrice":
        """Return what everyone keeps at a price."""
        (first, *others), (piece, *pieces) = self.curves, self.problem.pieces
        kept, fall = first.kept(s)
        counted = fall if piece.weight is NO_WEIGHT else fall * piece.weight
        for curve, piece in zip(others, pieces, strict=True):
            more, more_fall = curve.kept(s)
            kept = kept + (more - curve.low)
            fall = fall + more_fall
            counted = counted + more_fall * piece.weight
        return AtPrice(kept, fall, np.sum(counted, axis=-1, keepdims=True))

    def cheapest(self) -> Cheapest:
        """Find the price at which C5 holds with equality."""
        problem = self.problem
        low_s, start, high_s = self._bracket()
        slack = problem.avoided(self.kept(high_s).kept) >= problem.avoid_min
        if self.near is not None:
            start = self.near.s * (high_s / self.near.most_s)
        start = np.where(slack, high_s, np.clip(start, low_s, high_s))
        met: AtPrice | None = None

        def missing(s: FloatArray) -> tuple[FloatArray, FloatArray]:
            nonlocal met
            met = self.kept(s)
            lacking = problem.avoid_min - problem.avoided(met.kept)
            return np.where(slack, 0.0, lacking), met.sum_fall

        done = self.reachable & ~slack
        tolerance = np.where(done, self.tolerance, np.inf)
        below, s, above = newton_root(
            missing, low_s, high_s, start, tolerance=tolerance
        )
        assert met is not None
        price = np.where(slack, 0.0, s**-2.0)
        lacking = np.where(done, problem.avoid_min - problem.avoided(met.kept), 0.0)
        kept = self._corrected(met, lacking)
        lacking = np.where(done, problem.avoid_min - problem.avoided(kept), 0.0)
        jumps = np.abs(lacking) > self.tolerance
        if jumps.any():
            # Many clients share the price, and any mix of its two sides is optimal.
            mixed = problem.mixed(self.kept(above).kept, self.kept(below).kept)
            kept = np.where(jumps, mixed, kept)
            lacking = problem.avoid_min - problem.avoided(kept)
        if slack.any():
            free = problem.mixed(self.low, self.kept(high_s).kept)
            kept = np.where(slack, free, kept)
        found = self._priced(kept, np.where(slack, 0.0, lacking), price)
        return replace(found, s=s, most_s=high_s)

    def _corrected(self, met: AtPrice, lacking: FloatArray) -> FloatArray:
        """Step along the slopes to where C5 holds with equality."""
        near = np.abs(lacking) <= self.near_enough
        near &= (np.abs(lacking) > self.rounding) & (met.sum_fall > 0)
        if not near.any():
            return met.kept
        with np.errstate(divide="ignore", invalid="ignore"):
            step = met.fall * np.where(near, lacking / met.sum_fall, 0.0)
        step = np.where(np.isfinite(step), step, 0.0)
        return np.clip(met.kept + step, self.low, self.high)

    def most_within(self, band_hz: float) -> FloatArray:
        """Kept fractions that count most in C5 of all that a band allows, [..., K].

        The dual of `cheapest`. Valid when the least kept fractions fit the band.
        """
        least, most = self.required_hz(self.low), self.required_hz(self.high)
        rich = np.sum(most, axis=-1, keepdims=True) <= band_hz
        if rich.all():
            return self.high
        low_s, start, high_s = self._bracket()
        need = most

        def spare(s: FloatArray) -> tuple[FloatArray, FloatArray]:
            nonlocal need
            met = self.kept(s)
            need = self.required_hz(met.kept)
            left = band_hz - np.sum(need, axis=-1, keepdims=True)
            return np.where(rich, 0.0, left), met.sum_fall / s**2

        tolerance = TOLERANCE * band_hz * SEARCHED[self.problem.cell.noise]
        below, _, _ = newton_root(spare, low_s, high_s, start, tolerance=tolerance)
        over = np.abs(np.sum(need, axis=-1, keepdims=True) - band_hz) > tolerance
        if np.any(over):  # a jump: its dear side, mixed with the least
            need = np.where(over, self.required_hz(self.kept(below).kept), need)
        spent = np.sum(need - least, axis=-1, keepdims=True)
        left = band_hz - np.sum(least, axis=-1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(spent > 0, np.clip(left / spent, 0.0, 2.0), 1.0)
        share_hz = np.where(rich, most, least + share * (need - least))
        kept = self.problem.latency.kept_at(share_hz, self.deadline_s)
        return np.clip(kept, self.low, self.high)

    def at_price(self, price_hz: FloatArray) -> Cheapest:
        """Return what a price, [..., 1], proves: a lower bound on the band."""
        s = np.where(price_hz > 0, price_hz, 1.0) ** -0.5
        kept = np.where(price_hz > 0, self.kept(s).kept, self.low)
        lacking = self.problem.avoid_min - self.problem.avoided(kept)
        return self._priced(kept, lacking, price_hz)

    def _priced(
        self, kept: FloatArray, lacking: FloatArray, price: FloatArray
    ) -> Cheapest:
        bandwidth_hz = self.required_hz(kept)
        need = np.sum(bandwidth_hz, axis=-1, keepdims=True)
        with np.errstate(invalid="ignore"):
            need = need + price * lacking
        gained = self.problem.latency.hz_per_s(kept, bandwidth_hz, self.deadline_s)
        if (least_hz := self.problem.cell.bandwidth_min_hz) is not None:
            gained = np.where(bandwidth_hz > least_hz, gained, 0.0)
        return Cheapest(
            need_hz=np.where(self.reachable, need, np.inf),
            slope_hz_per_s=-np.sum(gained, axis=-1, keepdims=True),
            price_hz=price,
            s=np.ones_like(price),
            most_s=np.ones_like(price),
            kept=kept,
            bandwidth_hz=bandwidth_hz,
        )

    def _bracket(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """S below which all keep the most, one between, and from where the least."""
        lowest, middle, highest = None, None, None
        for curve in self.curves:
            at_end, at_start = curve.ends()
            end = np.min(at_end, axis=-1, keepdims=True)
            if not np.all(np.isfinite(at_start)):
                at_start = np.where(np.isfinite(at_start), at_start, 0.0)
            start = np.max(at_start, axis=-1, keepdims=True)
            mean = np.mean(at_start, axis=-1, keepdims=True)
            lowest = end if lowest is None else np.minimum(lowest, end)
            middle = mean if middle is None else np.maximum(middle, mean)
            highest = start if highest is None else np.maximum(highest, start)
        assert lowest is not None and middle is not None and highest is not None
        some = np.isfinite(lowest) & (highest > 0)
        lowest = np.where(some, np.maximum(lowest, 1e-300), 1.0) * (1 - 1e-9)
        highest = np.maximum(np.where(some, highest, 1.0), lowest) * (1 + 1e-9)
        return lowest, np.clip(middle, lowest, highest), highest

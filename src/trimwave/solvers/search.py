"""The inner problem: the least band with which a deadline and C5 can be met.

min sum_k B_k(x_k) subject to C5 and the bounds of x_k: separable but for C5, whose
multiplier is the price in hertz. One row of everything for each draw.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

from abc import ABC, abstractmethod
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trimwave.base.roots import newton_root_aux
from trimwave.base.tolerances import C5_NEARLY_MET, JUMP_RTOL, ROOT_RTOL, SUM_RTOL
from trimwave.base.units import FloatArray
from trimwave.problem.problem import Problem
from trimwave.solvers.answers import AtPrice, Cheapest
from trimwave.solvers.mixing import mixed

WIDENINGS = (0.0, 1e-14, 1e-12, 1e-10)
"""Relative distances from a jump at which its two sides are looked at."""


class DeadlineSearch(ABC):
    """The search for the price of C5 at one deadline per draw.

    What is abstract says what each client can keep, at what price.

    Parameters
    ----------
    problem : Problem
        P1; leading axes of its arrays are draws.
    deadline_s : [..., 1]
        The deadlines.
    near : Cheapest, optional
        The answer at a deadline near by, to begin from.
    roughness : float
        How much rougher x_k(price) is than a sum's rounding.
    convex : bool
        Whether every client's need is convex in x_k.
    """

    low: FloatArray
    """[..., K] least x_k."""
    high: FloatArray
    """[..., K] largest x_k."""
    reachable: NDArray[np.bool_]
    """[..., 1] whether the deadline can be met with any band."""
    rounding: FloatArray
    """[..., 1] rounding of what C5 counts."""
    near_enough: FloatArray
    """[..., 1] distance from C5 from where a step along the slopes meets it."""
    tolerance: FloatArray
    """[..., 1] distance from C5 at which the search ends."""

    def __init__(
        self,
        problem: Problem,
        deadline_s: FloatArray,
        near: Cheapest | None,
        *,
        roughness: float,
        convex: bool,
    ) -> None:
        self.problem, self.deadline_s, self.near = problem, deadline_s, near
        self.roughness, self.convex = roughness, convex
        self.low, self.high, late = self._box()
        most = problem.avoided(self.high)
        size = problem.c5_size(most)
        self.rounding, self.near_enough = SUM_RTOL * size, C5_NEARLY_MET * size
        self.reachable = ~late & (most >= problem.avoid_min - self.rounding)
        self.tolerance = self.rounding * roughness

    @abstractmethod
    def _box(self) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
        """Say what clients can keep by the deadline.

        Returns
        -------
        low, high : [..., K]
            Least and largest x_k, in this order whatever the deadline.
        late : [..., 1]
            Whether somebody cannot meet the deadline even with the least kept.
        """

    @abstractmethod
    def kept(self, s: FloatArray) -> AtPrice:
        """Return what everyone keeps at a price: where need less pay is least."""

    @abstractmethod
    def required_hz(self, kept: FloatArray) -> FloatArray:
        """Band that kept fractions need, [..., K]."""

    @abstractmethod
    def hz_per_s(self, kept: FloatArray, need_hz: FloatArray) -> FloatArray:
        """Band that one more second saves, [..., K]; not negative."""

    @abstractmethod
    def price_range(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the range of s = price^(-1/2) in which the price of C5 is searched.

        Returns
        -------
        lowest, middle, highest : [..., 1]
            Below the first everyone keeps the most, from the last on the least; the
            second is a guess between.
        """

    def _spans(self) -> list[tuple[FloatArray, FloatArray]]:
        """Return where each piece begins and ends within [low, high]."""
        low, high = self.low, self.high
        return [
            (np.clip(one.start, low, high), np.clip(one.end, low, high))
            for one in self.problem.pieces
        ]

    def cheapest(self) -> Cheapest:
        """Find the price at which C5 holds with equality."""
        problem = self.problem
        low_s, start, high_s = self.price_range()
        slack = problem.avoided(self.kept(high_s).kept) >= problem.avoid_min
        if self.near is not None:
            start = self.near.s * (high_s / self.near.most_s)
        start = np.where(slack, high_s, np.clip(start, low_s, high_s))

        def missing(s: FloatArray) -> tuple[FloatArray, FloatArray, AtPrice]:
            met = self.kept(s)
            lacking = np.where(slack, 0.0, self._lacking(met.kept))
            return lacking, met.sum_fall, met

        done = self.reachable & ~slack
        below, s, above, met = newton_root_aux(
            missing,
            low_s,
            high_s,
            start,
            tolerance=np.where(done, self.tolerance, np.inf),
            rtol=ROOT_RTOL if self.convex else JUMP_RTOL,
            over_jumps=True,
        )
        price = np.where(slack, 0.0, s**-2.0)
        kept = self._corrected(met, done)
        kept = self._mixed(kept, done, below, above)
        lacking = np.where(done, self._lacking(kept), 0.0)
        if slack.any():
            free = mixed(problem, self.low, self.kept(high_s).kept)
            kept = np.where(slack, free, kept)
        found = self._priced(kept, lacking, price)
        return replace(found, s=s, most_s=high_s)

    def _lacking(self, kept: FloatArray) -> FloatArray:
        """Return by how much kept fractions fall short of C5, [..., 1]."""
        return self.problem.avoid_min - self.problem.avoided(kept)

    def _corrected(self, met: AtPrice, done: NDArray[np.bool_]) -> FloatArray:
        """Take one step along the slopes to where C5 holds with equality, [..., K].

        For draws whose search ended near enough to it that the step's own error is
        below rounding; the others stay.
        """
        lacking = self._lacking(met.kept)
        near = done & (np.abs(lacking) <= self.near_enough) & (met.sum_fall > 0)
        near &= np.abs(lacking) > self.rounding
        if not near.any():
            return met.kept
        with np.errstate(divide="ignore", invalid="ignore"):
            step = met.fall * np.where(near, lacking / met.sum_fall, 0.0)
        step = np.where(np.isfinite(step), step, 0.0)
        return np.clip(met.kept + step, self.low, self.high)

    def _mixed(
        self,
        kept: FloatArray,
        done: NDArray[np.bool_],
        below: FloatArray,
        above: FloatArray,
    ) -> FloatArray:
        """Mix the two sides of a jump of x_k(price), where many share the price.

        Any mix is optimal, but where a client's need is not convex only one may be left
        between its sides. Where x_k(price) is rough the sides are looked for farther
        off, and at last among all that is kept.
        """
        for wide in WIDENINGS:
            jumps = done & (np.abs(self._lacking(kept)) > self.tolerance)
            if not jumps.any():
                return kept
            sides = (above * (1 + wide), below * (1 - wide))
            low, high = (self.kept(s).kept for s in sides)
            both = mixed(self.problem, low, high, in_turn=not self.convex)
            kept = np.where(jumps, both, kept)
        short = done & (self._lacking(kept) > self.tolerance)
        return np.where(short, mixed(self.problem, kept, self.high), kept)

    def most_within(self, band_hz: float) -> FloatArray:
        """Kept fractions that count most in C5 of all that a band allows, [..., K].

        The dual of `cheapest`. Valid when the least kept fractions fit the band.
        """
        least, most = self.required_hz(self.low), self.required_hz(self.high)
        rich = np.sum(most, axis=-1, keepdims=True) <= band_hz
        if rich.all():
            return self.high
        low_s, start, high_s = self.price_range()

        def spare(s: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
            met = self.kept(s)
            need = self.required_hz(met.kept)
            left = band_hz - np.sum(need, axis=-1, keepdims=True)
            return np.where(rich, 0.0, left), met.sum_fall / s**2, need

        tolerance = SUM_RTOL * band_hz * self.roughness
        below, _, above, need = newton_root_aux(
            spare, low_s, high_s, start, tolerance=tolerance, over_jumps=True
        )
        over = np.abs(np.sum(need, axis=-1, keepdims=True) - band_hz) > tolerance
        if np.any(over):  # a jump: its cheap side is certain, its dear side is mixed in
            dear, cheap = (self.required_hz(self.kept(s).kept) for s in (below, above))
            need = np.where(over, dear, need)
            least = np.where(over, cheap, least)
        spent = np.sum(need - least, axis=-1, keepdims=True)
        left = band_hz - np.sum(least, axis=-1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(spent > 0, np.clip(left / spent, 0.0, 2.0), 1.0)
        share_hz = np.where(rich, most, least + share * (need - least))
        kept = self.problem.latency.kept_at(share_hz, self.deadline_s)
        return np.clip(kept, self.low, self.high)

    def at_price(self, price_hz: FloatArray) -> Cheapest:
        """Return the least of sum B_k(x_k) + price (what C5 lacks), for any price.

        By weak duality its `need_hz` is no more than the band that the deadline needs.

        Parameters
        ----------
        price_hz : [..., 1]
            Of C5, not negative [Hz].
        """
        s = np.where(price_hz > 0, price_hz, 1.0) ** -0.5
        kept = np.where(price_hz > 0, self.kept(s).kept, self.low)
        return self._priced(kept, self._lacking(kept), price_hz)

    def _priced(
        self, kept: FloatArray, lacking: FloatArray, price: FloatArray
    ) -> Cheapest:
        """Return kept fractions as an answer, what C5 lacks counted at its price."""
        bandwidth_hz = self.required_hz(kept)
        need = np.sum(bandwidth_hz, axis=-1, keepdims=True)
        with np.errstate(invalid="ignore"):
            need = need + price * lacking
        gained = self.hz_per_s(kept, bandwidth_hz)
        return Cheapest(
            need_hz=np.where(self.reachable, need, np.inf),
            slope_hz_per_s=-np.sum(gained, axis=-1, keepdims=True),
            price_hz=price,
            s=np.ones_like(price),
            most_s=np.ones_like(price),
            kept=kept,
            bandwidth_hz=bandwidth_hz,
        )

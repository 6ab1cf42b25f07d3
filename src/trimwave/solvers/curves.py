"""What a price buys: clients' kept fractions where dB_k/dx_k reaches it, at a deadline.

A price in hertz per unit of C5 is given here as s = price^(-1/2): for noise of fixed
power x_k is piecewise linear in it, so that Newton finds the price in a few steps.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from trimwave.base.roots import newton_root
from trimwave.base.tolerances import OFF_PRICE, ROOT_RTOL
from trimwave.base.units import FloatArray
from trimwave.problem.latency import RoundLatency
from trimwave.problem.pieces import Piece

SMALLEST = 1e-150
"""Least s that is searched, and what a share of nothing is taken for, of the band: so
that price and rate are numbers."""


class Curve(Protocol):
    """One piece of every client at one deadline."""

    low: FloatArray
    """[..., K] least x_k on the piece that the deadline leaves."""

    def kept(self, s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """x_k on the piece at s, [..., 1], and how fast it falls; [..., K] each."""

    def ends(self) -> tuple[FloatArray, FloatArray]:
        """S at which x_k is at the piece's end and at its start, [..., K] each.

        Infinite for a client to whom the piece costs nothing.
        """


class Parabola:
    """A piece under noise of fixed power: dB/dx = (v B + q)^2 / C, in closed form.

    With p, q the bits of fixed part and emulator over the spectral efficiencies,
    C = q (T - u) + v p, and dB/dx = price w where x = (T - u - s sqrt(C / w)) / v.
    """

    def __init__(
        self,
        latency: RoundLatency,
        piece: Piece,
        deadline_s: FloatArray,
        low: FloatArray,
        high: FloatArray,
    ) -> None:
        self.low, self.high = low, high
        v, spare_s = piece.compute_per_kept_s, deadline_s - piece.compute_fixed_s
        p = piece.down_fixed_bits / latency.down.efficiency
        p += latency.up_bits / latency.up.efficiency
        c = piece.down_per_kept_bits / latency.down.efficiency
        c *= spare_s
        p *= v
        c += p
        with np.errstate(divide="ignore", invalid="ignore"):
            c /= piece.weight  # 0 where C5 counts nothing
        self.root = np.sqrt(np.maximum(c, 0.0, out=c), out=c)
        self.spare_s, self.v = spare_s, v
        priced = np.min(self.root) > 0 and np.max(self.root) < np.inf
        self.regular = bool(np.min(v) > 0 and priced)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            self.most = spare_s / v
            self.ratio = self.root / v
        if self.regular:
            del self.root, self.spare_s, self.v

    def kept(self, s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Where the price is met, within the piece."""
        with np.errstate(invalid="ignore", over="ignore"):
            raw = self.ratio * s
            np.subtract(self.most, raw, out=raw)
        if not self.regular:
            raw = self._irregular(raw, s)
        kept = np.minimum(raw, self.high)
        np.maximum(kept, self.low, out=kept)
        inside = kept == raw
        if self.regular:
            return kept, np.multiply(inside, self.ratio, out=raw)
        return kept, np.where(inside, self.ratio, 0.0)

    def _irregular(self, raw: FloatArray, s: FloatArray) -> FloatArray:
        """Where time does not depend on x, all or nothing; all where it is free."""
        with np.errstate(invalid="ignore", over="ignore"):
            flat = np.where(self.root * s < self.spare_s, np.inf, -np.inf)
        raw = np.where(self.v > 0, raw, flat)
        return np.where(self.root > 0, raw, np.inf)

    def ends(self) -> tuple[FloatArray, FloatArray]:
        """From the closed form."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.regular:
                return (
                    (self.most - self.high) / self.ratio,
                    (self.most - self.low) / self.ratio,
                )
            at_end, at_start = (
                (self.spare_s - self.v * x) / self.root for x in (self.high, self.low)
            )
        # Neither a piece that is free nor one that C5 does not count has a price.
        priced = (self.root > 0) & np.isfinite(self.root)
        return np.where(priced, at_end, np.inf), np.where(priced, at_start, np.inf)


class Searched:
    """A piece under a noise density: the share at the price is searched for."""

    def __init__(
        self,
        latency: RoundLatency,
        piece: Piece,
        deadline_s: FloatArray,
        low: FloatArray,
        high: FloatArray,
        range_hz: tuple[FloatArray, FloatArray],
    ) -> None:
        self.latency, self.piece = latency, piece
        self.low, self.high = low, high
        self.spare_s = deadline_s - piece.compute_fixed_s
        with np.errstate(divide="ignore", invalid="ignore"):
            self.range = tuple(np.log(np.where(one > 0, one, 1.0)) for one in range_hz)
        self.point = self.range[1]
        # Outside a piece that is empty the formulas may have no meaning.
        self.empty = ~(self.high > self.low)
        prices = (self._at(one)[1] for one in self.range)
        self.end_prices = tuple(np.where(self.empty, np.inf, one) for one in prices)

    def _at(self, log_hz: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """x, log of dB/dx, and the slope of that in log B."""
        latency, piece, bandwidth = self.latency, self.piece, np.exp(log_hz)
        rate, up_rate = latency.down.rate_bps(bandwidth), latency.up.rate_bps(bandwidth)
        slope, up_slope = (
            link.rate_slope(bandwidth) for link in (latency.down, latency.up)
        )
        saved, up_saved = slope / rate**2, up_slope / up_rate**2  # -d(1/R)/dB
        per_kept = piece.compute_per_kept_s + piece.down_per_kept_bits / rate
        spare = self.spare_s - piece.down_fixed_bits / rate - latency.up_bits / up_rate
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            raw = spare / per_kept
        kept = np.fmax(np.fmin(raw, self.high), self.low)
        bits = piece.down_fixed_bits + piece.down_per_kept_bits * kept
        gain = bits * saved + latency.up_bits * up_saved
        bend = latency.down.rate_curvature(bandwidth) / rate**2 - 2 * slope**2 / rate**3
        up_bend = latency.up.rate_curvature(bandwidth) / up_rate**2
        up_bend -= 2 * up_slope**2 / up_rate**3
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            moved = np.where(kept == raw, gain / per_kept, 0.0)  # dx/dB
            gain_slope = piece.down_per_kept_bits * moved * saved
            gain_slope += bits * bend + latency.up_bits * up_bend
            relative = -piece.down_per_kept_bits * saved / per_kept - gain_slope / gain
            price = np.log(per_kept / gain)
        return kept, np.where(self.empty, np.inf, price), bandwidth * relative

    def kept(self, s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Newton on log B, where log dB/dx is nearly linear."""
        with np.errstate(divide="ignore"):
            wanted = np.log(self.piece.weight) - 2 * np.log(s)
        kept = relative = over = np.zeros(())

        def excess(log_hz: FloatArray) -> tuple[FloatArray, FloatArray]:
            nonlocal kept, relative, over
            kept, log_price, relative = self._at(log_hz)
            over = log_price - wanted
            return over, relative

        (low, high), (cheap, dear) = self.range, self.end_prices
        bracket = (
            np.where(wanted >= dear, high, low),
            np.where(wanted <= cheap, low, high),
        )
        start = np.clip(self.point, *bracket)
        rounding = ROOT_RTOL * (1 + np.abs(wanted))
        _, self.point, _ = newton_root(excess, *bracket, start, tolerance=rounding)
        # dx = dB / (dB/dx), and d log(price) = -2 ds / s along the way.
        inside = (wanted > cheap) & (wanted < dear) & (relative > 0)
        inside &= (kept > self.low) & (kept < self.high)
        inside &= np.abs(over) < OFF_PRICE
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            fall = np.exp(self.point - wanted) / relative * 2 / s
        # x from a share is rough where time hardly depends on x; the ends are known.
        kept = np.where(wanted >= dear, self.high, kept)
        kept = np.where(wanted <= cheap, self.low, kept)
        return kept, np.where(inside, fall, 0.0)

    def ends(self) -> tuple[FloatArray, FloatArray]:
        """No farther in than where the piece really ends."""
        root = np.sqrt(self.piece.weight)
        with np.errstate(over="ignore"):
            at_start, at_end = (root * np.exp(-one / 2) for one in self.end_prices)
        return np.where(self.empty, np.inf, at_end), at_start


def price_range(
    curves: Sequence[Curve],
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """S below which all keep the most, one between, and from where the least."""
    lowest, middle, highest = None, None, None
    for curve in curves:
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
    lowest = np.where(some, np.maximum(lowest, SMALLEST), 1.0) * (1 - 1e-9)
    highest = np.maximum(np.where(some, highest, 1.0), lowest) * (1 + 1e-9)
    return lowest, np.clip(middle, lowest, highest), highest

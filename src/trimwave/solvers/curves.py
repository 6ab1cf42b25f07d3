"""What a price buys: clients' kept fractions where dB_k/dx_k reaches it, at a deadline.

A price in hertz per unit of C5 is given here as s = price^(-1/2): for noise of fixed
power x_k is piecewise linear in it, so that Newton finds the price in a few steps.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from trimwave.base.roots import newton_root_aux
from trimwave.base.tolerances import OFF_PRICE, ROOT_RTOL
from trimwave.base.units import FloatArray
from trimwave.cell.link import Link
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
        self.root = _root_of_c(latency, piece, spare_s)
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


def _root_of_c(latency: RoundLatency, piece: Piece, spare_s: FloatArray) -> FloatArray:
    """sqrt(C / w) of `Parabola`, [..., K]; in place, for the sake of many clients."""
    fixed = piece.down_fixed_bits / latency.down.efficiency
    fixed += latency.up_bits / latency.up.efficiency
    fixed *= piece.compute_per_kept_s
    c = piece.down_per_kept_bits / latency.down.efficiency
    c *= spare_s
    c += fixed
    with np.errstate(divide="ignore", invalid="ignore"):
        c /= piece.weight  # 0 where C5 counts nothing
    return np.sqrt(np.maximum(c, 0.0, out=c), out=c)


class _Airtime(NamedTuple):
    """What a bit on one link costs at a share of the band, and how that moves."""

    rate_bps: FloatArray
    """R."""
    saved: FloatArray
    """-d(1/R)/dB: seconds that one more hertz saves a bit."""
    bend: FloatArray
    """d(saved)/dB."""


def _airtime(link: Link, bandwidth_hz: FloatArray) -> _Airtime:
    rate, slope = link.rate_bps(bandwidth_hz), link.rate_slope(bandwidth_hz)
    bend = link.rate_curvature(bandwidth_hz) / rate**2 - 2 * slope**2 / rate**3
    return _Airtime(rate, slope / rate**2, bend)


class _AtShare(NamedTuple):
    """A piece at a share of the band, at its deadline; [..., K] each."""

    kept: FloatArray
    """x_k that the share lets a client keep."""
    log_price: FloatArray
    """log of dB/dx."""
    relative: FloatArray
    """Slope of that in log B."""


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
        prices = (self._at(one).log_price for one in self.range)
        self.end_prices = tuple(np.where(self.empty, np.inf, one) for one in prices)

    def _at(self, log_hz: FloatArray) -> _AtShare:
        """Return what a share, given by its logarithm, lets clients keep, and dB/dx.

        With R_dn, R_up the rates and d + e x, g the bits down and up, one more unit of
        x takes v + e / R_dn longer, and one more hertz saves
        (d + e x) R_dn' / R_dn^2 + g R_up' / R_up^2 of the time; dB/dx is the quotient.
        """
        latency, piece, bandwidth = self.latency, self.piece, np.exp(log_hz)
        down, up = (_airtime(link, bandwidth) for link in (latency.down, latency.up))
        e_bits, up_bits = piece.down_per_kept_bits, latency.up_bits
        per_kept_s = piece.compute_per_kept_s + e_bits / down.rate_bps
        spare_s = self.spare_s - piece.down_fixed_bits / down.rate_bps
        spare_s = spare_s - up_bits / up.rate_bps
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            raw = spare_s / per_kept_s
        kept = np.fmax(np.fmin(raw, self.high), self.low)
        bits = piece.down_fixed_bits + e_bits * kept
        gain = bits * down.saved + up_bits * up.saved  # -dT/dB
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            moved = np.where(kept == raw, gain / per_kept_s, 0.0)  # dx/dB
            gain_slope = e_bits * moved * down.saved
            gain_slope += bits * down.bend + up_bits * up.bend
            relative = -e_bits * down.saved / per_kept_s - gain_slope / gain
            log_price = np.log(per_kept_s / gain)
        log_price = np.where(self.empty, np.inf, log_price)
        return _AtShare(kept, log_price, bandwidth * relative)

    def kept(self, s: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Newton on log B, where log dB/dx is nearly linear."""
        with np.errstate(divide="ignore"):
            wanted = np.log(self.piece.weight) - 2 * np.log(s)

        def excess(log_hz: FloatArray) -> tuple[FloatArray, FloatArray, _AtShare]:
            found = self._at(log_hz)
            return found.log_price - wanted, found.relative, found

        (low, high), (cheap, dear) = self.range, self.end_prices
        bracket = (
            np.where(wanted >= dear, high, low),
            np.where(wanted <= cheap, low, high),
        )
        start = np.clip(self.point, *bracket)
        rounding = ROOT_RTOL * (1 + np.abs(wanted))
        _, self.point, _, found = newton_root_aux(
            excess, *bracket, start, tolerance=rounding
        )
        # dx = dB / (dB/dx), and d log(price) = -2 ds / s along the way.
        inside = (wanted > cheap) & (wanted < dear) & (found.relative > 0)
        inside &= (found.kept > self.low) & (found.kept < self.high)
        inside &= np.abs(found.log_price - wanted) < OFF_PRICE
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            fall = np.exp(self.point - wanted) / found.relative * 2 / s
        # x from a share is rough where time hardly depends on x; the ends are known.
        kept = np.where(wanted >= dear, self.high, found.kept)
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

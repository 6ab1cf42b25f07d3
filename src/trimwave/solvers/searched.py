"""What a price buys under a noise density: the share at that price is searched for.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients. A piece is a stretch of x_k on which
eq. (9) is linear.
"""

from typing import NamedTuple

import numpy as np

from trimwave.base.roots import newton_root_aux
from trimwave.base.tolerances import OFF_PRICE, ROOT_RTOL
from trimwave.base.units import FloatArray
from trimwave.cell.link import Link
from trimwave.problem.latency import RoundLatency
from trimwave.problem.pieces import Piece


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
    """A piece under a noise density: the share at the price is searched for.

    Parameters
    ----------
    latency : RoundLatency
        Of K clients.
    piece : Piece
        The stretch of x_k.
    deadline_s : [..., 1]
        The deadlines.
    low, high : [..., K]
        Ends of the stretch within what the deadline leaves.
    range_hz : two of [..., K]
        Shares that are needed to keep `low` and `high`.
    """

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
        e_bits, up_bits = piece.down_per_kept_bits, latency.shared_up_bits
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
        """Return what a price buys, by a search for the share at which it is paid.

        Newton's on log B, in which log dB/dx is nearly linear, from where the last
        search ended.
        """
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
        """Return between which s clients move: from the prices at the piece's two ends.

        A client never leaves an end at an s at which the search would not move it: both
        use the same prices.
        """
        root = np.sqrt(self.piece.weight)
        with np.errstate(over="ignore"):
            at_start, at_end = (root * np.exp(-one / 2) for one in self.end_prices)
        return np.where(self.empty, np.inf, at_end), at_start

"""A client's round time and its inverses, eqs. (6), (8), (9).

In the kept fraction x_k = 1 - beta_k and the share B_k of the band::

    T_k(x, B) = u_k + v_k h_k(x) + (d_k + e_k [x - y_k]+) / R_dn,k(B) + g_k / R_up,k(B)

with h(x) = x and y = 0 in the letter; y_k is what the client holds already. Between the
bends of h and of the payload it is linear in x: a client is a few pieces. A transfer
over a link whose rate is given takes time as computing does, and no band. The solvers
ask how much band a deadline needs, how much of the emulator a share of the band lets a
client keep, and the exchange rate dB/dx between the two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trimwave.base.curve import PiecewiseLinear
from trimwave.base.roots import newton_root
from trimwave.base.tolerances import ROOT_RTOL, TIME_ROUNDING
from trimwave.base.units import FloatArray
from trimwave.problem.pieces import Piece
from trimwave.problem.transfers import Transfers, over_given

SMALLEST_SHARE = 1e-12
"""Shares below this part of the band are not searched under ``noise="psd"``."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundLatency(Transfers):
    """The coefficients of eq. (9) for K clients, all [..., K]; leading axes are draws.

    A deadline is one number, or [..., 1] with one for each draw.
    """

    compute_fixed_s: FloatArray
    """u_k = M a / f_k [s]."""
    compute_emulator_s: FloatArray
    """v_k = M e_0 / f_k [s]: of the whole emulator."""
    emulator_time: PiecewiseLinear | None = None
    """h: the emulator's time by the kept fraction, relative to the whole one's; None
    = the kept fraction itself, as in eq. (5)."""
    compute_least_s: FloatArray | None = None
    """[..., K] what local fine-tuning counts as at the least [s]: a client that is done
    sooner waits. None = 0."""

    def compute_s(self, kept: FloatArray) -> FloatArray:
        """Local fine-tuning time, eq. (6), [..., K] [s]."""
        share = kept if self.emulator_time is None else self.emulator_time(kept)
        compute_s = self.compute_fixed_s + self.compute_emulator_s * share
        if self.compute_least_s is None:
            return compute_s
        return np.maximum(compute_s, self.compute_least_s)

    @cached_property
    def _waits_below(self) -> FloatArray:
        """[..., K] x_k below which a client waits; finite."""
        assert self.compute_least_s is not None
        waits_s = self.compute_least_s - self.compute_fixed_s
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            kept = waits_s / self.compute_emulator_s
        if self.emulator_time is not None:
            kept = self.emulator_time.inverse(kept)
        return np.nan_to_num(kept, nan=0.0, posinf=2.0, neginf=-1.0)

    def unshared_s(self, kept: FloatArray) -> FloatArray:
        """Time that no share of the band shortens: computing, given rates [s]."""
        return self.compute_s(kept) + self.given_s(kept)

    def total_s(self, kept: FloatArray, bandwidth_hz: FloatArray) -> FloatArray:
        """Round time T_k, eq. (9), [..., K] [s]."""
        transfer = self.down_s(kept, bandwidth_hz) + self.up_s(bandwidth_hz)
        return self.compute_s(kept) + transfer

    @cached_property
    def everywhere(self) -> tuple[Piece, ...]:
        """The pieces over all x, outside [0, 1] too."""
        return self.pieces(np.array(-np.inf), np.array(np.inf))

    def pieces(
        self, low: FloatArray, high: FloatArray, bends: Sequence[FloatArray] = ()
    ) -> tuple[Piece, ...]:
        """Cut [low, high] where eq. (9) bends in x, and at further places.

        Parameters
        ----------
        low, high : [..., K]
            Ends.
        bends : sequence of [..., K]
            Where else to cut.
        """
        cuts = list(bends)
        if self.emulator_time is not None:
            cuts += [np.array(point) for point in self.emulator_time.points[1:-1]]
        if self.held is not None:
            cuts.append(self.held)
        if self.compute_least_s is not None:
            cuts.append(self._waits_below)
        if not cuts:
            return (self._piece(low, high),)
        inner = np.sort(np.stack(np.broadcast_arrays(*cuts)), axis=0)
        ends = [low, *(np.clip(one, low, high) for one in inner), high]
        return tuple(
            self._piece(*pair) for pair in zip(ends[:-1], ends[1:], strict=True)
        )

    def _piece(self, start: FloatArray, end: FloatArray) -> Piece:
        inside = np.clip((np.maximum(start, -9) + np.minimum(end, 9)) / 2, start, end)
        u, v = self.compute_fixed_s, self.compute_emulator_s
        d, e = self.down_fixed_bits, self.down_emulator_bits
        if self.emulator_time is not None:
            slope = self.emulator_time.slope(inside)
            u = u + v * (self.emulator_time(inside) - slope * inside)
            v = v * slope
        if self.compute_least_s is not None:
            waits = inside < self._waits_below
            u, v = np.where(waits, self.compute_least_s, u), np.where(waits, 0.0, v)
        if self.held is not None:
            sent = inside >= self.held
            d = d - np.where(sent, e * self.held, 0.0)
            e = np.where(sent, e, 0.0)
        u = u + over_given(d, self.down) + self.given_up_s
        if (given := self.down.is_given) is not None:
            v = v + over_given(e, self.down)
            d, e = np.where(given, 0.0, d), np.where(given, 0.0, e)
        return Piece(
            start=start,
            end=end,
            compute_fixed_s=u,
            compute_per_kept_s=v,
            down_fixed_bits=d,
            down_per_kept_bits=e,
        )

    def required_bandwidth_hz(
        self,
        kept: FloatArray,
        deadline_s: float | FloatArray,
        *,
        start_hz: FloatArray | None = None,
        most_hz: float | FloatArray | None = None,
    ) -> FloatArray:
        """Smallest B_k with T_k(x_k, B_k) <= deadline, [..., K] [Hz]; inf if none.

        Parameters
        ----------
        kept : [..., K]
            x_k.
        deadline_s : float or [..., 1]
            When everyone must have ended [s].
        start_hz : [..., K], optional
            Where to begin the search under ``psd`` noise, for speed.
        most_hz : float or [..., K], optional
            Under ``psd`` noise, where the rate saturates, a larger band is reported as
            inf rather than searched for; the whole band if left out.
        """
        slack = deadline_s - self.unshared_s(kept)
        bits = self.shared_down_bits(kept)
        if self.down.noise == "fixed":
            need = bits / self.down.efficiency
            need += self.shared_up_bits / self.up.efficiency
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                need /= slack
            need = need if np.min(slack) > 0 else np.where(slack > 0, need, np.inf)
        else:
            most_hz = self.down.total_bandwidth_hz if most_hz is None else most_hz
            need = self._searched_bandwidth_hz(slack, bits, start_hz, most_hz)
        if self.down.is_given is None:
            return need
        in_time = slack >= -TIME_ROUNDING * deadline_s
        nothing = np.where(in_time, 0.0, np.inf)
        return np.where((bits == 0) & (self.shared_up_bits == 0), nothing, need)

    def _searched_bandwidth_hz(
        self,
        slack: FloatArray,
        bits: FloatArray,
        start_hz: FloatArray | None,
        most_hz: float | FloatArray,
    ) -> FloatArray:
        """Invert the concave rate: Newton on log B, where log time is nearly linear."""
        band, up_bits = self.down.total_bandwidth_hz, self.shared_up_bits
        shape = np.broadcast_shapes(slack.shape, bits.shape)
        if self.down.is_given is not None:  # who sends nothing is seen to afterwards
            nothing = (bits == 0) & (up_bits == 0)
            bits, most_hz = (
                np.where(nothing, 1.0, bits),
                np.where(nothing, band, most_hz),
            )
            if start_hz is not None:
                start_hz = np.where(nothing, band, start_hz)

        def surplus(log_share: FloatArray) -> tuple[FloatArray, FloatArray]:
            bandwidth = band * np.exp(log_share)
            down, up = self.down.rate_bps(bandwidth), self.up.rate_bps(bandwidth)
            time = bits / down + up_bits / up
            saved = bits * self.down.rate_slope(bandwidth) / down**2
            saved = saved + up_bits * self.up.rate_slope(bandwidth) / up**2
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.log(slack / time), bandwidth * saved / time

        with np.errstate(divide="ignore", invalid="ignore"):
            most = np.broadcast_to(most_hz, shape)
            time = bits / self.down.rate_bps(most) + self.shared_up_s(most)
            reachable = (slack > 0) & (time <= slack * (1 + TIME_ROUNDING))
            first = np.log(most / band)
            high = np.where(reachable, first, 0.0)
            if start_hz is not None:
                first = np.log(start_hz / band)
        low = np.where(reachable, np.log(SMALLEST_SHARE), 0.0)
        start = np.clip(first, low, high)
        _, found, _ = newton_root(surplus, low, high, start, tolerance=ROOT_RTOL)
        return np.where(reachable, band * np.exp(found), np.inf)

    def kept_at(
        self, bandwidth_hz: FloatArray, deadline_s: float | FloatArray
    ) -> FloatArray:
        """Largest x_k with T_k(x_k, B_k) <= deadline, [..., K]; negative if none.

        A client whose time does not depend on x keeps everything (inf) or nothing.
        Valid when the time never falls with x.
        """
        down_rate = self.down.rate_bps(bandwidth_hz)
        slack = deadline_s - self.shared_up_s(bandwidth_hz)
        first, *others = self.everywhere
        kept = first.kept(slack, down_rate)
        for piece in others:
            kept = kept + (piece.kept(slack, down_rate) - piece.start)
        return kept

    def price_hz(
        self, bandwidth_hz: FloatArray, deadline_s: float | FloatArray
    ) -> FloatArray:
        """dB_k/dx_k along T_k = deadline: band for one more unit kept, [..., K] [Hz].

        Valid when the share meets the deadline. Where it increases with B_k, P1 is
        quasi-convex: always for ``fixed`` noise, and for ``psd`` when R_up/R_dn does
        not depend on B_k.
        """
        kept = self.kept_at(bandwidth_hz, deadline_s)
        kept = np.where(np.isfinite(kept), kept, 0.0)  # inf: the time is free of x
        per_kept_s = self.per_kept_s(kept, bandwidth_hz)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return per_kept_s / self.saved_per_hz(kept, bandwidth_hz)

    def per_kept_s(self, kept: FloatArray, bandwidth_hz: FloatArray) -> FloatArray:
        """dT_k/dx_k, right of a bend, [..., K] [s]."""
        compute_s, bits = self.per_kept(kept)
        return compute_s + bits / self.down.rate_bps(bandwidth_hz)

    def per_kept(self, kept: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return what one more unit of x_k adds, right of a bend, [..., K].

        Returns
        -------
        compute_s, down_bits : [..., K]
            Of local fine-tuning [s], and of the download [bit].
        """
        compute_s, bits = self.compute_emulator_s, self.down_emulator_bits
        if self.emulator_time is not None:
            compute_s = compute_s * self.emulator_time.slope(kept)
        if self.compute_least_s is not None:
            compute_s = np.where(kept < self._waits_below, 0.0, compute_s)
        if self.held is not None:
            bits = np.where(kept >= self.held, bits, 0.0)
        return compute_s, bits

    def hz_per_s(
        self,
        kept: FloatArray,
        bandwidth_hz: FloatArray,
        deadline_s: float | FloatArray,
    ) -> FloatArray:
        """-dB_k/dT along T_k = deadline: band that a second saves, [..., K] [Hz/s].

        0 where the share cannot meet the deadline or nothing is sent.
        """
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            if self.down.noise == "fixed":
                saved = bandwidth_hz / (deadline_s - self.unshared_s(kept))
            else:
                saved = 1 / self.saved_per_hz(kept, bandwidth_hz)
            if np.isfinite(np.sum(saved)):
                return saved
        return np.where(np.isfinite(saved), saved, 0.0)

    def saved_per_hz(self, kept: FloatArray, bandwidth_hz: FloatArray) -> FloatArray:
        """-dT_k/dB_k: round time that one more hertz saves, [..., K] [s/Hz]."""
        down, up = self.down.rate_bps(bandwidth_hz), self.up.rate_bps(bandwidth_hz)
        saved = self.down_bits(kept) * self.down.rate_slope(bandwidth_hz) / down**2
        return saved + self.up_bits * self.up.rate_slope(bandwidth_hz) / up**2

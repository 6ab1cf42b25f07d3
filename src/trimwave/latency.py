"""A client's round time and its inverses, eqs. (6), (8), (9).

In the kept fraction x_k = 1 - beta_k and the share B_k of the band::

    T_k(x, B) = u_k + v_k x + (d_k + e_k x) / R_dn,k(B) + g_k / R_up,k(B)

The solvers ask four questions of it: how much band a deadline needs, how much of the
emulator a share of the band lets a client keep, and the exchange rate dB/dx between
the two, both ways.
"""

from dataclasses import dataclass

import numpy as np

from trimwave.channel import Link
from trimwave.roots import bracket_root
from trimwave.units import FloatArray

SMALLEST_SHARE = 1e-12
"""Shares below this part of the band are not searched under ``noise="psd"``."""


@dataclass(frozen=True, kw_only=True)
class RoundLatency:
    """The coefficients of eq. (9) for K clients, all [K]."""

    compute_fixed_s: FloatArray
    """u_k = M a / f_k [s]."""
    compute_emulator_s: FloatArray
    """v_k = M e_0 / f_k [s]."""
    down_fixed_bits: FloatArray
    """|w^A| and container header [bit]."""
    down_emulator_bits: FloatArray
    """|w^E| [bit]."""
    up_bits: FloatArray
    """|Delta w^A| and container header [bit]."""
    down: Link
    up: Link

    def compute_s(self, kept: FloatArray) -> FloatArray:
        """Local fine-tuning time, eq. (6), [K] [s]."""
        return self.compute_fixed_s + self.compute_emulator_s * kept

    def down_s(self, kept: FloatArray, bandwidth_hz: FloatArray) -> FloatArray:
        """Download time, first term of eq. (8), [K] [s]."""
        bits = self.down_fixed_bits + self.down_emulator_bits * kept
        return bits / self.down.rate_bps(bandwidth_hz)

    def up_s(self, bandwidth_hz: FloatArray) -> FloatArray:
        """Upload time, second term of eq. (8), [K] [s]."""
        return self.up_bits / self.up.rate_bps(bandwidth_hz)

    def total_s(self, kept: FloatArray, bandwidth_hz: FloatArray) -> FloatArray:
        """Round time T_k, eq. (9), [K] [s]."""
        transfer = self.down_s(kept, bandwidth_hz) + self.up_s(bandwidth_hz)
        return self.compute_s(kept) + transfer

    def required_bandwidth_hz(self, kept: FloatArray, deadline_s: float) -> FloatArray:
        """Smallest B_k with T_k(x_k, B_k) <= deadline, [K] [Hz]; inf if there is none.

        Notes
        -----
        Under ``psd`` noise the rate saturates, so more than the whole band is reported
        as inf rather than searched for.
        """
        slack = deadline_s - self.compute_s(kept)
        if self.down.noise == "fixed":
            unit_hz = np.ones_like(slack)
            bits_per_hz_s = self.down_s(kept, unit_hz) + self.up_s(unit_hz)
            with np.errstate(divide="ignore"):
                return np.where(slack > 0, bits_per_hz_s / slack, np.inf)
        band = self.down.total_bandwidth_hz

        def surplus(log_share: FloatArray) -> FloatArray:
            bandwidth = band * np.exp(log_share)
            return slack - self.down_s(kept, bandwidth) - self.up_s(bandwidth)

        start = np.full_like(slack, np.log(SMALLEST_SHARE))
        _, high = bracket_root(surplus, start, np.zeros_like(slack))
        return np.where(surplus(high) >= 0, band * np.exp(high), np.inf)

    def kept_at(self, bandwidth_hz: FloatArray, deadline_s: float) -> FloatArray:
        """Largest x_k with T_k(x_k, B_k) <= deadline, [K]; negative if there is none.

        A client whose time does not depend on x keeps everything (inf) or nothing.
        """
        down_rate = self.down.rate_bps(bandwidth_hz)
        slack = deadline_s - self.compute_fixed_s - self.up_s(bandwidth_hz)
        slack = slack - self.down_fixed_bits / down_rate
        per_kept = self.compute_emulator_s + self.down_emulator_bits / down_rate
        with np.errstate(divide="ignore", invalid="ignore"):
            kept = slack / per_kept
        return np.where(per_kept > 0, kept, np.where(slack >= 0, np.inf, -np.inf))

    def price_hz(self, bandwidth_hz: FloatArray, deadline_s: float) -> FloatArray:
        """dB_k/dx_k along T_k = deadline: band for one more unit of kept, [K] [Hz].

        Valid when the share meets the deadline. Where it increases with B_k, P1 is
        quasi-convex: always for ``fixed`` noise, and for ``psd`` when R_up/R_dn does
        not depend on B_k.
        """
        kept = self.kept_at(bandwidth_hz, deadline_s)
        kept = np.where(np.isfinite(kept), kept, 0.0)  # inf: the time is free of x
        down_rate = self.down.rate_bps(bandwidth_hz)
        up_rate = self.up.rate_bps(bandwidth_hz)
        per_kept = self.compute_emulator_s + self.down_emulator_bits / down_rate
        down_bits = self.down_fixed_bits + self.down_emulator_bits * kept
        gain = down_bits * self.down.rate_slope(bandwidth_hz) / down_rate**2
        gain = gain + self.up_bits * self.up.rate_slope(bandwidth_hz) / up_rate**2
        return per_kept / gain

    def bandwidth_at_price_hz(
        self, price_hz: float, deadline_s: float, lower: FloatArray, upper: FloatArray
    ) -> FloatArray:
        """B_k in [lower, upper] where dB_k/dx_k reaches the price, [K] [Hz].

        Closed form for ``fixed`` noise: with p, q the bits of fixed part and emulator
        over the spectral efficiencies and C = q (T - u) + v p, dB/dx = (v B + q)^2 / C.
        """
        if self.down.noise == "fixed":
            unit_hz = np.ones_like(lower)
            q = self.down_emulator_bits / self.down.rate_bps(unit_hz)
            p = self.down_s(np.zeros_like(lower), unit_hz) + self.up_s(unit_hz)
            v = self.compute_emulator_s
            c = q * (deadline_s - self.compute_fixed_s) + v * p
            root = np.sqrt(price_hz * np.maximum(c, 0.0)) - q
            with np.errstate(divide="ignore", invalid="ignore"):
                bandwidth = np.where(v > 0, root / v, np.copysign(np.inf, root))
            return np.clip(bandwidth, lower, upper)
        _, high = bracket_root(
            lambda bandwidth: self.price_hz(bandwidth, deadline_s) - price_hz,
            lower,
            upper,
        )
        return high

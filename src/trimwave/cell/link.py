"""One direction of every link: SNR to rate, eq. (7)."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trimwave.base.units import FloatArray

Noise = Literal["fixed", "psd"]
NOISE_MODES: tuple[Noise, ...] = get_args(Noise)
Direction = Literal["down", "up"]
DIRECTIONS: tuple[Direction, ...] = ("down", "up")
LN2 = float(np.log(2))


@dataclass(frozen=True, kw_only=True, eq=False)
class Link:
    """One direction of every client's link.

    With ``noise="fixed"`` the noise is a power that does not grow with the client's
    share of the band, as eq. (7) is printed: the rate is linear in B_k. With
    ``noise="psd"`` it is a density, N0 times B_k: the rate is concave in B_k and
    bounded by the received power.
    """

    snr: FloatArray
    """[..., K] Linear SNR with the noise of the whole band."""
    total_bandwidth_hz: float
    """The band B that the SNR refers to [Hz]."""
    noise: Noise = "fixed"
    """Whether the noise is a power or a density."""
    max_spectral_efficiency: float = np.inf
    """Cap of a real modem [bit/s/Hz]."""
    given_bps: FloatArray | None = None
    """[..., K] rates that no share of the band changes; nan = the band's; None = all
    are [bit/s]."""

    @cached_property
    def is_given(self) -> NDArray[np.bool_] | None:
        """[..., K] whose rate is given; None if nobody's is."""
        if self.given_bps is None or np.all(np.isnan(self.given_bps)):
            return None
        return ~np.isnan(self.given_bps)

    @cached_property
    def efficiency(self) -> FloatArray:
        """Bits per second and hertz with the noise of the whole band, [..., K]."""
        return np.minimum(np.log1p(self.snr) / LN2, self.max_spectral_efficiency)

    def spectral_efficiency(self, bandwidth_hz: FloatArray) -> FloatArray:
        """Bits per second and hertz at a share of the band, [..., K]."""
        if self.noise == "fixed":
            return self.efficiency
        snr = self.snr * (self.total_bandwidth_hz / bandwidth_hz)
        return np.minimum(np.log1p(snr) / LN2, self.max_spectral_efficiency)

    def rate_bps(self, bandwidth_hz: FloatArray) -> FloatArray:
        """Rate R_k at a share of the band, eq. (7), or as given, [..., K] [bit/s]."""
        if self.is_given is None or self.given_bps is None:
            return bandwidth_hz * self.spectral_efficiency(bandwidth_hz)
        bandwidth_hz = self._safe(bandwidth_hz)
        rate_bps = bandwidth_hz * self.spectral_efficiency(bandwidth_hz)
        return np.where(self.is_given, self.given_bps, rate_bps)

    def rate_slope(self, bandwidth_hz: FloatArray) -> FloatArray:
        """dR_k / dB_k, [..., K] [bit/s/Hz]; 0 where the rate is given."""
        bandwidth_hz = self._safe(bandwidth_hz)
        efficiency = self.spectral_efficiency(bandwidth_hz)
        if self.noise == "fixed":
            return self._zero_if_given(efficiency)
        snr = self.snr * (self.total_bandwidth_hz / bandwidth_hz)
        capped = efficiency >= self.max_spectral_efficiency
        slope = efficiency - np.where(capped, 0.0, snr / (1 + snr) / LN2)
        return self._zero_if_given(slope)

    def rate_curvature(self, bandwidth_hz: FloatArray) -> FloatArray:
        """d2R_k / dB_k2, [..., K] [bit/s/Hz^2]; never positive."""
        if self.noise == "fixed":
            return np.zeros_like(self.snr)
        bandwidth_hz = self._safe(bandwidth_hz)
        snr = self.snr * (self.total_bandwidth_hz / bandwidth_hz)
        bent = -((snr / (1 + snr)) ** 2) / (bandwidth_hz * LN2)
        capped = np.log1p(snr) / LN2 >= self.max_spectral_efficiency
        return self._zero_if_given(np.where(capped, 0.0, bent))

    def _safe(self, bandwidth_hz: FloatArray) -> FloatArray:
        """Return shares with which a given rate, which may have none, is no 0 / 0."""
        if self.is_given is None:
            return bandwidth_hz
        return np.where(self.is_given, self.total_bandwidth_hz, bandwidth_hz)

    def _zero_if_given(self, values: FloatArray) -> FloatArray:
        return values if self.is_given is None else np.where(self.is_given, 0.0, values)

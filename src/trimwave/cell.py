"""The cell: what the base station can see of its clients this round."""

from dataclasses import dataclass

import numpy as np

from trimwave.channel import NOISE_MODES, Link, Noise
from trimwave.errors import InputError
from trimwave.units import FloatArray


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What the base station can see this round: arrays over K clients."""

    speed_flops_per_s: FloatArray
    """[K] f_k [FLOP/s]."""
    memory_bytes: FloatArray
    """[K] memory limit of C3 [byte]."""
    snr_down: FloatArray
    """[K] p_s H_k / N0, linear, N0 over the whole band."""
    snr_up: FloatArray
    """[K] p_k H_k / N0, linear, N0 over the whole band."""
    num_samples: FloatArray
    """[K] |D_k|."""
    total_bandwidth_hz: float
    """B [Hz]."""
    noise: Noise = "fixed"
    """``fixed``: N0 is a power, as in eq. (7); ``psd``: a density, N0 times B_k."""
    max_spectral_efficiency: float = np.inf
    """Cap of a real modem [bit/s/Hz]."""

    def __post_init__(self) -> None:
        arrays = (
            "speed_flops_per_s",
            "memory_bytes",
            "snr_down",
            "snr_up",
            "num_samples",
        )
        for name in arrays:
            values = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, values)
            if values.ndim != 1 or not values.size:
                raise InputError(
                    f"`{name}` must have one value per client and at least one client, "
                    f"got shape {values.shape}."
                )
            if values.size != self.num_clients:
                raise InputError(
                    f"`{name}` has {values.size} clients, `speed_flops_per_s` has "
                    f"{self.num_clients}."
                )
            bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
            if bad.size:
                raise InputError(
                    f"`{name}` must be positive and finite, got {values[bad[0]]} for "
                    f"client {bad[0]}; take the client out of the cell or correct it."
                )
        for name in ("total_bandwidth_hz", "max_spectral_efficiency"):
            value = getattr(self, name)
            finite = np.isfinite(value) or name == "max_spectral_efficiency"
            if not (finite and value > 0):
                raise InputError(f"`{name}` must be positive, got {value}.")
        if self.noise not in NOISE_MODES:
            raise InputError(
                f"`noise` must be one of {NOISE_MODES}, got {self.noise!r}."
            )

    @property
    def num_clients(self) -> int:
        """K."""
        return int(np.size(self.speed_flops_per_s))

    def link(self, snr: FloatArray) -> Link:
        """Return a direction of the cell's links."""
        return Link(
            snr=snr,
            total_bandwidth_hz=self.total_bandwidth_hz,
            noise=self.noise,
            max_spectral_efficiency=self.max_spectral_efficiency,
        )

"""The cell: what the base station can see of its clients this round."""

from dataclasses import dataclass, replace

import numpy as np

from trimwave.channel import NOISE_MODES, Link, Noise
from trimwave.errors import InputError
from trimwave.units import FloatArray, IntArray

ARRAYS = ("speed_flops_per_s", "memory_bytes", "snr_down", "snr_up", "num_samples")
"""Fields with one value per client."""


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
    server_speed_flops_per_s: float | None = None
    """The server's speed, shared by the clients it serves [FLOP/s]; None = not known,
    which only methods that compute there mind."""

    def __post_init__(self) -> None:
        for name in ARRAYS:
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
        speed = self.server_speed_flops_per_s
        if speed is not None and not (np.isfinite(speed) and speed > 0):
            raise InputError(
                f"`server_speed_flops_per_s` must be positive and finite, got {speed}."
            )
        if self.noise not in NOISE_MODES:
            raise InputError(
                f"`noise` must be one of {NOISE_MODES}, got {self.noise!r}."
            )

    @property
    def num_clients(self) -> int:
        """K."""
        return int(np.size(self.speed_flops_per_s))

    def take(self, clients: IntArray) -> "Cell":
        """Return the cell with some of its clients, who have the whole band."""
        return replace(self, **{name: getattr(self, name)[clients] for name in ARRAYS})

    def link(self, snr: FloatArray) -> Link:
        """Return a direction of the cell's links."""
        return Link(
            snr=snr,
            total_bandwidth_hz=self.total_bandwidth_hz,
            noise=self.noise,
            max_spectral_efficiency=self.max_spectral_efficiency,
        )

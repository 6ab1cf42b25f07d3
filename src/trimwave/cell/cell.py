"""The cell: what the base station can see of its clients this round."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trimwave.base.curve import PiecewiseLinear
from trimwave.base.errors import InputError
from trimwave.base.units import FloatArray, IntArray
from trimwave.cell.link import NOISE_MODES, Direction, Link, Noise

ARRAYS = ("speed_flops_per_s", "memory_bytes", "snr_down", "snr_up", "num_samples")
"""Fields with one value per client."""

MAY_BE_UNKNOWN = "server_speed_flops_per_s", "resource_block_hz", "up_bandwidth_hz"
"""Numbers of the whole cell that may be left out."""

OPTIONAL = (
    *("held", "bandwidth_min_hz", "bandwidth_max_hz"),
    *("rate_down_bps", "rate_up_bps", "power_tx_w", "joule_per_flop"),
    *("fresh_share", "owed_bits"),
)
"""Fields that may have one."""


class Rule(NamedTuple):
    """What the values of a field must be."""

    holds: Callable[[FloatArray], NDArray[np.bool_]]
    words: str


POSITIVE = Rule(lambda x: np.isfinite(x) & (x > 0), "positive and finite")

NOT_NEGATIVE = Rule(lambda x: np.isfinite(x) & (x >= 0), "at least 0 and finite")

RULES = dict.fromkeys((*ARRAYS, *MAY_BE_UNKNOWN), POSITIVE) | {
    **dict.fromkeys(
        ("held", "fresh_share"), Rule(lambda x: (x >= 0) & (x <= 1), "in [0, 1]")
    ),
    "owed_bits": NOT_NEGATIVE,
    "bandwidth_min_hz": NOT_NEGATIVE,
    "bandwidth_max_hz": Rule(lambda x: x > 0, "positive"),
    **dict.fromkeys(
        ("rate_down_bps", "rate_up_bps"),
        Rule(lambda x: np.isnan(x) | POSITIVE.holds(x), "positive and finite, or nan"),
    ),
    "power_tx_w": POSITIVE,
    "joule_per_flop": NOT_NEGATIVE,
    "total_bandwidth_hz": Rule(POSITIVE.holds, "positive"),
    "max_spectral_efficiency": Rule(lambda x: x > 0, "positive"),
}
"""By field: what a number, or every client's, must be."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """What the base station can see this round: arrays over K clients.

    For many draws at once the arrays may have leading axes, [..., K], and are broadcast
    against each other; then only `solve_batch` takes the problem.
    """

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
    up_bandwidth_hz: float | None = None
    """The uplink's own band under FDD [Hz], to which `snr_up` then refers; None = the
    share B_k serves both directions, as in the letter."""
    held: FloatArray | None = None
    """[K] kept fraction that each client holds already and is not sent; None = none."""
    fresh_share: FloatArray | None = None
    """[K] part of the round's rows, of all its steps, that a client has no state of and
    that go through its frozen blocks; None = all. Heeded where a sub-model keeps
    states: `Submodel.caches_states`."""
    owed_bits: FloatArray | None = None
    """[K] what each client is sent beside its sub-model, such as what an earlier stage
    of the run has learnt [bit]; None = nothing. Heeded where sub-models are fixed."""
    bandwidth_min_hz: FloatArray | None = None
    """[K] least share of each client [Hz]; None = 0."""
    bandwidth_max_hz: FloatArray | None = None
    """[K] largest share that each client's radio takes [Hz]; None = the whole band."""
    rate_down_bps: FloatArray | None = None
    """[K] rate of a downlink that is known and takes nothing of the band [bit/s]; nan =
    the band's share gives it. Where there is one the SNR is not read. None = no one."""
    rate_up_bps: FloatArray | None = None
    """[K] the same of the uplinks."""
    power_tx_w: FloatArray | None = None
    """[K] power while a client sends [W], for its energy alone: `snr_up` has it in it.
    None = no energy is told."""
    joule_per_flop: FloatArray | None = None
    """[K] what a client takes to compute [J/FLOP]; None = not counted."""
    resource_block_hz: float | None = None
    """Granularity of the shares [Hz], such as 180 kHz; `realise` rounds to it. None =
    any share."""
    client_ids: tuple[str, ...] | None = None
    """K names of the clients, for messages and records; None = their numbers."""
    emulator_time: PiecewiseLinear | None = None
    """Measured time of the pruned emulator by the kept fraction, relative to the whole
    one's, for all clients or for each; None = the kept fraction, as in eq. (5)."""

    def __post_init__(self) -> None:
        arrays = self._arrays()
        for name in arrays:
            self._take_array(name)
        self._broadcast(arrays)
        for name in ("total_bandwidth_hz", "max_spectral_efficiency", *MAY_BE_UNKNOWN):
            self._check_number(name)
        if self.noise not in NOISE_MODES:
            raise InputError(
                f"`noise` must be one of {NOISE_MODES}, got {self.noise!r}."
            )
        for name in ("rate_down_bps", "rate_up_bps"):
            if self.up_bandwidth_hz is not None and getattr(self, name) is not None:
                raise InputError(
                    f"`{name}` is for one band in both directions; with "
                    "`up_bandwidth_hz` leave it out."
                )
        if self.emulator_time is not None:
            self._check_emulator_time(self.emulator_time)
        if self.client_ids and len(self.client_ids) != self.num_clients:
            raise InputError(f"`client_ids` must name {self.num_clients} clients.")

    def _arrays(self) -> list[str]:
        """Names of the fields that hold a value per client."""
        given = [name for name in OPTIONAL if getattr(self, name) is not None]
        return [*ARRAYS, *given]

    def _take_array(self, name: str) -> None:
        """Check one array and keep it as float64."""
        values = np.asarray(getattr(self, name), dtype=np.float64)
        object.__setattr__(self, name, values)
        if not values.ndim or not values.size:
            raise InputError(
                f"`{name}` must have one value per client and at least one client, "
                f"got shape {values.shape}."
            )
        if values.shape[-1] != self.num_clients:
            raise InputError(
                f"`{name}` has {values.shape[-1]} clients, `speed_flops_per_s` has "
                f"{self.num_clients}."
            )
        rule = RULES[name]
        legal = rule.holds(values)
        if not legal.all():
            client = int(np.argwhere(~legal)[0][-1])
            value = values[~legal][0]
            raise InputError(
                f"`{name}` must be {rule.words}, got {value} for client {client}; take "
                "the client out of the cell or correct it."
            )

    def _broadcast(self, names: list[str]) -> None:
        """Give all arrays the same leading axes, of draws."""
        shapes = [np.shape(getattr(self, name)) for name in names]
        if len(set(shapes)) == 1:
            return
        try:
            shape = np.broadcast_shapes(*shapes)
        except ValueError:
            raise InputError(
                f"the leading axes of the cell's arrays do not fit: {shapes}."
            ) from None
        for name in names:
            spread = np.broadcast_to(getattr(self, name), shape)
            object.__setattr__(self, name, spread)

    def _check_number(self, name: str) -> None:
        """Check a number of the whole cell."""
        value, rule = getattr(self, name), RULES[name]
        if value is None and name in MAY_BE_UNKNOWN:
            return
        if not rule.holds(value):
            raise InputError(f"`{name}` must be {rule.words}, got {value}.")

    def _check_emulator_time(self, curve: PiecewiseLinear) -> None:
        if not isinstance(curve, PiecewiseLinear):
            raise InputError(
                "`emulator_time` must be a `PiecewiseLinear`, got "
                f"{type(curve).__name__}."
            )
        if curve.values.ndim == 2 and curve.values.shape[1] != self.num_clients:
            raise InputError(
                f"`emulator_time` has {curve.values.shape[1]} curves for "
                f"{self.num_clients} clients; give one for all or one for each."
            )
        if not (curve.rises and np.all(curve(np.zeros(self.num_clients)) >= 0)):
            raise InputError(
                "`emulator_time` must not fall as more is kept, nor be negative; "
                "where noise made it fall, take the running maximum."
            )

    @property
    def num_clients(self) -> int:
        """K."""
        return int(np.shape(self.speed_flops_per_s)[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """(K,), or (..., K) with many draws."""
        return np.shape(self.speed_flops_per_s)

    @cached_property
    def needs_band(self) -> NDArray[np.bool_] | None:
        """[..., K] who has a link on the band; None = everyone."""
        if self.rate_down_bps is None or self.rate_up_bps is None:
            return None
        shared = np.isnan(self.rate_down_bps) | np.isnan(self.rate_up_bps)
        return None if shared.all() else shared

    @cached_property
    def share_min_hz(self) -> FloatArray | None:
        """[..., K] least share that counts [Hz]: 0 for who needs no band; None = 0."""
        if self.needs_band is None:
            return self.bandwidth_min_hz
        least_hz = self.bandwidth_min_hz
        return np.where(self.needs_band, 0.0 if least_hz is None else least_hz, 0.0)

    @cached_property
    def share_max_hz(self) -> FloatArray | None:
        """[..., K] largest useful share [Hz]: 0 for who needs no band; None = all."""
        if self.needs_band is None:
            return self.bandwidth_max_hz
        most_hz = self.bandwidth_max_hz
        return np.where(self.needs_band, np.inf if most_hz is None else most_hz, 0.0)

    @property
    def share_bounds_hz(self) -> tuple[FloatArray | None, FloatArray | None]:
        """Least and largest share of each client, as far as there are any [Hz]."""
        return self.share_min_hz, self.share_max_hz

    def even_shares_hz(self) -> FloatArray:
        """Return the band in equal shares among those who need some, [K] [Hz]."""
        if self.needs_band is None:
            return np.full(self.num_clients, self.total_bandwidth_hz / self.num_clients)
        sharing = max(1, int(np.sum(self.needs_band)))
        return np.where(self.needs_band, self.total_bandwidth_hz / sharing, 0.0)

    def take(self, clients: IntArray) -> "Cell":
        """Return the cell with some of its clients, who have the whole band."""
        taken: dict[str, Any] = {
            name: getattr(self, name)[..., clients] for name in self._arrays()
        }
        if self.emulator_time is not None:
            taken["emulator_time"] = self.emulator_time.take(clients)
        if self.client_ids is not None:
            taken["client_ids"] = tuple(self.client_ids[k] for k in clients)
        return replace(self, **taken)

    def who(self, client: int) -> str:
        """Return a client as messages name it: its number, and its id if it has one."""
        if self.client_ids is None or self.client_ids[client] == str(client):
            return f"client {client}"
        return f"client {client} ({self.client_ids[client]})"

    def require_one_band(self, what: str) -> None:
        """Refuse many draws, and a cell whose uplink has its own band.

        Raises
        ------
        InputError
            Naming what cannot take it.
        """
        self.require_one_cell(what)
        if self.up_bandwidth_hz is not None:
            raise InputError(
                f"{what} takes one band for both directions, got `up_bandwidth_hz` = "
                f"{self.up_bandwidth_hz:g}; leave it out, or take what serves FDD: "
                "jcpba (exact), ubfp, lora, staged, fedqlora, fedbiot, or `tw.solve` "
                "with `tw.Exact`."
            )

    def require_one_cell(self, what: str) -> None:
        """Refuse many draws at once.

        Raises
        ------
        InputError
            Naming what cannot take them.
        """
        if len(self.shape) > 1:
            raise InputError(
                f"{what} takes one cell, got arrays of shape {self.shape}; use "
                "`Exact().solve_batch`, or one draw at a time."
            )

    def link(self, direction: Direction) -> Link:
        """Return a direction of the cell's links."""
        band_hz = self.total_bandwidth_hz
        if direction == "up" and self.up_bandwidth_hz is not None:
            band_hz = self.up_bandwidth_hz
        return Link(
            snr=self.snr_down if direction == "down" else self.snr_up,
            given_bps=self.rate_down_bps if direction == "down" else self.rate_up_bps,
            total_bandwidth_hz=band_hz,
            noise=self.noise,
            max_spectral_efficiency=self.max_spectral_efficiency,
        )

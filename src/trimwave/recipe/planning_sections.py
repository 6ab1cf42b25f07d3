"""Sections of a recipe that say what is planned: clients, links, limits, model.

A default that the letter does not give is marked ``# assumed``; docs/notation.md says
where each comes from.
"""

from dataclasses import dataclass
from typing import Literal

from trimwave.base.errors import InputError
from trimwave.cell import plausible
from trimwave.cell.link import Noise
from trimwave.recipe.require import require, require_range


@dataclass(frozen=True, kw_only=True, slots=True)
class CellConfig:
    """The clients."""

    num_clients: int = 8
    """How many clients there are, K; with `clients` it follows from the table."""
    clients: str = ""
    """A table of clients, one line each, in place of the drawn ones."""
    total_bandwidth_hz: float = 100e6
    """The band that all of them share, B [Hz]."""
    up_bandwidth_hz: float | None = None
    """The uplink's own band under FDD [Hz], beside `total_bandwidth_hz` for the
    downlink; left out = a share serves both directions."""
    resource_block_hz: float | None = None
    """Shares are whole blocks of this width [Hz], such as 180e3; left out = any."""
    cache_bytes: float = 0.0
    """What each client keeps of the pruned emulator between rounds, and is not sent
    again [byte]; 0 = nothing, as in the letter."""
    slowdown: float = 1.0
    """How many times slower all links and devices are than said elsewhere, for a
    testbed that cannot carry the cell's rates: plans stay, their seconds are as many
    times more."""
    base_speed_flops_per_s: float = 1e12
    """Speed that every client's is a factor of, f_0 [FLOP/s]."""
    speed_factor: tuple[float, float] = (0.5, 2.0)
    """Uniform range of the factor on f_0, drawn once per run."""
    memory_bytes: tuple[float, float] = (4e9, 8e9)
    """Uniform range of the memory limit, drawn once per run [byte]."""
    flops_per_sample: float | None = None
    """What a column `compute_ms_per_sample` of `clients` was measured on [FLOP]."""
    joule_per_flop: float | None = None
    """What a client takes to compute [J/FLOP]; left out = only sending is counted in a
    plan's energy."""
    server_speed_flops_per_s: float = 50e12
    """The server's speed, shared by the clients it computes for [FLOP/s]. # assumed."""
    emulator_time: str = ""
    """Table of the emulator's measured time by the kept fraction (kept, time_s) in
    place of eq. (5); left out = in proportion. `trimwave measure` makes one."""

    def __post_init__(self) -> None:
        require("cell.", self, 1, "num_clients")
        require("cell.", self, 0, "total_bandwidth_hz", "base_speed_flops_per_s")
        require("cell.", self, 0, "slowdown")
        require("cell.", self, 0, "server_speed_flops_per_s")
        if not 0 <= self.cache_bytes < float("inf"):
            raise InputError(
                f"`cell.cache_bytes` must be at least 0 and finite, got "
                f"{self.cache_bytes}; 0 = clients keep nothing."
            )
        if self.flops_per_sample is not None:
            require("cell.", self, 1, "flops_per_sample")
        if self.joule_per_flop is not None:
            joules = self.joule_per_flop
            plausible.JOULE_PER_FLOP.require("cell.joule_per_flop", joules)
        require_range("cell.", "speed_factor", self.speed_factor)
        require_range("cell.", "memory_bytes", self.memory_bytes)
        plausible.BAND.require("cell.total_bandwidth_hz", self.total_bandwidth_hz)
        plausible.MEMORY.require("cell.memory_bytes", *self.memory_bytes)
        if self.up_bandwidth_hz is not None:
            plausible.BAND.require("cell.up_bandwidth_hz", self.up_bandwidth_hz)
        self._check_blocks()
        for name in ("base_speed_flops_per_s", "server_speed_flops_per_s"):
            plausible.SPEED.require(f"cell.{name}", getattr(self, name))
        speeds = [self.base_speed_flops_per_s * one for one in self.speed_factor]
        plausible.SPEED.require(
            "cell.speed_factor` times `cell.base_speed_flops_per_s", *speeds
        )

    def _check_blocks(self) -> None:
        block_hz = self.resource_block_hz
        if block_hz is None:
            return
        for name in ("total_bandwidth_hz", "up_bandwidth_hz"):
            band_hz = getattr(self, name)
            if band_hz is not None and block_hz > band_hz:
                raise InputError(
                    f"`cell.resource_block_hz` = {block_hz:g} is more than "
                    f"`cell.{name}` = {band_hz:g}."
                )
        plausible.BLOCK.require("cell.resource_block_hz", block_hz)


@dataclass(frozen=True, kw_only=True, slots=True)
class RadioConfig:
    """The links."""

    server_power_w: float = 10.0
    """Transmit power of the server, p_s [W]."""
    client_power_w: float = 0.2
    """Transmit power of each client, p_k [W]."""
    path_loss_db: float = 60.0
    """Mean loss of every link [dB]."""
    path_loss_model: Literal["fixed", "UMa", "UMi", "InH"] = "fixed"
    """``fixed``: `path_loss_db`; else by distance, 3GPP TR 38.901, Table 7.4.1-1."""
    line_of_sight: Literal["los", "nlos"] = "nlos"
    """Whether those models have a line of sight. # assumed."""
    carrier_hz: float = 3.5e9
    """f_c of those models [Hz]. # assumed."""
    distance_m: tuple[float, float] | None = None
    """Uniform range of the distances of those models, drawn once per run [m]; left out
    = a column of `cell.clients`."""
    fading: Literal["rayleigh", "none"] = "rayleigh"
    """Block fading per client, direction and round."""
    trace: str = ""
    """Table of measured gains, SNRs or rates, by round or second and client, in place
    of path loss and fading."""
    trace_holes: Literal["error", "hold", "absent"] = "error"
    """What it means that a client has no row or value in a sample of `trace`: a fault
    of the file, the value before it, or that the client is not there."""
    noise: Noise = "fixed"
    """``fixed``: a power, as eq. (7) is printed; ``psd``: a density, N0 times B_k."""
    noise_psd_dbm_per_hz: float = -174.0
    """Noise density, summed over the whole band for ``fixed``. # assumed: thermal."""
    noise_figure_db: float = 0.0
    """Receiver noise figure [dB]. # assumed."""
    max_spectral_efficiency: float | None = None
    """Cap of a real modem [bit/s/Hz]; left out = none. # assumed."""

    def __post_init__(self) -> None:
        require("radio.", self, 0, "server_power_w", "client_power_w")
        if self.max_spectral_efficiency is not None:
            cap = self.max_spectral_efficiency
            plausible.EFFICIENCY.require("radio.max_spectral_efficiency", cap)
        for name in ("path_loss_db", "noise_psd_dbm_per_hz", "noise_figure_db"):
            if abs(getattr(self, name)) == float("inf"):
                raise InputError(f"`radio.{name}` must be finite.")
        plausible.POWER.require("radio.server_power_w", self.server_power_w)
        plausible.HANDHELD_POWER.require("radio.client_power_w", self.client_power_w)
        plausible.LOSS.require("radio.path_loss_db", self.path_loss_db)
        plausible.CARRIER.require("radio.carrier_hz", self.carrier_hz)
        if self.distance_m is not None:
            require_range("radio.", "distance_m", self.distance_m)
            plausible.DISTANCE.require("radio.distance_m", *self.distance_m)
        density = self.noise_psd_dbm_per_hz
        plausible.NOISE_PSD.require("radio.noise_psd_dbm_per_hz", density)
        figure = self.noise_figure_db
        plausible.NOISE_FIGURE.require("radio.noise_figure_db", figure)


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitsConfig:
    """C4 and C5. Give `beta_bar`, or the four constants of C5 instead."""

    beta_min: float = 0.2
    """Least pruning of any client. # assumed."""
    beta_max: float = 0.8
    """Most pruning of any client. # assumed."""
    beta_bar: float | None = None
    """Largest mean pruning rate; 0.5 if C5's constants are not given. # assumed."""
    damage: str = ""
    """Table of what pruning costs (prune_rate, damage), which C5 then bounds in place
    of the rate; left out = the rate itself. `trimwave measure` makes one."""
    weighted: bool = False
    """C5 weighs clients by their rows, as aggregation does; False = alike."""
    c5_xi: float | None = None
    """xi of C5, in place of `beta_bar`."""
    c5_phi: float | None = None
    """phi of C5, in place of `beta_bar`."""
    c5_psi: float | None = None
    """psi of C5, in place of `beta_bar`."""
    gamma_min: float | None = None
    """Right-hand side of C5, in place of `beta_bar`."""

    def __post_init__(self) -> None:
        for name in ("beta_min", "beta_max", "beta_bar"):
            if (rate := getattr(self, name)) is not None:
                plausible.PRUNE_RATE.require(f"limits.{name}", rate)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The language model and where it is cut."""

    name: str = "smollm2-135m"
    """A name of `trimwave models`, a Hugging Face folder, or a hub name."""
    revision: str = ""
    """Commit, branch or tag of a model of the hub; left out = its main branch."""
    adapter_blocks: int = 2
    """Top blocks that train; the blocks below are the emulator."""
    bits_per_param: Literal[16, 32] = 16
    """Number format on the air: fp16 or fp32. # assumed."""
    head_passes: Literal[1, 2] = 2
    """Times the LM head is charged per step; 1 = the accounting of Fig. 3."""
    head: Literal["all", "answers"] = "all"
    """Positions that the LM head is charged at: all, as in the letter, or those where
    answers are predicted, which is where it runs."""
    send_embeddings: bool = False
    """Charge embeddings and head on the downlink; False = pre-installed. # assumed."""

    def __post_init__(self) -> None:
        require("model.", self, 1, "adapter_blocks")


@dataclass(frozen=True, kw_only=True, slots=True)
class PruneConfig:
    """P(w_E, beta) of eq. (1)."""

    criterion: Literal["fisher", "magnitude", "random", "layer_drop"] = "fisher"
    """What ranks heads and neurons. # assumed."""
    num_sequences: int = 2048
    """Public sequences of the Fisher pass. # assumed."""
    batch_size: int = 4
    """Sequences per Fisher mini-batch. # assumed."""
    round_to: int = 8
    """Neurons are removed in chunks of this many. # assumed."""
    min_groups: int = 1
    """Key/value groups (heads) that every block keeps. # assumed."""
    min_neurons: int = 64
    """Neurons that every block keeps. # assumed."""

    def __post_init__(self) -> None:
        names = ("num_sequences", "batch_size", "round_to", "min_groups", "min_neurons")
        require("prune.", self, 1, *names)

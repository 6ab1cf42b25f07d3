"""What a run is made of: frozen dataclasses; `recipe.py` reads them from TOML.

A recipe holds only its differences from the defaults below. A default that the letter
does not give is marked ``# assumed``; docs/notation.md says where each comes from.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from trimwave.base.errors import InputError
from trimwave.cell import plausible
from trimwave.cell.link import Noise


def _require(section: str, config: object, least: float, *names: str) -> None:
    """Raise unless the named fields are at least `least` (above it, if it is 0)."""
    for name in names:
        value = getattr(config, name)
        if not (0 < value < float("inf") and value >= least):
            bound = f"at least {least:g}" if least else "positive and finite"
            raise InputError(f"`{section}{name}` must be {bound}, got {value}.")


def _require_range(section: str, name: str, value: tuple[float, float]) -> None:
    if not 0 < value[0] <= value[1] < float("inf"):
        raise InputError(
            f"`{section}{name}` must be a range [low, high] with 0 < low <= high, "
            f"got {list(value)}."
        )


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
        _require("cell.", self, 1, "num_clients")
        _require("cell.", self, 0, "total_bandwidth_hz", "base_speed_flops_per_s")
        _require("cell.", self, 0, "server_speed_flops_per_s")
        if self.flops_per_sample is not None:
            _require("cell.", self, 1, "flops_per_sample")
        if self.joule_per_flop is not None:
            joules = self.joule_per_flop
            plausible.JOULE_PER_FLOP.require("cell.joule_per_flop", joules)
        _require_range("cell.", "speed_factor", self.speed_factor)
        _require_range("cell.", "memory_bytes", self.memory_bytes)
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
        _require("radio.", self, 0, "server_power_w", "client_power_w")
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
            _require_range("radio.", "distance_m", self.distance_m)
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
    send_embeddings: bool = False
    """Charge embeddings and head on the downlink; False = pre-installed. # assumed."""

    def __post_init__(self) -> None:
        _require("model.", self, 1, "adapter_blocks")


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
        _require("prune.", self, 1, *names)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """The rows."""

    source: str = "gsm_symbolic"
    """`gsm_symbolic`, a hub name, or a file or folder (JSONL, CSV, Parquet)."""
    configuration: str = ""
    """Configuration of a data set of the hub that has several."""
    revision: str = ""
    """Commit, branch or tag of a data set of the hub; left out = its main branch."""
    public: str = "same"
    """The server's public rows: another source, or `same` = a disjoint draw."""
    num_train: int | None = None
    """Training rows, over all clients; left out = all there are, 1600 if generated."""
    num_test: int | None = None
    """Test rows; left out = 64, or a fifth of the rows where they are few."""
    num_public: int | None = None
    """Public rows; left out = 64, or a fifth of the rows where they are few."""
    partition: Literal["iid", "dirichlet", "files"] = "iid"
    """How rows go to clients; `files`: a folder with a file per client."""
    client_column: str = ""
    """Column that says whose row it is, in place of a partition."""
    dirichlet_alpha: float = 0.5
    """Concentration of the Dirichlet partition; small = skewed."""
    client_sizes: tuple[int, ...] = ()
    """Rows per client; empty = equal."""
    label_column: str = ""
    """Column of the class that the Dirichlet partition goes by; empty = the answer,
    where it is a class."""
    label_names: tuple[str, ...] = ()
    """Names of classes 0, 1, and so on, for a column of class numbers."""
    columns: tuple[str, ...] = ()
    """Names of the columns of CSV and TSV files that have no header."""
    template: Literal["auto", "chat", "plain"] = "auto"
    """`auto`: chats by the tokenizer's chat template, if it has one; `chat`: all rows;
    `plain`: none."""
    max_tokens: int = 1024
    """Longest row, prompt and answer [token]."""
    too_long: Literal["error", "drop", "truncate"] = "error"
    """What happens to a longer row."""

    def __post_init__(self) -> None:
        counts = ("num_train", "num_test", "num_public", "max_tokens")
        given = (name for name in counts if getattr(self, name) is not None)
        _require("data.", self, 1, *given)
        _require("data.", self, 0, "dirichlet_alpha")
        if self.client_column and self.partition != "iid":
            raise InputError(
                f"`data.client_column` says whose rows are whose, and so does "
                f"`data.partition` = {self.partition!r}; leave one of them out."
            )
        for name in ("label_names", "columns"):
            values = getattr(self, name)
            for one in values:
                if values.count(one) > 1 or not one.strip():
                    raise InputError(
                        f"`data.{name}` must be names, each another, got {one!r}"
                        f"{' twice' if one.strip() else ''}."
                    )

    @property
    def is_owned(self) -> bool:
        """The rows say whose they are, so that nothing is dealt out."""
        return self.partition == "files" or bool(self.client_column)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Local fine-tuning."""

    num_local_steps: int = 30
    """Steps of a client in a round, M. # assumed."""
    batch_size: int = 1
    """Sequences per step, N. # assumed."""
    seq_len: int = 256
    """s: tokens per sequence that the latency model charges. # assumed."""
    learning_rate: float = 5e-5
    """AdamW step size where full weights train. # assumed."""
    lora_learning_rate: float = 2e-4
    """AdamW step size where LoRA factors train. # assumed."""
    weight_decay: float = 0.01
    """AdamW weight decay. # assumed."""
    max_grad_norm: float = 1.0
    """Gradient clipping. # assumed."""
    lora_rank: int = 8
    """LoRA rank r, in methods that train LoRA factors."""
    lora_alpha: float = 16.0
    """LoRA scaling alpha."""
    patience: int = 0
    """Rounds without a lower test loss on the full model after which a run ends; 0 =
    never."""
    keep_checkpoints: Literal["last", "all"] = "last"
    """`last`: of the two newest rounds and the best one; `all`: of every round."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 on a GPU, fp32 on a CPU."""
    device: str = "auto"
    """`auto`: a GPU if there is one."""

    def __post_init__(self) -> None:
        counts = ("num_local_steps", "batch_size", "seq_len", "lora_rank")
        _require("train.", self, 1, *counts)
        _require("train.", self, 0, "learning_rate", "lora_learning_rate")
        _require("train.", self, 0, "max_grad_norm", "lora_alpha")
        if self.patience < 0:
            raise InputError(
                f"`train.patience` must be at least 0, got {self.patience}; 0 = never."
            )
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(
                "`train.weight_decay` must be at least 0 and finite, got "
                f"{self.weight_decay}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class AlignConfig:
    """Server-side emulator alignment on public data."""

    initial_steps: int = 0
    """Distillation steps before round one; 0 = none."""
    every_rounds: int = 0
    """Align again every so many rounds; 0 = never."""
    steps: int = 10
    """Distillation steps each of those times."""
    batch_size: int = 4
    """Public rows per step."""
    learning_rate: float = 1e-4
    """AdamW step size."""
    kl_weight: float = 0.9
    """Weight of the KL to the full model beside the hidden-state error."""

    def __post_init__(self) -> None:
        for name in ("initial_steps", "every_rounds", "kl_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(
                    f"`align.{name}` must be at least 0, got {getattr(self, name)}."
                )
        _require("align.", self, 1, "steps", "batch_size")
        _require("align.", self, 0, "learning_rate")


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsConfig:
    """What a model gets right, beside its loss.

    Taken with the trained blocks on the whole model: before training, every so many
    rounds, and after the last one.
    """

    every_rounds: int = 0
    """Rounds between two times; 0 = never."""
    num_rows: int = 16
    """Test rows that they are taken on, the first of them; all where there are fewer.
    """
    max_new_tokens: int = 256
    """Longest answer that is generated [token]; shorter where the model's context
    ends."""
    names: tuple[Literal["exact_match", "accuracy", "f1", "tokens_per_s"], ...] = ()
    """Which; empty = those that there are test rows for: `exact_match` and
    `tokens_per_s` where answers have a number behind ####, `accuracy` and `f1` where
    they are labels."""

    def __post_init__(self) -> None:
        if self.every_rounds < 0:
            raise InputError(
                "`metrics.every_rounds` must be at least 0, got "
                f"{self.every_rounds}; 0 = never."
            )
        _require("metrics.", self, 1, "num_rows", "max_new_tokens")


@dataclass(frozen=True, kw_only=True, slots=True)
class NetConfig:
    """A run over a network: `--backend flower`, `trimwave serve`."""

    deadline_s: float = 0.0
    """Longest that a round waits for answers [s]; 0 = until every client has answered
    or is gone."""
    absence_s: float = 120.0
    """How long a client may be gone before a round ends without it, and how long a run
    waits for its clients at its start [s]."""
    quorum: float = 0.5
    """Part of the clients asked that must answer for a round to count."""
    measured: bool = False
    """Plan from what the clients measure of themselves (training speed, free memory,
    rates of their links) in place of the recipe's cell."""
    pace: bool = True
    """Keep each transfer to the client's planned share."""
    mirror: str = ""
    """URL of a store that blobs are copied to (`s3://bucket/path`, `file:///path`)."""
    mirror_url: str = ""
    """Where clients fetch them from then; left out = `mirror`."""

    def __post_init__(self) -> None:
        for name in ("deadline_s", "absence_s"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(
                    f"`net.{name}` must be at least 0, got {getattr(self, name)}."
                )
        if not 0 < self.quorum <= 1:
            raise InputError(f"`net.quorum` must be in (0, 1], got {self.quorum}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """A whole run."""

    name: str = "default"
    """Names the run's folder."""
    method: str = "jcpba"
    """A method of `trimwave methods`, with options: `jcpba:solver=bcd`; your own rule
    as `module:Class`."""
    rounds: int = 10
    """How many rounds are trained."""
    seed: int = 0
    """Everything random follows from it."""
    cell: CellConfig = field(default_factory=CellConfig)
    radio: RadioConfig = field(default_factory=RadioConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    align: AlignConfig = field(default_factory=AlignConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    net: NetConfig = field(default_factory=NetConfig)
    options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options of methods in this recipe, ``[options.fedbiot]`` and so on; what is
    written behind a method's name wins."""

    def __post_init__(self) -> None:
        _require("", self, 1, "rounds")
        if self.seed < 0:
            raise InputError(f"`seed` must be at least 0, got {self.seed}.")
        bad = "/" in self.name or not self.name.isprintable()
        if not self.name or bad or self.name.startswith("."):
            raise InputError(f"`name` must be a plain folder name, got {self.name!r}.")

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dict, for the manifest."""
        plain: dict[str, Any] = _plain(asdict(self))
        return plain


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value

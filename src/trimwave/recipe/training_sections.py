"""Sections of a recipe that say what trains on what, and what is measured.

A default that the letter does not give is marked ``# assumed``; docs/notation.md says
where each comes from.
"""

from dataclasses import dataclass
from typing import Literal

from trimwave.base.errors import InputError
from trimwave.model.submodel import LoraTargets
from trimwave.recipe.require import require


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
    answer_share: float | None = None
    """Part of a row's tokens that are predicted answers, for `model.head` = answers;
    left out = as counted on the training rows, which a plan does not read."""

    def __post_init__(self) -> None:
        counts = ("num_train", "num_test", "num_public", "max_tokens")
        given = (name for name in counts if getattr(self, name) is not None)
        require("data.", self, 1, *given)
        require("data.", self, 0, "dirichlet_alpha")
        if self.answer_share is not None and not 0 < self.answer_share <= 1:
            raise InputError(
                f"`data.answer_share` must be in (0, 1], got {self.answer_share}."
            )
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
    lora_targets: LoraTargets = "attention"
    """Where LoRA factors sit: `attention` = PEFT's default for the architecture (the
    fused projection of GPT-2; queries and values elsewhere), or `all_linear`."""
    update_bits: int | None = None
    """Number format on the air of what trains, down and up; left out =
    `model.bits_per_param`. 8 = integers of which 32 share a scale (MXINT8), what is
    rounded off being added to the next update."""
    patience: int = 0
    """Rounds without a lower test loss on the full model after which a run ends; 0 =
    never."""
    keep_checkpoints: Literal["last", "all"] = "last"
    """`last`: of the two newest rounds and the best one; `all`: of every round."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto`: bf16 on a GPU, fp32 on a CPU."""
    device: str = "auto"
    """`auto`: a GPU if there is one."""
    state_cache: Literal["off", "fp32", "bf16", "int8"] = "off"
    """Keep what frozen blocks make of a row, and in which numbers; `int8` has a scale
    per token."""
    state_memory_bytes: float = 2.0**30
    """What these states may take in memory of each client [byte]."""
    stream_prefix: bool = False
    """Run the frozen blocks one by one over the rows of a round, before its steps, so
    that one of them is in memory at a time; with `state_cache`."""
    state_disk_bytes: float = 0.0
    """What they may take on the disk beside that [byte]; 0 = none. A state can be
    turned back into the row's text."""

    def __post_init__(self) -> None:
        counts = ("num_local_steps", "batch_size", "seq_len", "lora_rank")
        require("train.", self, 1, *counts)
        require("train.", self, 0, "learning_rate", "lora_learning_rate")
        require("train.", self, 0, "max_grad_norm", "lora_alpha")
        if self.update_bits not in (None, 8, 16, 32):
            raise InputError(
                f"`train.update_bits` must be 8, 16 or 32, got {self.update_bits}."
            )
        if self.patience < 0:
            raise InputError(
                f"`train.patience` must be at least 0, got {self.patience}; 0 = never."
            )
        if not 0 <= self.weight_decay < float("inf"):
            raise InputError(
                "`train.weight_decay` must be at least 0 and finite, got "
                f"{self.weight_decay}."
            )
        for name in ("state_memory_bytes", "state_disk_bytes"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(
                    f"`train.{name}` must be at least 0 and finite, got "
                    f"{getattr(self, name)}; 0 = no states are kept there."
                )

        if self.stream_prefix and not self.keeps_states:
            raise InputError(
                "`train.stream_prefix` makes states of the rows before the steps, "
                "which must be kept: set `train.state_cache`, and room for it."
            )

    @property
    def keeps_states(self) -> bool:
        """Whether states are kept anywhere."""
        room = self.state_memory_bytes or self.state_disk_bytes
        return self.state_cache != "off" and room > 0


@dataclass(frozen=True, kw_only=True, slots=True)
class AggregateConfig:
    """How the updates of a round become one."""

    rule: Literal["mean", "median", "trimmed_mean", "krum"] = "mean"
    """``mean``: weighted by rows, eq. (4). The others count every client alike and bear
    a few bad ones; ``krum`` takes one client's update."""
    trim: float = 0.2
    """Part of the clients that ``trimmed_mean`` cuts off at either end, value by value,
    rounded down to whole clients."""
    num_malicious: int = 1
    """Clients that may be bad under ``krum``, f; it takes 2 f + 3 clients or more."""
    norm_limit: float = 0.0
    """Updates from over a network are refused whose L2 norm is above this many times
    the round's median norm; 0 = any norm."""
    clip_norm: float = 0.0
    """L2 norm that each client's update is scaled down to where it is longer; 0 = none.
    """
    noise_multiplier: float = 0.0
    """Noise of differential privacy: a normal value of `clip_norm` times this is added
    to the sum of updates before it is divided; clients then count alike. 0 = none."""
    server_optimizer: Literal["none", "momentum", "adam"] = "none"
    """What the server makes of the combined update: ``none`` adds it; ``momentum`` is
    FedAvgM, ``adam`` FedAdam (Reddi et al. 2021), which take it for a gradient."""
    server_learning_rate: float = 1.0
    """Step size of the server's optimiser."""
    server_momentum: float = 0.9
    """How much of the first moment stays in a round, beta_1."""
    server_beta2: float = 0.99
    """How much of the second moment stays, under ``adam``."""
    server_epsilon: float = 1e-3
    """tau of ``adam``: what is added to the root of the second moment."""
    noise_seed: int = 0
    """What the noise is drawn from, so that a run can be repeated to the bit; whoever
    has it can take the noise off. 0 = a secret of the run's folder."""

    def __post_init__(self) -> None:
        sizes = "norm_limit", "clip_norm", "noise_multiplier"
        for name in (*sizes, "noise_seed", "num_malicious"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(
                    f"`aggregate.{name}` must be at least 0 and finite, got "
                    f"{getattr(self, name)}."
                )
        require("aggregate.", self, 0, "server_learning_rate", "server_epsilon")
        for name in ("server_momentum", "server_beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(
                    f"`aggregate.{name}` must be at least 0 and below 1, got "
                    f"{getattr(self, name)}."
                )
        if not 0 <= self.trim < 0.5:
            raise InputError(
                "`aggregate.trim` must be at least 0 and below 0.5, so that something "
                f"is left, got {self.trim}."
            )
        if 0 < self.norm_limit < 1:
            raise InputError(
                "`aggregate.norm_limit` must be at least 1, or 0 for none, got "
                f"{self.norm_limit}: below 1 the median update itself is refused."
            )
        if self.noise_multiplier:
            self._check_noise()

    def _check_noise(self) -> None:
        noise = f"`aggregate.noise_multiplier` = {self.noise_multiplier:g}"
        if not self.clip_norm:
            raise InputError(
                f"{noise} needs `aggregate.clip_norm`: only what is clipped can be "
                "hidden by noise of a known size."
            )
        if self.rule != "mean":
            raise InputError(
                f"{noise} is sized for the mean, and `aggregate.rule` is "
                f"{self.rule}; leave one of them out."
            )
        if self.norm_limit:
            raise InputError(
                f"{noise} goes with no `aggregate.norm_limit`: whose update counts "
                "would tell of the others', and `aggregate.clip_norm` bounds each."
            )

    @property
    def is_weighted(self) -> bool:
        """Whether clients count by their rows."""
        return self.rule == "mean" and not self.noise_multiplier


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
        require("align.", self, 1, "steps", "batch_size")
        require("align.", self, 0, "learning_rate")


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
        require("metrics.", self, 1, "num_rows", "max_new_tokens")

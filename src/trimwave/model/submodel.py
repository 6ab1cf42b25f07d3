"""A sub-model: what one client holds, trains and is sent in a round.

`Submodel` says for itself what happens to each tensor. Prices (`pricing.py`) sum sizes
over its rules, and packages (`lm/wire/ledger.py`) filter tensors by them: nothing else
decides what is sent to a client.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Trained = Literal["full", "lora"]
"""What trains in a block: its weights, or LoRA factors beside them."""

LoraTargets = Literal["attention", "all_linear"]
"""Where LoRA factors sit in a block: PEFT's default for the architecture (GPT-2: the
fused projection; elsewhere queries and values), or every matrix."""

Runs = Literal["device", "split"]
"""Where blocks run: all on the device; or on the server, between the device's embedding
and head, activations and gradients crossing the link in every step."""

Part = int | Literal["head"]
"""A block, by its number in the whole model, or the LM head."""

Kind = Literal["weight", "factor"]
"""What a tensor is: of the original model, or a LoRA factor beside it."""


SCALE_BLOCK = 32
"""Values of a tensor that share a scale where updates travel in 8 bits: the block of
MXINT8 (OCP Microscaling Formats v1.0), whose scale takes 8 bits too."""


def num_scales(count: int) -> int:
    """Return how many scales so many values of one tensor have."""
    return -(-count // SCALE_BLOCK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Submodel:
    """One client's part of the model; covers every method.

    Blocks are numbered as in the whole model. Those below the split form the emulator,
    which may be pruned or lose blocks; those above it are always whole.
    """

    kept_fraction: float
    """x_k: kept part of the emulator."""
    emulator_params: int
    """The same in parameters: with `kept_blocks` left out it names the kept heads and
    neurons, since the pruning order is one for all."""
    kept_blocks: tuple[int, ...] | None = None
    """Emulator blocks that are kept whole; None = by the pruning order."""
    trained_blocks: tuple[int, ...]
    """Blocks that this client trains and sends back, ascending."""
    shared_blocks: tuple[int, ...]
    """Blocks whose trained tensors differ from the original model's and so travel down:
    what any client trains, and what the server aligns."""
    trained: Trained = "full"
    """What trains in them."""
    lora_rank: int = 8
    """r of the factors, where they train."""
    lora_alpha: float = 16.0
    """What their product is scaled by, times r."""
    lora_targets: LoraTargets = "attention"
    """Where they sit."""
    update_bits: int | None = None
    """Number format of what trains on the air, either way: 8 = integers with shared
    scales; None = as all the rest."""
    trains_head: bool = False
    """LoRA factors on the LM head train too."""
    sends_frozen: bool = True
    """The frozen blocks travel down every round; False = they lie on the device."""
    streams_prefix: bool = False
    """The frozen blocks below the lowest trained one run block by block over all rows
    of a round, before its steps: one of them is in memory at a time."""
    weight_bits: int = 16
    """Number format of the frozen blocks on the device; below 16 = quantised."""
    compensation_rank: int = 0
    """Rank of the fixed low-rank terms that make up for quantisation."""
    runs: Runs = "device"
    """Where the blocks run."""
    num_local_steps: int | None = None
    """Local steps of the round; None = M of the recipe."""
    first_step: int | None = None
    """Local steps that the client's rows are past when the round begins, all epochs
    counted; None = M in each round before."""
    proximal_weight: float = 0.0
    """Weight of the squared distance to the received weights in the client's loss."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Submodel":
        """Read what `to_dict` wrote; JSON has lists for tuples."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in plain.items()
        }
        return cls(**fields)

    @property
    def is_sliced(self) -> bool:
        """Whether its emulator is sent, pruned by the order that is one for all.

        A smaller one is then the beginning of a larger one, and both stay as they are.
        """
        frozen_below = min(self.shared_blocks) >= min(self.trained_blocks)
        sent = self.sends_frozen and self.runs == "device"
        return sent and frozen_below and self.kept_blocks is None

    @property
    def is_installed_whole(self) -> bool:
        """Whether the whole model lies on the device, so that it has no emulator."""
        whole = self.kept_blocks is None and self.kept_fraction == 1
        return whole and not self.sends_frozen

    @property
    def caches_states(self) -> bool:
        """Whether what lies below its trained blocks is the whole model's, unchanged.

        Its output for a row is then the same in every step and for every client.
        """
        whole = self.kept_blocks is None and self.kept_fraction == 1
        lowest = min(self.trained_blocks)
        frozen_below = 0 < lowest <= min(self.shared_blocks)
        return self.runs == "device" and whole and frozen_below

    def going_on(self, after: "Submodel") -> tuple[Part, ...]:
        """Return the blocks, and the LM head, that the next stage goes on training.

        What trains is the same in kind, size and place; where it is not, all that a
        stage has learnt is merged, and that of the next begins anew.
        """

        def kind(one: Submodel) -> tuple[object, ...]:
            return one.trained, one.lora_rank, one.lora_alpha, one.lora_targets

        if kind(self) != kind(after):
            return ()
        blocks = sorted({*self.trained_blocks} & {*after.trained_blocks})
        head: tuple[Part, ...] = ("head",)
        return *blocks, *(head if self.trains_head and after.trains_head else ())

    def steps(self, round_index: int, num_local_steps: int) -> range:
        """Return the local steps of a round, numbered over the run from 0.

        Parameters
        ----------
        round_index : int
            From 1.
        num_local_steps : int
            M of the recipe.
        """
        first = self.first_step
        if first is None:
            first = (round_index - 1) * num_local_steps
        return range(first, first + (self.num_local_steps or num_local_steps))

    def trains(self, part: Part, kind: Kind) -> bool:
        """Whether this client's local steps change the tensor."""
        if self.trained == "full":
            return kind == "weight" and part in self.trained_blocks
        inside = self.trains_head if part == "head" else part in self.trained_blocks
        return kind == "factor" and inside

    def changes(self, part: Part, kind: Kind) -> bool:
        """Whether the tensor ever differs from the original model's, at any client."""
        if self.trained == "full":
            return kind == "weight" and part in self.shared_blocks
        return kind == "factor" and (part == "head" or part in self.shared_blocks)

    def travels_down(self, part: Part, kind: Kind) -> bool:
        """Whether the tensor is sent to the client in every round, eq. (2)."""
        if self.runs == "split":
            return part == "head" and kind == "factor"
        return self.sends_frozen or self.changes(part, kind)

    def lies_installed(self, part: Part, kind: Kind) -> bool:
        """Whether the tensor is downloaded once, before the first round.

        What travels down later is newer, and takes its place.
        """
        return self.runs == "device" and not self.sends_frozen and kind == "weight"

    def travels_up(self, part: Part, kind: Kind) -> bool:
        """Whether what the client changed of the tensor is sent back, eq. (3)."""
        on_device = self.runs == "device" or part == "head"
        return on_device and self.trains(part, kind)


@dataclass(frozen=True, slots=True)
class Bill:
    """What one sub-model costs in a round. Floats, since any x_k may be priced."""

    num_local_steps: int
    """Local steps of the round."""
    step_flops: float
    """FLOPs of one local step on the device."""
    frozen_flops: float
    """What of it is the forward through frozen blocks whose output may be kept: a row
    that has its state does without; 0 where none is kept."""
    server_step_flops: float
    """FLOPs of one local step on the server, for this client."""
    down_bits: float
    """Down in the round [bit]."""
    up_bits: float
    """Up in the round [bit]."""
    memory_bytes: float
    """Peak memory on the device, b of C3 [byte]."""
    install_bits: float
    """What must lie on the device before the first round [bit]."""

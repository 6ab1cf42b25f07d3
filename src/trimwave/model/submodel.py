"""A sub-model: what one client holds, trains and is sent in a round."""

from dataclasses import dataclass
from typing import Literal

Trained = Literal["full", "lora"]
"""What trains in a block: its weights, or LoRA factors on its attention."""

Runs = Literal["device", "split"]
"""Where blocks run: all on the device; or on the server, between the device's embedding
and head, activations and gradients crossing the link in every step."""


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
    trains_head: bool = False
    """LoRA factors on the LM head train too."""
    sends_frozen: bool = True
    """The frozen blocks travel down every round; False = they lie on the device."""
    weight_bits: int = 16
    """Number format of the frozen blocks on the device; below 16 = quantised."""
    compensation_rank: int = 0
    """Rank of the fixed low-rank terms that make up for quantisation."""
    runs: Runs = "device"
    """Where the blocks run."""
    num_local_steps: int | None = None
    """Local steps of the round; None = M of the recipe."""
    proximal_weight: float = 0.0
    """Weight of the squared distance to the received weights in the client's loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Bill:
    """What one sub-model costs in a round. Floats, since any x_k may be priced."""

    num_local_steps: int
    """Local steps of the round."""
    step_flops: float
    """FLOPs of one local step on the device."""
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

"""What a sub-model costs: FLOPs, bits and memory by the kept fraction, eq. (5), C3."""

from dataclasses import dataclass, replace

from trimwave.base.errors import InputError
from trimwave.base.units import IntArray
from trimwave.model.shape import ModelShape

# Bytes a trained parameter takes on a client: fp32 master, gradient, two Adam moments.
TRAIN_BYTES_PER_PARAM = 16
WEIGHT_BYTES_PER_PARAM = 2


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One client's work in one round as a function of the kept fraction x = 1 - beta.

    Linear in x throughout: ``fixed + emulator * x``.
    """

    adapter_flops: int
    """a: FLOPs per local step that pruning does not change, the LM head included."""
    emulator_flops: int
    """e_0: forward FLOPs per local step of the unpruned emulator."""
    num_local_steps: int
    """M."""
    adapter_bits: int
    """|w^A|: down every round, whatever the pruning [bit]."""
    update_bits: int
    """|Delta w^A|: up every round [bit]."""
    emulator_params: int
    """Parameters of the unpruned emulator."""
    bits_per_param: int = 16
    """Number format on the air."""
    fixed_memory_bytes: int = 0
    """b(beta) at beta = 1."""
    emulator_memory_bytes: int = 0
    """What the unpruned emulator adds to b(beta)."""
    overhead_down_bits: int = 0
    """Container header down, per package; 0 as in the letter."""
    overhead_up_bits: int = 0
    """Container header up, per package."""
    emulator_sizes: IntArray | None = None
    """Attainable emulator sizes in parameters, ascending; None = any size."""

    @property
    def emulator_bits(self) -> int:
        """|w^E|: the unpruned emulator on the air [bit]."""
        return self.emulator_params * self.bits_per_param

    def with_sizes(self, sizes: IntArray) -> "Workload":
        """Return the workload with the sizes that real heads and neurons allow."""
        if sizes[-1] != self.emulator_params:
            raise ValueError(
                f"largest size {sizes[-1]} is not the emulator's {self.emulator_params}"
            )
        return replace(self, emulator_sizes=sizes)

    @property
    def min_kept(self) -> float:
        """Smallest kept fraction that the floors of the pruning allow."""
        if self.emulator_sizes is None or not self.emulator_params:
            return 0.0
        return float(self.emulator_sizes[0] / self.emulator_params)


def workload_of(
    shape: ModelShape,
    *,
    split_index: int,
    batch_size: int,
    seq_len: int,
    num_local_steps: int,
    lora_params: int = 0,
    bits_per_param: int = 16,
    head_passes: int = 2,
    send_embeddings: bool = False,
) -> Workload:
    """Cost of a split model, eq. (5) and (8) with the defaults of docs/notation.md.

    Parameters
    ----------
    shape : ModelShape
        The model.
    split_index : int
        Blocks below it form the emulator, the others the adapter.
    batch_size, seq_len, num_local_steps : int
        N sequences of s tokens, M times a round.
    lora_params : int
        Parameters of the LoRA factors; 0 = the adapter's full weights train.
    bits_per_param : int
        Number format on the air [bit].
    head_passes : int
        Times that the LM head is paid per step: 2 = forward and the gradient of its
        input (physics), 1 = the accounting that fits the letter's Fig. 3.
    send_embeddings : bool
        Charge embeddings and head on the downlink too; False = pre-installed.

    Raises
    ------
    InputError
        If the split or a count is out of range.
    """
    if not 1 <= split_index < shape.num_blocks:
        raise InputError(
            f"`split_index` must be in [1, {shape.num_blocks - 1}] for {shape.name} "
            f"({shape.num_blocks} blocks), got {split_index}; set "
            f"`model.adapter_blocks` to 1 to {shape.num_blocks - 1}."
        )
    for name, value in (
        ("batch_size", batch_size),
        ("num_local_steps", num_local_steps),
    ):
        if value < 1:
            raise InputError(f"`train.{name}` must be at least 1, got {value}.")
    if not 1 <= seq_len <= shape.context_length:
        raise InputError(
            f"`train.seq_len` must be in [1, {shape.context_length}] for {shape.name}, "
            f"got {seq_len}."
        )
    tokens = batch_size * seq_len
    adapter_blocks = shape.num_blocks - split_index
    adapter_params = adapter_blocks * shape.block_params
    emulator_params = split_index * shape.block_params
    block_flops = shape.block_forward_flops(batch_size, seq_len)
    # Backward costs one forward for the inputs' gradient and one for the weights'.
    passes = 2 if lora_params else 3
    trained = lora_params or adapter_params
    down_params = adapter_params + lora_params
    down_params += shape.embedding_params if send_embeddings else 0
    return Workload(
        adapter_flops=passes * adapter_blocks * block_flops
        + 6 * lora_params * tokens
        + head_passes * shape.head_forward_flops(tokens),
        emulator_flops=split_index * block_flops,
        num_local_steps=num_local_steps,
        adapter_bits=down_params * bits_per_param,
        update_bits=trained * bits_per_param,
        emulator_params=emulator_params,
        bits_per_param=bits_per_param,
        fixed_memory_bytes=WEIGHT_BYTES_PER_PARAM
        * (shape.embedding_params + adapter_params)
        + TRAIN_BYTES_PER_PARAM * trained
        + activation_bytes(shape, adapter_blocks, batch_size, seq_len)
        + logit_bytes(shape, tokens),
        emulator_memory_bytes=WEIGHT_BYTES_PER_PARAM * emulator_params,
    )


def activation_bytes(
    shape: ModelShape, num_blocks: int, batch_size: int, seq_len: int
) -> int:
    """Activations kept for the gradient of some blocks (Korthikanti et al. 2022)."""
    tokens = batch_size * seq_len
    block = tokens * (34 * shape.hidden_size + 5 * shape.num_heads * seq_len)
    return num_blocks * block


def logit_bytes(shape: ModelShape, tokens: int) -> int:
    """Logits, softmax and their gradient in fp32."""
    return 12 * tokens * shape.vocab_size

"""What any sub-model of a model costs: FLOPs, bits and memory, eqs. (5), (8), C3.

One convention prices every method, so that they can be compared; `Workload` is the
linear piece of it that P1 is made of.
"""

from dataclasses import dataclass, replace

from trimwave.base.errors import InputError
from trimwave.base.units import BITS_PER_BYTE, IntArray
from trimwave.model.shape import ModelShape
from trimwave.model.submodel import Bill, Submodel, Trained
from trimwave.model.workload import (
    TRAIN_BYTES_PER_PARAM,
    WEIGHT_BYTES_PER_PARAM,
    Workload,
    activation_bytes,
    logit_bytes,
    workload_of,
)

QUANTISED_BITS = {4: 4 + 32 / 64, 8: 8 + 32 / 256, 16: 16.0}
"""Bits per stored weight by number format: blockwise scales in fp32 included."""


@dataclass(frozen=True, kw_only=True)
class Costs:
    """A model, where it is split, and what a local step is."""

    shape: ModelShape
    """The model."""
    split_index: int
    """Blocks below it form the emulator, the others the adapter."""
    batch_size: int
    """N."""
    seq_len: int
    """s."""
    num_local_steps: int
    """M."""
    lora_rank: int = 8
    """Rank of LoRA factors, wherever a method trains them."""
    bits_per_param: int = 16
    """Number format on the air."""
    head_passes: int = 2
    """Times that the LM head is paid per step: 2 = forward and the gradient of its
    input (physics), 1 = the accounting that fits the letter's Fig. 3."""
    send_embeddings: bool = False
    """Charge embeddings and head on the downlink too; False = pre-installed."""
    overhead_down_bits: int = 0
    """Container header down, per package; 0 as in the letter."""
    overhead_up_bits: int = 0
    """Container header up, per package."""
    emulator_sizes: IntArray | None = None
    """Emulator sizes that real heads and neurons allow, in parameters, ascending;
    None = any size."""

    def __post_init__(self) -> None:
        self.workload()  # raises for what is out of range

    @property
    def num_blocks(self) -> int:
        """Blocks of the whole model, L."""
        return self.shape.num_blocks

    @property
    def emulator_params(self) -> int:
        """Parameters of the unpruned emulator."""
        return self.split_index * self.shape.block_params

    @property
    def adapter_blocks(self) -> tuple[int, ...]:
        """Blocks from the split up."""
        return tuple(range(self.split_index, self.num_blocks))

    @property
    def all_blocks(self) -> tuple[int, ...]:
        """Every block."""
        return tuple(range(self.num_blocks))

    @property
    def tokens(self) -> int:
        """Tokens of a local step, N s."""
        return self.batch_size * self.seq_len

    @property
    def head_lora_params(self) -> int:
        """LoRA factors on the LM head."""
        return self.lora_rank * (self.shape.hidden_size + self.shape.vocab_size)

    def workload(self, trained: Trained = "full") -> Workload:
        """Cost of JCPBA's sub-models as a function of the kept fraction, eq. (5).

        Raises
        ------
        InputError
            If the split or a count is out of range for the model.
        """
        lora = self.shape.lora_params(self.lora_rank) if trained == "lora" else 0
        work = workload_of(
            self.shape,
            split_index=self.split_index,
            batch_size=self.batch_size,
            seq_len=self.seq_len,
            num_local_steps=self.num_local_steps,
            lora_params=len(self.adapter_blocks) * lora,
            bits_per_param=self.bits_per_param,
            head_passes=self.head_passes,
            send_embeddings=self.send_embeddings,
        )
        work = replace(
            work,
            overhead_down_bits=self.overhead_down_bits,
            overhead_up_bits=self.overhead_up_bits,
        )
        return work if self.emulator_sizes is None else work.with_sizes(self.sizes)

    @property
    def sizes(self) -> IntArray:
        """`emulator_sizes`, where there are any."""
        assert self.emulator_sizes is not None
        return self.emulator_sizes

    def pruned(self, kept_fraction: float, trained: Trained = "full") -> Submodel:
        """Return JCPBA's sub-model: pruned emulator, whole adapter that trains."""
        return Submodel(
            kept_fraction=kept_fraction,
            emulator_params=round(kept_fraction * self.emulator_params),
            trained_blocks=self.adapter_blocks,
            shared_blocks=self.adapter_blocks,
            trained=trained,
        )

    def whole(
        self, trained_blocks: tuple[int, ...], trained: Trained, **fields: object
    ) -> Submodel:
        """Return the unpruned model, some or all of whose blocks train.

        `fields` are those of `Submodel`; all blocks are shared unless they say others.
        """
        given: dict[str, object] = {"shared_blocks": self.all_blocks, **fields}
        return Submodel(
            kept_fraction=1.0,
            emulator_params=self.emulator_params,
            trained_blocks=trained_blocks,
            trained=trained,
            **given,  # type: ignore[arg-type]
        )

    def bill(self, submodel: Submodel) -> Bill:
        """Price a sub-model by the one convention of docs/notation.md.

        Forward through all that is held; from the lowest trained block up the gradient
        of the input costs a forward again, and so does that of trained weights; LoRA
        factors cost 6 FLOP per factor and token instead. Trained tensors that travel
        count once, whether the frozen ones travel beside them or not.

        Raises
        ------
        InputError
            If the sub-model names blocks that the model does not have.
        """
        self._check(submodel)
        if submodel.runs == "split":
            return self._split_bill(submodel)
        shape, tokens = self.shape, self.tokens
        forward = shape.block_forward_flops(self.batch_size, self.seq_len)
        lora = submodel.trained == "lora"
        per_block = shape.lora_params(self.lora_rank) if lora else shape.block_params
        num_trained = len(submodel.trained_blocks)
        differentiated = self.num_blocks - submodel.trained_blocks[0]
        held = submodel.kept_fraction * self.split_index + len(self.adapter_blocks)
        flops: float = (held + differentiated) * forward
        flops += (6 * per_block * tokens if lora else forward) * num_trained
        flops += self.head_passes * shape.head_forward_flops(tokens)
        compensation = self._compensation_params(submodel.compensation_rank)
        flops += 4 * compensation * tokens  # forward, and the gradient of the input
        trained_params = num_trained * per_block
        frozen_params = held * shape.block_params
        shared_params = len(submodel.shared_blocks) * per_block
        installed = 0 if self.send_embeddings else shape.embedding_params
        down_params: float = shared_params
        if submodel.sends_frozen:
            down_params = frozen_params + (shared_params if lora else 0)
            down_params += shape.embedding_params if self.send_embeddings else 0
        stored_bits = QUANTISED_BITS[submodel.weight_bits] * frozen_params
        stored_bits += 16 * compensation
        install_bits: float = installed * self.bits_per_param
        if not submodel.sends_frozen:
            install_bits += stored_bits
            if submodel.weight_bits == 16:
                install_bits = (installed + frozen_params) * self.bits_per_param
        return Bill(
            num_local_steps=submodel.num_local_steps or self.num_local_steps,
            step_flops=flops,
            server_step_flops=0.0,
            down_bits=down_params * self.bits_per_param + self.overhead_down_bits,
            up_bits=trained_params * self.bits_per_param + self.overhead_up_bits,
            memory_bytes=WEIGHT_BYTES_PER_PARAM * shape.embedding_params
            + stored_bits / BITS_PER_BYTE
            + TRAIN_BYTES_PER_PARAM * trained_params
            + activation_bytes(shape, differentiated, self.batch_size, self.seq_len)
            + logit_bytes(shape, tokens),
            install_bits=install_bits,
        )

    def _split_bill(self, submodel: Submodel) -> Bill:
        """Price blocks on the server: features up and down, gradients up, each step."""
        shape, tokens = self.shape, self.tokens
        features = tokens * shape.hidden_size
        head = self.head_lora_params if submodel.trains_head else 0
        lora = shape.lora_params(self.lora_rank) * len(submodel.trained_blocks)
        blocks = (
            2
            * self.num_blocks
            * shape.block_forward_flops(self.batch_size, self.seq_len)
        )
        steps = submodel.num_local_steps or self.num_local_steps
        bits = self.bits_per_param
        embedding_bits = 0 if self.send_embeddings else shape.embedding_params * bits
        sent = shape.embedding_params if self.send_embeddings else 0
        down_params = sent + head + steps * features
        return Bill(
            num_local_steps=steps,
            step_flops=self.head_passes * shape.head_forward_flops(tokens)
            + 6 * head * tokens,
            server_step_flops=blocks + 6 * lora * tokens,
            down_bits=down_params * bits + self.overhead_down_bits,
            up_bits=(head + 2 * steps * features) * bits + self.overhead_up_bits,
            memory_bytes=WEIGHT_BYTES_PER_PARAM
            * (shape.embedding_params + 3 * features)
            + TRAIN_BYTES_PER_PARAM * head
            + logit_bytes(shape, tokens),
            install_bits=embedding_bits,
        )

    def _compensation_params(self, rank: int) -> int:
        """Low-rank terms on every matrix of every block."""
        return rank * self.num_blocks * sum(map(sum, self.shape.matrix_sizes))

    def _check(self, submodel: Submodel) -> None:
        named = {*submodel.trained_blocks, *submodel.shared_blocks}
        unknown = sorted(named - set(self.all_blocks))
        if unknown or not submodel.trained_blocks:
            raise InputError(
                f"a sub-model trains at least one block of 0 to {self.num_blocks - 1} "
                f"of {self.shape.name}, got {submodel.trained_blocks} with shared "
                f"{submodel.shared_blocks}."
            )

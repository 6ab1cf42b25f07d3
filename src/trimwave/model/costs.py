"""What any sub-model of a model costs: FLOPs, bits and memory, eqs. (5), (8), C3.

One convention prices every method, so that they can be compared. Which tensors train,
travel and lie installed is the sub-model's to say (`submodel.py`); the bill counts
them. `Workload`, the linear piece that P1 is made of, is read off two bills.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.units import BITS_PER_BYTE, FloatArray, IntArray
from trimwave.model.shape import ModelShape
from trimwave.model.submodel import (
    Bill,
    LoraTargets,
    Submodel,
    Trained,
    num_scales,
)
from trimwave.model.tally import Tally, tallies_of
from trimwave.model.workload import Workload

TRAIN_BYTES_PER_PARAM = 16
"""What a trained parameter takes: fp32 master, gradient, two Adam moments."""

WEIGHT_BYTES_PER_PARAM = 2
"""What a parameter takes that only runs."""

QUANTISED_BITS = {4: 4 + 32 / 64, 8: 8 + 32 / 256, 16: 16.0}
"""Bits per stored weight by number format: blockwise scales in fp32 included."""

BUT_KEPT = attrgetter(
    *(
        one.name
        for one in fields(Submodel)
        if one.name not in ("kept_fraction", "emulator_params")
    )
)
"""What of a sub-model has one bill as a function of the kept fraction."""


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
    lora_alpha: float = 16.0
    """Their scaling; it costs nothing, and sub-models say it to who trains them."""
    lora_targets: LoraTargets = "attention"
    """Which matrices have them."""
    update_bits: int | None = None
    """Number format of what trains on the air: 8, or None = `bits_per_param`."""
    bits_per_param: int = 16
    """Number format on the air."""
    head_passes: int = 2
    """Times that the LM head is paid per step: 2 = forward and the gradient of its
    input (physics), 1 = the accounting that fits the letter's Fig. 3."""
    head_share: float = 1.0
    """Part of a step's positions that the LM head runs at: 1 = all, as in the letter;
    else those where answers are predicted, on average."""
    send_embeddings: bool = False
    """Charge embeddings and head on the downlink too; False = pre-installed."""
    streams_with: str | None = None
    """Numbers that states are kept in where frozen blocks run one by one before a
    round's steps; None = all are in memory."""
    overhead_down_bits: int = 0
    """Container header down, per package; 0 as in the letter."""
    overhead_up_bits: int = 0
    """Container header up, per package."""
    emulator_sizes: IntArray | None = None
    """Emulator sizes that real heads and neurons allow, in parameters, ascending;
    None = any size."""

    def __post_init__(self) -> None:
        shape = self.shape
        if not 1 <= self.split_index < shape.num_blocks:
            raise InputError(
                f"`split_index` must be in [1, {shape.num_blocks - 1}] for "
                f"{shape.name} ({shape.num_blocks} blocks), got {self.split_index}; "
                f"set `model.adapter_blocks` to 1 to {shape.num_blocks - 1}."
            )
        for name in ("batch_size", "num_local_steps"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"`train.{name}` must be at least 1, got {getattr(self, name)}."
                )
        if not 0 < self.head_share <= 1:
            raise InputError(f"`head_share` must be in (0, 1], got {self.head_share}.")
        if not 1 <= self.seq_len <= shape.context_length:
            raise InputError(
                f"`train.seq_len` must be in [1, {shape.context_length}] for "
                f"{shape.name}, got {self.seq_len}."
            )
        if self.update_bits == self.bits_per_param:
            object.__setattr__(self, "update_bits", None)
        if self.update_bits not in (None, 8):
            raise InputError(
                f"`train.update_bits` must be 8 or, as `model.bits_per_param` is, "
                f"{self.bits_per_param}, got {self.update_bits}."
            )
        if self.emulator_sizes is not None:
            self.workload()  # raises for sizes of another emulator

    @property
    def num_blocks(self) -> int:
        """Blocks of the whole model, L."""
        return self.shape.num_blocks

    @cached_property
    def emulator_params(self) -> int:
        """Parameters of the unpruned emulator."""
        return self.split_index * self.shape.block_params

    @cached_property
    def adapter_blocks(self) -> tuple[int, ...]:
        """Blocks from the split up."""
        return tuple(range(self.split_index, self.num_blocks))

    @property
    def all_blocks(self) -> tuple[int, ...]:
        """Every block."""
        return tuple(range(self.num_blocks))

    def top_blocks(self, count: int | None, what: str) -> tuple[int, ...]:
        """Return so many blocks from the top; all for None.

        Raises
        ------
        InputError
            If there are no so many; `what` says whose number it is.
        """
        if count is None:
            return self.all_blocks
        if not 1 <= count <= self.num_blocks:
            raise InputError(
                f"{what} must be in [1, {self.num_blocks}] for {self.shape.name}, got "
                f"{count}."
            )
        return self.all_blocks[-count:]

    @property
    def tokens(self) -> int:
        """Tokens of a local step, N s."""
        return self.batch_size * self.seq_len

    @property
    def head_tokens(self) -> float:
        """Positions of a local step that the LM head runs at."""
        return self.tokens if self.head_share == 1 else self.head_share * self.tokens

    @property
    def update(self) -> dict[str, Any]:
        """What a `Submodel` says of the LoRA factors and of how updates travel."""
        return {
            "update_bits": self.update_bits,
            "lora_rank": self.lora_rank,
            "lora_alpha": self.lora_alpha,
            "lora_targets": self.lora_targets,
        }

    def workload(self, trained: Trained = "full") -> Workload:
        """Cost of JCPBA's sub-models as a function of the kept fraction, eq. (5)."""
        factor_params = self.shape.lora_params(self.lora_rank, self.lora_targets)
        return self.workload_with(trained, factor_params)

    def workload_with(self, trained: Trained, factor_params: float) -> Workload:
        """Read the line off the bills of nothing kept and of everything kept.

        `factor_params` is how many LoRA factors a block has, where they train.
        """
        none = self._bill(self.pruned(0.0, trained), factor_params)
        whole = self._bill(self.pruned(1.0, trained), factor_params)
        work = Workload(
            adapter_flops=round(none.step_flops),
            emulator_flops=round(whole.step_flops - none.step_flops),
            num_local_steps=self.num_local_steps,
            adapter_bits=round(none.down_bits) - self.overhead_down_bits,
            update_bits=round(none.up_bits) - self.overhead_up_bits,
            emulator_params=self.emulator_params,
            bits_per_param=self.bits_per_param,
            fixed_memory_bytes=round(none.memory_bytes),
            emulator_memory_bytes=round(whole.memory_bytes - none.memory_bytes),
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
            **self.update,
        )

    def whole(
        self, trained_blocks: tuple[int, ...], trained: Trained, **fields: object
    ) -> Submodel:
        """Return the unpruned model, some or all of whose blocks train.

        `fields` are those of `Submodel`; all blocks are shared unless they say others.
        """
        given: dict[str, object] = {
            "shared_blocks": self.all_blocks,
            **self.update,
            **fields,
        }
        whole = Submodel(
            kept_fraction=1.0,
            emulator_params=self.emulator_params,
            trained_blocks=trained_blocks,
            trained=trained,
            **given,  # type: ignore[arg-type]
        )
        streams = self.streams_with is not None and not whole.sends_frozen
        return replace(whole, streams_prefix=streams and whole.caches_states)

    def bill(self, submodel: Submodel) -> Bill:
        """Price a sub-model by the one convention of docs/notation.md.

        Forward through all that is held; from the lowest trained block up the gradient
        of the input costs a forward again, and so does that of trained weights; LoRA
        factors cost 6 FLOP per factor and token instead. Where the blocks run on the
        server, it pays for them, and in every step features go up and down and a
        gradient goes up.

        Raises
        ------
        InputError
            If the sub-model names blocks that the model does not have.
        """
        self._check(submodel)
        return self._bill(submodel, self._factor_params(submodel))

    def learnt_bits(self, before: Submodel, after: Submodel) -> int:
        """Return what whoever joins a stage is sent of the one before, once [bit].

        What LoRA factors have learnt where the stage does not go on with them, without
        a container's header.
        """
        finished = {*before.trained_blocks} - {*before.going_on(after)}
        return len(finished) * self._factor_params(before) * self.bits_per_param

    def bills(self, submodels: Sequence[Submodel]) -> list[Bill]:
        """Price many; those that differ in what they keep alone, at once.

        Raises
        ------
        InputError
            As `bill`.
        """
        groups: dict[tuple[object, ...], list[int]] = {}
        for at, one in enumerate(submodels):
            groups.setdefault(BUT_KEPT(one), []).append(at)
        found: list[Bill | None] = [None] * len(submodels)
        for places in groups.values():
            first = submodels[places[0]]
            self._check(first)
            kept = np.array([submodels[at].kept_fraction for at in places])
            priced = self._bill(first, self._factor_params(first), kept)
            amounts = (getattr(priced, one.name) for one in fields(Bill))
            lists = (np.broadcast_to(one, kept.shape).tolist() for one in amounts)
            for at, *numbers in zip(places, *lists, strict=True):
                found[at] = Bill(*numbers)
        return [one for one in found if one is not None]

    def _bill(
        self,
        submodel: Submodel,
        factor_params: float,
        kept_fraction: FloatArray | None = None,
    ) -> Bill:
        """Price a sub-model whose blocks have `factor_params` LoRA factors each.

        With `kept_fraction`, [N], in place of its own a bill's numbers are [N] too.
        """
        shape, split = self.shape, submodel.runs == "split"
        tallies = tallies_of(submodel, self.split_index, self.num_blocks)
        x: Any = submodel.kept_fraction if kept_fraction is None else kept_fraction
        bits = self.bits_per_param
        held = tallies.held.blocks(x)
        installed = tallies.installed.blocks(x)
        steps = submodel.num_local_steps or self.num_local_steps
        block_flops, head_flops = self._step_flops(submodel, held, factor_params)
        features = self.tokens * shape.hidden_size if split else 0
        # Embeddings and head lie on every device unless they are charged as sent.
        embedding_bits = shape.embedding_params * bits
        sends_embeddings = self.send_embeddings and (split or submodel.sends_frozen)
        head_params = shape.head_lora_params(submodel.lora_rank)
        factors = factor_params, head_params
        up_params = self._params(tallies.up, x, factors)
        up_bits = up_params * bits
        down_bits = self._params(tallies.down, x, factors) * bits
        if submodel.update_bits is not None:
            up_bits = self._small_bits(submodel, tallies.up, factors)
            down_bits -= self._params(tallies.changed, 1.0, factors) * bits
            down_bits += self._small_bits(submodel, tallies.changed, factors)
        down_bits += steps * features * bits
        return Bill(
            num_local_steps=steps,
            step_flops=head_flops if split else block_flops + head_flops,
            frozen_flops=self._frozen_flops(submodel),
            server_step_flops=block_flops if split else 0.0,
            down_bits=down_bits
            + (embedding_bits if sends_embeddings else 0)
            + self.overhead_down_bits,
            up_bits=up_bits + 2 * steps * features * bits + self.overhead_up_bits,
            memory_bytes=self._memory_bytes(submodel, held, up_params),
            install_bits=(0 if self.send_embeddings else embedding_bits)
            + self._stored_bits(submodel, installed, on_air=True),
        )

    def _factor_params(self, submodel: Submodel) -> int:
        """LoRA factors of a block, where they train."""
        return self.shape.lora_params(submodel.lora_rank, submodel.lora_targets)

    def _params(
        self, tally: Tally, kept_fraction: float, factors: tuple[float, int]
    ) -> float:
        """Count the parameters in a tally; embeddings are not of them.

        `factors` are those of a block and those of the head.
        """
        of_block, of_head = factors
        count = tally.blocks(kept_fraction) * self.shape.block_params
        return count + tally.factors * of_block + (of_head if tally.head else 0)

    def _small_bits(
        self, submodel: Submodel, tally: Tally, factors: tuple[float, int]
    ) -> float:
        """Size of updates in 8 bits, their scales included; blocks are whole."""
        shape, rank = self.shape, submodel.lora_rank
        of_block, of_factors, of_head = (
            sum(map(num_scales, sizes))
            for sizes in (
                shape.tensors,
                shape.lora_tensors(rank, submodel.lora_targets),
                (rank * shape.hidden_size, rank * shape.vocab_size),
            )
        )
        scales = tally.blocks(1.0) * of_block + tally.factors * of_factors
        scales += of_head if tally.head else 0
        return 8 * (self._params(tally, 1.0, factors) + scales)

    def _step_flops(
        self, submodel: Submodel, held: float, factor_params: float
    ) -> tuple[float, float]:
        """FLOPs of a local step in the blocks, and in the LM head."""
        shape, tokens = self.shape, self.tokens
        forward = shape.block_forward_flops(self.batch_size, self.seq_len)
        reached = self.num_blocks - submodel.trained_blocks[0]
        per_block = (
            6 * factor_params * tokens if submodel.trained == "lora" else forward
        )
        blocks = (held + reached) * forward
        blocks += per_block * len(submodel.trained_blocks)
        # Forward through the low-rank terms, and the gradient of their input.
        blocks += 4 * self._compensation_params(submodel.compensation_rank) * tokens
        head = self.head_passes * shape.head_forward_flops(1)
        if submodel.trains_head:
            head += 6 * shape.head_lora_params(submodel.lora_rank)
        return blocks, self.head_tokens * head

    def _frozen_flops(self, submodel: Submodel) -> float:
        """FLOPs of a local step whose result is the same for a row in every round."""
        if not submodel.caches_states:
            return 0.0
        forward = self.shape.block_forward_flops(self.batch_size, self.seq_len)
        return submodel.trained_blocks[0] * forward

    def _memory_bytes(
        self, submodel: Submodel, held: float, trained_params: float
    ) -> float:
        """Peak memory on the device, b of C3 [byte]."""
        shape = self.shape
        need = (
            TRAIN_BYTES_PER_PARAM * trained_params
            + WEIGHT_BYTES_PER_PARAM * shape.embedding_params
            + shape.logit_bytes(1) * self.head_tokens
        )
        if submodel.runs == "split":  # features there and back, and a gradient
            features = self.tokens * shape.hidden_size
            return need + WEIGHT_BYTES_PER_PARAM * 3 * features
        reached = self.num_blocks - submodel.trained_blocks[0]
        activations = shape.activation_bytes(reached, self.batch_size, self.seq_len)
        in_memory = float(reached) if submodel.streams_prefix else held
        stored_bits = self._stored_bits(submodel, in_memory, on_air=False)
        need += stored_bits / BITS_PER_BYTE + activations
        if not submodel.streams_prefix:
            return need
        states_bytes, passing_bytes = self._streamed_bytes(submodel)
        # Arrays where many are priced at once.
        most: float = np.maximum(need + states_bytes, passing_bytes)
        return most

    def _streamed_bytes(self, submodel: Submodel) -> tuple[float, float]:
        """Return what states of a round take, and the pass that makes them [byte].

        In the pass there are the embedding, the block at work and the one that comes
        next, and all rows in fp32 with the one at work twice.
        """
        shape = self.shape
        steps = submodel.num_local_steps or self.num_local_steps
        tokens, kept_as = steps * self.tokens, self.streams_with or "fp32"
        block_bits = self._stored_bits(submodel, 2.0, on_air=False)
        passing_bytes = (
            WEIGHT_BYTES_PER_PARAM * shape.embedding_params
            + block_bits / BITS_PER_BYTE
            + shape.state_bytes(tokens + self.seq_len, "fp32")
        )
        return shape.state_bytes(tokens, kept_as), passing_bytes

    def _stored_bits(self, submodel: Submodel, blocks: float, on_air: bool) -> float:
        """Size of so many frozen blocks as a device stores them.

        Where they are not quantised they come as they are on the air, and take
        `WEIGHT_BYTES_PER_PARAM` in memory.
        """
        params = blocks * self.shape.block_params
        if submodel.weight_bits == 16 and on_air:
            return params * self.bits_per_param
        stored = QUANTISED_BITS[submodel.weight_bits] * params
        terms = 16 * self._compensation_params(submodel.compensation_rank)
        return stored + terms * (params > 0)

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

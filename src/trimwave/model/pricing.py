"""The bill of one sub-model: the one convention by which every method is priced."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trimwave.base.units import BITS_PER_BYTE, FloatArray
from trimwave.model.submodel import Bill, Submodel, num_scales
from trimwave.model.tally import Tally, tallies_of

if TYPE_CHECKING:
    from trimwave.model.costs import Costs

TRAIN_BYTES_PER_PARAM = 16
"""What a trained parameter takes: fp32 master, gradient, two Adam moments."""

RESIDUAL_BYTES_PER_PARAM = 4
"""What updates in 8 bits keep on the device of each parameter, in fp32."""

WEIGHT_BYTES_PER_PARAM = 2
"""What a parameter takes that only runs."""

QUANTISED_BITS = {4: 4 + 32 / 64, 8: 8 + 32 / 256, 16: 16.0}
"""Bits per stored weight by number format: blockwise scales in fp32 included."""


@dataclass(frozen=True)
class Pricing:
    """Prices a sub-model by the convention of docs/notation.md.

    Forward through all that is held; from the lowest trained block up the gradient of
    the input costs a forward again, and so does that of trained weights; LoRA factors
    cost 6 FLOP per factor and token instead. Where the blocks run on the server, it
    pays for them, and in every step features go up and down and a gradient goes up.
    """

    costs: "Costs"
    """The model, and what a local step is."""
    submodel: Submodel
    factor_params: float
    """LoRA factors of a block, where they train."""

    def bill(self, kept_fraction: FloatArray | None = None) -> Bill:
        """Return the bill.

        With `kept_fraction`, [N], in place of its own a bill's numbers are [N] too.
        """
        costs, submodel, shape = self.costs, self.submodel, self.costs.shape
        split = submodel.runs == "split"
        tallies = tallies_of(submodel, costs.split_index, costs.num_blocks)
        x: Any = submodel.kept_fraction if kept_fraction is None else kept_fraction
        bits = costs.bits_per_param
        held = tallies.held.blocks(x)
        installed = tallies.installed.blocks(x)
        steps = submodel.num_local_steps or costs.num_local_steps
        block_flops, head_flops = self._step_flops(held)
        features = costs.tokens * shape.hidden_size if split else 0
        # Embeddings and head lie on every device unless they are charged as sent.
        embedding_bits = shape.embedding_params * bits
        sends_embeddings = costs.send_embeddings and (split or submodel.sends_frozen)
        head_params = shape.head_lora_params(submodel.lora_rank)
        factors = self.factor_params, head_params
        up_params = self._params(tallies.up, x, factors)
        up_bits = up_params * bits
        down_bits = self._params(tallies.down, x, factors) * bits
        if submodel.update_bits is not None:
            up_bits = self._small_bits(tallies.up, factors)
            down_bits -= self._params(tallies.changed, 1.0, factors) * bits
            down_bits += self._small_bits(tallies.changed, factors)
        down_bits += steps * features * bits
        return Bill(
            num_local_steps=steps,
            step_flops=head_flops if split else block_flops + head_flops,
            frozen_flops=self._frozen_flops(),
            server_step_flops=block_flops if split else 0.0,
            down_bits=down_bits
            + (embedding_bits if sends_embeddings else 0)
            + costs.overhead_down_bits,
            up_bits=up_bits + 2 * steps * features * bits + costs.overhead_up_bits,
            memory_bytes=self._memory_bytes(held, up_params),
            install_bits=(0 if costs.send_embeddings else embedding_bits)
            + self._stored_bits(installed, on_air=True),
        )

    def _params(
        self, tally: Tally, kept_fraction: float, factors: tuple[float, int]
    ) -> float:
        """Count the parameters in a tally; embeddings are not of them.

        `factors` are those of a block and those of the head.
        """
        of_block, of_head = factors
        count = tally.blocks(kept_fraction) * self.costs.shape.block_params
        return count + tally.factors * of_block + (of_head if tally.head else 0)

    def _small_bits(self, tally: Tally, factors: tuple[float, int]) -> float:
        """Size of updates in 8 bits, their scales included; blocks are whole."""
        shape, rank = self.costs.shape, self.submodel.lora_rank
        of_block, of_factors, of_head = (
            sum(map(num_scales, sizes))
            for sizes in (
                shape.tensors,
                shape.lora_tensors(rank, self.submodel.lora_targets),
                (rank * shape.hidden_size, rank * shape.vocab_size),
            )
        )
        scales = tally.blocks(1.0) * of_block + tally.factors * of_factors
        scales += of_head if tally.head else 0
        return 8 * (self._params(tally, 1.0, factors) + scales)

    def _step_flops(self, held: float) -> tuple[float, float]:
        """FLOPs of a local step in the blocks, and in the LM head."""
        costs, submodel, shape = self.costs, self.submodel, self.costs.shape
        tokens = costs.tokens
        forward = shape.block_forward_flops(costs.batch_size, costs.seq_len)
        reached = costs.num_blocks - submodel.trained_blocks[0]
        per_block = float(forward)
        if submodel.trained == "lora":
            per_block = 6 * self.factor_params * tokens
        blocks = (held + reached) * forward
        blocks += per_block * len(submodel.trained_blocks)
        # Forward through the low-rank terms, and the gradient of their input.
        blocks += 4 * self._compensation_params() * tokens
        head = costs.head_passes * shape.head_forward_flops(1)
        if submodel.trains_head:
            head += 6 * shape.head_lora_params(submodel.lora_rank)
        return blocks, costs.head_tokens * head

    def _frozen_flops(self) -> float:
        """FLOPs of a local step whose result is the same for a row in every round."""
        costs, submodel = self.costs, self.submodel
        if not submodel.caches_states:
            return 0.0
        forward = costs.shape.block_forward_flops(costs.batch_size, costs.seq_len)
        return submodel.trained_blocks[0] * forward

    def _memory_bytes(self, held: float, trained_params: float) -> float:
        """Peak memory on the device, b of C3 [byte]."""
        costs, submodel, shape = self.costs, self.submodel, self.costs.shape
        small = submodel.update_bits is not None
        per_param = TRAIN_BYTES_PER_PARAM + small * RESIDUAL_BYTES_PER_PARAM
        # Logits at all positions: some batch has more answer tokens than the mean.
        need = (
            per_param * trained_params
            + WEIGHT_BYTES_PER_PARAM * shape.embedding_params
            + shape.logit_bytes(1) * costs.tokens
        )
        if submodel.runs == "split":  # features there and back, and a gradient
            features = costs.tokens * shape.hidden_size
            return need + WEIGHT_BYTES_PER_PARAM * 3 * features
        reached = costs.num_blocks - submodel.trained_blocks[0]
        activations = shape.activation_bytes(reached, costs.batch_size, costs.seq_len)
        in_memory = float(reached) if submodel.streams_prefix else held
        stored_bits = self._stored_bits(in_memory, on_air=False)
        need += stored_bits / BITS_PER_BYTE + activations
        if not submodel.streams_prefix:
            return need
        states_bytes, passing_bytes = self._streamed_bytes()
        # Arrays where many are priced at once.
        most: float = np.maximum(need + states_bytes, passing_bytes)
        return most

    def _streamed_bytes(self) -> tuple[float, float]:
        """Return what states of a round take, and the pass that makes them [byte].

        In the pass there are the embedding, the block at work and the one that comes
        next, and all rows in fp32 with the one at work twice.
        """
        costs, shape = self.costs, self.costs.shape
        steps = self.submodel.num_local_steps or costs.num_local_steps
        tokens, kept_as = steps * costs.tokens, costs.streams_with or "fp32"
        block_bits = self._stored_bits(2.0, on_air=False)
        passing_bytes = (
            WEIGHT_BYTES_PER_PARAM * shape.embedding_params
            + block_bits / BITS_PER_BYTE
            + shape.state_bytes(tokens + costs.seq_len, "fp32")
        )
        return shape.state_bytes(tokens, kept_as), passing_bytes

    def _stored_bits(self, blocks: float, on_air: bool) -> float:
        """Size of so many frozen blocks as a device stores them.

        Where they are not quantised they come as they are on the air, and take
        `WEIGHT_BYTES_PER_PARAM` in memory.
        """
        costs, submodel = self.costs, self.submodel
        params = blocks * costs.shape.block_params
        if submodel.weight_bits == 16 and on_air:
            return params * costs.bits_per_param
        stored = QUANTISED_BITS[submodel.weight_bits] * params
        terms = 16 * self._compensation_params()
        return stored + terms * (params > 0)

    def _compensation_params(self) -> int:
        """Low-rank terms on every matrix of every block."""
        costs, rank = self.costs, self.submodel.compensation_rank
        return rank * costs.num_blocks * sum(map(sum, costs.shape.matrix_sizes))

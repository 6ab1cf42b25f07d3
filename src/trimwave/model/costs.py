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
from trimwave.base.units import IntArray
from trimwave.model.pricing import Pricing
from trimwave.model.shape import ModelShape
from trimwave.model.submodel import Bill, LoraTargets, Submodel, Trained
from trimwave.model.workload import Workload

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
        none = Pricing(self, self.pruned(0.0, trained), factor_params).bill()
        whole = Pricing(self, self.pruned(1.0, trained), factor_params).bill()
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

        Raises
        ------
        InputError
            If the sub-model names blocks that the model does not have.
        """
        self._check(submodel)
        return Pricing(self, submodel, self._factor_params(submodel)).bill()

    def learnt_bits(self, before: Submodel, after: Submodel) -> int:
        """Return what whoever joins a stage is sent of the one before, once [bit].

        What was trained and does not go on, without a container's header.
        """
        finished = {*before.trained_blocks} - {*before.going_on(after)}
        params = self.shape.block_params
        if before.trained == "lora":
            params = self._factor_params(before)
        return len(finished) * params * self.bits_per_param

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
            priced = Pricing(self, first, self._factor_params(first)).bill(kept)
            amounts = (getattr(priced, one.name) for one in fields(Bill))
            lists = (np.broadcast_to(one, kept.shape).tolist() for one in amounts)
            for at, *numbers in zip(places, *lists, strict=True):
                found[at] = Bill(*numbers)
        return [one for one in found if one is not None]

    def _factor_params(self, submodel: Submodel) -> int:
        """LoRA factors of a block, where they train."""
        return self.shape.lora_params(submodel.lora_rank, submodel.lora_targets)

    def _check(self, submodel: Submodel) -> None:
        named = {*submodel.trained_blocks, *submodel.shared_blocks}
        unknown = sorted(named - set(self.all_blocks))
        if unknown or not submodel.trained_blocks:
            raise InputError(
                f"a sub-model trains at least one block of 0 to {self.num_blocks - 1} "
                f"of {self.shape.name}, got {submodel.trained_blocks} with shared "
                f"{submodel.shared_blocks}."
            )

"""How many tensors of a model a sub-model's rule is true of."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from trimwave.model.submodel import Submodel

Rule = Literal["is_held", "travels_down", "travels_up", "lies_installed"]
"""What may be true of a tensor, by the method of `Submodel` that says so."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How many tensors a rule is true of, by what they are."""

    pruned: int
    """Emulator blocks that lose heads and neurons, by their weights."""
    whole: int
    """Blocks that are whole, by their weights."""
    factors: int
    """Blocks by their LoRA factors."""
    head: bool
    """The LoRA factors on the head."""


@lru_cache(maxsize=1024)
def tally_of(
    submodel: Submodel, rule: Rule, split_index: int, num_blocks: int
) -> Tally:
    """Ask a sub-model about every tensor, once for all that differ in size alone."""
    holds = getattr(submodel, rule)
    pruned: Sequence[int] = range(split_index)
    whole: Sequence[int] = range(split_index, num_blocks)
    if submodel.kept_blocks is not None:
        pruned, whole = (), (*submodel.kept_blocks, *whole)
    has_factors = submodel.shared_blocks if submodel.trained == "lora" else ()
    return Tally(
        pruned=sum(holds(block, "weight") for block in pruned),
        whole=sum(holds(block, "weight") for block in whole),
        factors=sum(holds(block, "factor") for block in has_factors),
        head=submodel.trains_head and holds("head", "factor"),
    )

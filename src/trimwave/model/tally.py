"""How many tensors of a model each of a sub-model's rules is true of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from trimwave.model.submodel import Kind, Part, Submodel

Rule = Callable[[Part, Kind], bool]


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

    def blocks(self, kept_fraction: float) -> float:
        """Count the blocks by their weights, pruned ones by the part that is left.

        Any part of a pruned emulator may be priced, so that this is no whole number.
        """
        return kept_fraction * self.pruned + self.whole


@dataclass(frozen=True, slots=True)
class Tallies:
    """The tally of every rule that a bill asks about."""

    held: Tally
    """All that takes part in a step."""
    down: Tally
    """`Submodel.travels_down`."""
    changed: Tally
    """What of it differs from the original model: the last updates."""
    up: Tally
    """`Submodel.travels_up`."""
    installed: Tally
    """`Submodel.lies_installed`."""


def tallies_of(submodel: Submodel, split_index: int, num_blocks: int) -> Tallies:
    """Ask a sub-model about every tensor, once for all that differ in size alone."""
    alike = replace(submodel, kept_fraction=1.0, emulator_params=0)
    return _tallies_of(alike, split_index, num_blocks)


@lru_cache(maxsize=1024)
def _tallies_of(submodel: Submodel, split_index: int, num_blocks: int) -> Tallies:
    pruned: Sequence[int] = range(split_index)
    whole: Sequence[int] = range(split_index, num_blocks)
    if submodel.kept_blocks is not None:
        pruned, whole = (), (*submodel.kept_blocks, *whole)
    has_factors = submodel.shared_blocks if submodel.trained == "lora" else ()

    def tally(rule: Rule) -> Tally:
        return Tally(
            pruned=sum(rule(block, "weight") for block in pruned),
            whole=sum(rule(block, "weight") for block in whole),
            factors=sum(rule(block, "factor") for block in has_factors),
            head=submodel.trains_head and rule("head", "factor"),
        )

    return Tallies(
        held=tally(lambda part, kind: True),
        down=tally(submodel.travels_down),
        changed=tally(
            lambda part, kind: (
                submodel.travels_down(part, kind) and submodel.changes(part, kind)
            )
        ),
        up=tally(submodel.travels_up),
        installed=tally(submodel.lies_installed),
    )


forget_tallies = _tallies_of.cache_clear
"""Have every rule asked again; for tests that change one."""

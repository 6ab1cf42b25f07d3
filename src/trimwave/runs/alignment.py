"""When the server aligns the emulator, by the recipe and a method's scheme alone."""

from dataclasses import replace

from trimwave.decision.plan import Scheme
from trimwave.model.submodel import Submodel
from trimwave.recipe.config import AlignConfig


def alignment_of(recipe: AlignConfig, scheme: Scheme) -> AlignConfig | None:
    """Return the method's alignment with the recipe's optimiser, or else the recipe's.

    None where neither has any steps.
    """
    own = scheme.align
    config = recipe if own is None else replace(recipe, **vars(own))
    return config if config.initial_steps or config.every_rounds else None


def has_emulator(reference: Submodel) -> bool:
    """Whether there is something to align: frozen blocks that are sent."""
    return bool(reference.trained_blocks[0]) and not reference.is_installed_whole


def steps_after(config: AlignConfig, round_index: int) -> int:
    """Return how many steps are due after a round; 0 is before the first."""
    if round_index == 0:
        return config.initial_steps
    due = config.every_rounds and not round_index % config.every_rounds
    return config.steps if due else 0


def is_aligned_after(recipe: AlignConfig, scheme: Scheme, round_index: int) -> bool:
    """Whether the emulator is another one after a round."""
    config = alignment_of(recipe, scheme)
    if config is None or not has_emulator(scheme.submodel):
        return False
    return steps_after(config, round_index) > 0

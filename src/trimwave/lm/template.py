"""How a method's model is made up: which blocks are copies, where LoRA factors sit."""

import copy

import numpy as np
from torch import nn

from trimwave.base.streams import stream
from trimwave.lm.surgery.blocks import rebuilt
from trimwave.lm.surgery.split import SplitModel, block_sources
from trimwave.lm.train.tune import add_lora, head_with_lora
from trimwave.model.submodel import Submodel


def template_of(
    original: SplitModel,
    submodel: Submodel,
    seed: int,
    *,
    aligned: bool,
) -> SplitModel:
    """Return the model that a server changes, sharing what never changes.

    Parameters
    ----------
    original : SplitModel
        The unpruned model, frozen; not touched.
    submodel : Submodel
        The method's reference: the lowest of its trained blocks is the border below
        which nothing trains on a client; its LoRA factors are all clients'.
    seed : int
        The run's; decides the initial LoRA factors.
    aligned : bool
        The server trains the emulator too.
    """
    split = original.split_at(submodel.trained_blocks[0])
    lora, model_type = submodel.trained == "lora", original.shape.model_type

    def seed_of(*index: int) -> int:
        return int(stream(seed, "lora", *index).integers(2**31))

    if lora:
        adapter = rebuilt(split.adapter, {})
        add_lora(adapter, submodel, model_type, seed_of())
    else:
        adapter = copy.deepcopy(split.adapter).requires_grad_(True)
    split = split.with_adapter(adapter)
    if submodel.kept_blocks is not None:
        split = split.with_emulator(_some(split, submodel.kept_blocks))
    if aligned:
        own = block_sources(split.emulator, split.arch)
        if lora and not set(own).isdisjoint(submodel.shared_blocks):
            emulator = rebuilt(split.emulator, {})
            add_lora(emulator, submodel, model_type, seed_of(1))
        else:
            emulator = copy.deepcopy(split.emulator)
        split = split.with_emulator(emulator)
    if submodel.trains_head:
        head = head_with_lora(split.head, submodel, seed_of(2))
        split = split.with_head(head)
    return split


def _some(split: SplitModel, sources: tuple[int, ...]) -> nn.ModuleList:
    """Return some of the emulator's blocks, by their number in the whole model."""
    own = block_sources(split.emulator, split.arch)
    kept = np.isin(own, sources)
    return nn.ModuleList(
        block for block, keep in zip(split.emulator, kept, strict=True) if keep
    )

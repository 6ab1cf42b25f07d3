"""What a stage of a run has learnt: merged into the model, and kept in checkpoints."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from trimwave.lm.source.others import quiet_bitsandbytes
from trimwave.lm.surgery.blocks import rebuilt
from trimwave.lm.surgery.split import SplitModel, block_sources
from trimwave.lm.wire.ledger import Tensors
from trimwave.lm.wire.tensor_files import ALPHA, save_tensors
from trimwave.model.submodel import Submodel

ADAPTER_FILE = "adapter.safetensors"
"""In a checkpoint: what trains in its stage."""


def stage_file(folder: Path, stage: int) -> Path:
    """Return where a checkpoint has what a finished stage has learnt."""
    return folder / f"stage-{stage:02d}.safetensors"


def learnt_files(folder: Path) -> list[Path]:
    """Return the files with all that a checkpoint has learnt, in their order."""
    return [*sorted(folder.glob("stage-*.safetensors")), folder / ADAPTER_FILE]


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """What a finished stage has trained and the next does not go on with."""

    tensors: Tensors
    """By name."""
    lora_alpha: float
    """What LoRA factors in it are scaled by, times r."""
    num_bits: int
    """What it takes on the air [bit]."""


def save_stages(folder: Path, learnt: Sequence[Learnt]) -> None:
    """Write what finished stages have learnt."""
    for at, one in enumerate(learnt):
        said = {ALPHA: repr(one.lora_alpha)}
        save_tensors(stage_file(folder, at), one.tensors, said)


def going_on(before: Submodel, after: Submodel) -> tuple[int, ...]:
    """Return the blocks whose factors the next stage goes on with.

    They are the same in kind, size and place; where they are not, all of a stage's
    are merged, and those of the next begin anew.
    """

    def kind(one: Submodel) -> tuple[object, ...]:
        return one.trained, one.lora_rank, one.lora_alpha, one.lora_targets

    if kind(before) != kind(after):
        return ()
    return tuple(sorted({*before.trained_blocks} & {*after.trained_blocks}))


def merged(
    split: SplitModel, original: SplitModel, but: Collection[int] = ()
) -> SplitModel:
    """Return the original model with what was trained in its blocks, all frozen.

    Parameters
    ----------
    split : SplitModel
        What was trained: weights, or LoRA factors, whose products are added to the
        weights in their own numbers. Not touched.
    original : SplitModel
        The whole model that it was trained on; what did not change is shared with it.
    but : collection of int, optional
        Blocks that are left as they were.
    """
    plain = [*original.split_at(0).adapter]
    sources = block_sources(split.adapter, split.arch)
    with torch.no_grad():
        for number, trained in zip(sources, split.adapter, strict=True):
            if number not in but:
                plain[number] = _merged_block(plain[number], trained)
    whole = replace(original.split_at(0), adapter=nn.ModuleList(plain))
    return whole.split_at(original.split_index)


def _merged_block(plain: nn.Module, trained: nn.Module) -> nn.Module:
    with quiet_bitsandbytes():
        from peft.tuners.lora import LoraLayer

    layers = {
        path: layer
        for path, layer in trained.named_modules()
        if isinstance(layer, LoraLayer)
    }
    if not layers:
        return trained.requires_grad_(False)
    own = dict(plain.named_parameters())
    learnt = {}
    for path, layer in layers.items():
        weight = own[f"{path}.weight"]
        learnt[f"{path}.weight"] = nn.Parameter(
            weight + layer.get_delta_weight("default").to(weight),
            requires_grad=False,
        )
    return rebuilt(plain, learnt)

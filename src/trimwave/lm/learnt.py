"""What a stage of a run has learnt: merged into the model, and kept in checkpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from trimwave.lm.surgery.blocks import Architecture, rebuilt
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.wire.ledger import Tensors, bare, by_part, entry_of
from trimwave.lm.wire.tensor_files import ALPHA, save_tensors
from trimwave.model.submodel import Part

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


Factors = dict[tuple[Part, str], dict[str, Tensor]]
"""(block or head, path of the module) to ``lora_A`` [r, in] and ``lora_B`` [out, r]."""


def factors_of(tensors: Mapping[str, Tensor]) -> Factors:
    """Return the LoRA factors among trained tensors, by the module they sit on."""
    factors: Factors = {}
    for name, value in tensors.items():
        part, kind, path = entry_of(name)
        if kind == "factor":
            module, _, which = f".{path}".rpartition(".lora_")
            pair = factors.setdefault((part, module.lstrip(".")), {})
            pair[f"lora_{which.partition('.')[0]}"] = value
    return factors


def product(
    pair: Mapping[str, Tensor], lora_alpha: float, inputs_first: bool
) -> Tensor:
    """Return what a pair of factors adds to its weight, in float32.

    ``alpha / r * B A``, [out, in], or [in, out] where the weight has its inputs first.
    """
    low, high = pair["lora_A"].float(), pair["lora_B"].float()
    delta = (high @ low) * (lora_alpha / low.shape[0])
    return delta.T if inputs_first else delta


def with_learnt(
    stored: Mapping[str, Tensor], learnt: Learnt, arch: Architecture, air: torch.dtype
) -> Tensors:
    """Return weights as they are once a finished stage is merged into them.

    Parameters
    ----------
    stored : mapping
        Weights by name, of which some blocks may be left out.
    learnt : Learnt
        With its tensors as they arrived: LoRA factors, whose products are added, or
        weights, which take the place of those before.
    air : torch.dtype
        The numbers that weights are kept in: on a device, the air's. A sum has them at
        once, so that it is the same whether stages are merged together or in turn.
    """
    factors, found = factors_of(learnt.tensors), dict(stored)
    for name, value in stored.items():
        part, _, path = entry_of(bare(name))
        module, _, own = path.rpartition(".")
        if bare(name) in learnt.tensors:
            found[name] = learnt.tensors[bare(name)].to(value)
        elif own == "weight" and (part, module) in factors:
            pair = factors[part, module]
            delta = product(pair, learnt.lora_alpha, arch.has_inputs_first)
            whole = value.float() + delta.to(value.device)
            found[name] = whole.to(air).to(value.dtype)
    return found


def save_stages(folder: Path, learnt: Sequence[Learnt]) -> None:
    """Write what finished stages have learnt."""
    for at, one in enumerate(learnt):
        said = {ALPHA: repr(one.lora_alpha)}
        save_tensors(stage_file(folder, at), one.tensors, said)


def merged(original: SplitModel, learnt: Learnt) -> SplitModel:
    """Return the whole model with what a stage has learnt in its blocks, all frozen.

    Not touched; what did not change is shared with it.
    """
    plain = [*original.split_at(0).adapter]
    parts = {entry_of(name).part for name in learnt.tensors}
    before = {
        f"{number}.{path}": value.detach()
        for number, block in enumerate(plain)
        if number in parts
        for path, value in block.named_parameters()
    }
    after = with_learnt(before, learnt, original.arch, torch.float32)
    for part, block in by_part(after).items():
        weights = {path: nn.Parameter(one, False) for path, one in block.items()}
        plain[int(part)] = rebuilt(plain[int(part)], weights)
    whole = replace(original.split_at(0), adapter=nn.ModuleList(plain))
    return whole.split_at(original.split_index)

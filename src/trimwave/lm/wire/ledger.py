"""Which tensors a model has, by name, and which of them a sub-model's rule is true of.

A tensor is named ``<block>.<path>``, the number being the block's in the unpruned
model, or ``head.<path>``: the same down, up and in checkpoints. What is sent, what lies
installed and what comes back is decided by `model.submodel.Submodel`; here its rules
are applied to names.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, TypeVar

from torch import Tensor, nn

from trimwave.base.errors import InputError
from trimwave.lm.surgery.split import SplitModel, block_sources
from trimwave.model.submodel import Kind, Part

Tensors = dict[str, Tensor]

Value = TypeVar("Value")

HEAD: Part = "head"


class Entry(NamedTuple):
    """What a tensor's name says."""

    part: Part
    """Its block, or the LM head."""
    kind: Kind
    """Whether it is a LoRA factor."""
    path: str
    """Inside the block."""


@lru_cache(maxsize=1 << 16)
def entry_of(name: str) -> Entry:
    """Read a tensor's name.

    Raises
    ------
    InputError
        If it is no name of a tensor.
    """
    part, _, path = name.partition(".")
    if not path or not (part == HEAD or part.isdecimal()):
        raise InputError(
            f"the package holds a tensor `{name}`; names are <block>.<path> or "
            "head.<path>."
        )
    return Entry(
        HEAD if part == HEAD else int(part),
        "factor" if is_factor(path) else "weight",
        path,
    )


def bare(name: str) -> str:
    """Return what a weight is called where no LoRA factors sit on it."""
    return name.replace(".base_layer", "")


def is_factor(path: str) -> bool:
    """Whether a parameter is a LoRA factor."""
    return "lora_" in path


def where(
    tensors: Mapping[str, Value], rule: Callable[[Part, Kind], bool]
) -> dict[str, Value]:
    """Return those of named tensors that a sub-model's rule is true of."""
    chosen = {}
    for name, value in tensors.items():
        entry = entry_of(name)
        if rule(entry.part, entry.kind):
            chosen[name] = value
    return chosen


def by_part(tensors: Mapping[str, Tensor]) -> dict[Part, Tensors]:
    """Return tensors by part, and in it by path."""
    parts: dict[Part, Tensors] = {}
    for name, tensor in tensors.items():
        entry = entry_of(name)
        parts.setdefault(entry.part, {})[entry.path] = tensor
    return parts


def parameters_of(split: SplitModel) -> dict[str, nn.Parameter]:
    """Return the blocks' parameters, and the LoRA factors on the head, by name.

    Embeddings, the final norm and the head's own weight are not among them: every
    device has those.
    """
    return _of_blocks(split.emulator, split) | _above(split)


def tensors_of(split: SplitModel) -> Tensors:
    """Return the values of `parameters_of`: what a client has of the whole model."""
    return {name: value.detach() for name, value in parameters_of(split).items()}


def trained_parameters(split: SplitModel) -> dict[str, nn.Parameter]:
    """Return what trains, by name; the emulator below never does on a client."""
    return {
        name: parameter
        for name, parameter in _above(split).items()
        if parameter.requires_grad
    }


def _above(split: SplitModel) -> dict[str, nn.Parameter]:
    factors = {
        f"{HEAD}.{path}": parameter
        for path, parameter in split.head.named_parameters()
        if is_factor(path)
    }
    return _of_blocks(split.adapter, split) | factors


def _of_blocks(blocks: nn.ModuleList, split: SplitModel) -> dict[str, nn.Parameter]:
    sources = block_sources(blocks, split.arch)
    return {
        f"{source}.{path}": parameter
        for source, block in zip(sources, blocks, strict=True)
        for path, parameter in block.named_parameters()
    }

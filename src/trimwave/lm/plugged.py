"""Trained tensors of a checkpoint, plugged into the model that they were trained on.

The result is a model as transformers makes it: nothing of ours is left in it.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from trimwave.base.errors import RunError
from trimwave.lm.learnt import factors_of, learnt_files, product
from trimwave.lm.surgery.blocks import Architecture, architecture_of
from trimwave.lm.wire.ledger import HEAD, Tensors, entry_of, is_factor
from trimwave.lm.wire.tensor_files import ALPHA, metadata_of, read_tensors
from trimwave.model.submodel import Part
from trimwave.recipe.config import TrainConfig


def trained_tensors(path: Path) -> Tensors:
    """Read what a server saved, by name.

    Raises
    ------
    RunError
        If the file is damaged, or a name is not one of ours.
    """
    tensors = read_tensors(path)
    try:
        for name in tensors:
            entry_of(name)
    except ValueError as error:
        raise RunError(f"{path}: {error}") from None
    return tensors


def alpha_of(path: Path, config: TrainConfig) -> float:
    """Return what the LoRA factors in a server's file are scaled by, times r.

    Releases up to 0.3.0 did not write it: the recipe's then.
    """
    said = metadata_of(path).get(ALPHA)
    return config.lora_alpha if said is None else float(said)


def plug_in_all(model: Any, folder: Path, config: TrainConfig) -> bool:
    """Put all that a checkpoint has learnt into the original model, in place.

    Returns
    -------
    bool
        As `plug_in`.

    Raises
    ------
    RunError
        As `plug_in`.
    """
    untied = [
        plug_in(model, trained_tensors(path), alpha_of(path, config))
        for path in learnt_files(folder)
    ]
    return any(untied)


def plug_in(model: Any, tensors: Mapping[str, Tensor], lora_alpha: float) -> bool:
    """Put trained weights, and the products of LoRA factors, into a model, in place.

    Parameters
    ----------
    model : PreTrainedModel
        The original one.
    tensors : mapping
        As `trained_tensors` returns them.
    lora_alpha : float
        LoRA factors are scaled by it over their rank.

    Returns
    -------
    bool
        Whether a head that was tied to the embedding had to be untied, since factors
        were trained on it.

    Raises
    ------
    RunError
        If the tensors are not those of this model.
    """
    arch = architecture_of(model)
    with torch.no_grad():
        for name, value in tensors.items():
            part, _, path = entry_of(name)
            if not is_factor(path):
                _parameter(model, arch, part, path, value.shape).copy_(value)
        untied = False
        for (part, path), pair in factors_of(tensors).items():
            if part == HEAD:
                untied = _untie_head(model, arch)
            module = _module(model, arch, part, path)
            delta = product(pair, lora_alpha, isinstance(module, Conv1D))
            if module.weight.shape != delta.shape:
                raise RunError(f"the LoRA factors of `{part}.{path}` do not fit.")
            module.weight.add_(delta.to(module.weight))
    return untied


def _module(model: Any, arch: Architecture, part: Part, path: str) -> Any:
    if part == HEAD:
        return getattr(model, arch.head)
    blocks = model.get_submodule(f"{arch.base}.{arch.blocks}")
    try:
        return blocks[int(part)].get_submodule(path)
    except (AttributeError, IndexError):
        raise RunError(f"the model has no `{path}` in block {part}.") from None


def _parameter(
    model: Any, arch: Architecture, part: Part, path: str, shape: torch.Size
) -> Tensor:
    owner, _, name = path.rpartition(".")
    found = getattr(_module(model, arch, part, owner), name, None)
    if found is None or found.shape != shape:
        raise RunError(
            f"the model's `{part}.{path}` has another shape, or is not there."
        )
    value: Tensor = found
    return value


def _untie_head(model: Any, arch: Architecture) -> bool:
    """Give the head a weight of its own, where it has the embedding's."""
    head = getattr(model, arch.head)
    embedding = getattr(getattr(model, arch.base), arch.embedding)
    if head.weight is not embedding.weight:
        return False
    head.weight = nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    model.config = copy.copy(model.config)
    model.config.tie_word_embeddings = False
    return True

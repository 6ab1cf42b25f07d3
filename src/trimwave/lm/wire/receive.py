"""A client's model, from a package and what lies on the device."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from trimwave.base.errors import InputError
from trimwave.lm.surgery.blocks import (
    Architecture,
    correct_widths,
    cut_width,
    rebuilt,
)
from trimwave.lm.surgery.split import SplitModel, block_sources
from trimwave.lm.wire.ledger import HEAD, Tensors, by_part, is_factor
from trimwave.model.shape import ModelShape
from trimwave.model.submodel import Kind, Part


def receive(
    split: SplitModel,
    package: Mapping[str, Tensor],
    dtype: torch.dtype,
    trains: Callable[[Part, Kind], bool] | None = None,
) -> SplitModel:
    """Build a client's model from a package and what the client has already.

    Frozen tensors of the right type and device are not copied.

    Parameters
    ----------
    split : SplitModel
        Embeddings, norm and head are taken from it, and how its blocks are made up
        (with or without LoRA); its own weights are not touched.
    package : dict
        What arrived, and what lay on the device before.
    dtype : torch.dtype
        Type to compute in.
    trains : callable, optional
        Which tensors train, and so are copied; those that do in `split` if left out.

    Raises
    ------
    InputError
        If a tensor is missing or does not fit.
    """
    parts = by_part(_moved(package, split, dtype))
    factors = parts.pop(HEAD, {})
    border, sources = split.split_index, block_sources(split.adapter, split.arch)
    numbers = sorted(int(part) for part in parts)
    if [number for number in numbers if number >= border] != sources:
        raise InputError(
            f"the package holds blocks {numbers}; the model has {sources} from the "
            f"split at {border} up; server and client must split the same model alike."
        )
    emulator = [
        _frozen_block(split, number, parts[number])
        for number in numbers
        if number < border
    ]
    adapter = [
        _fill(own, dict(own.named_parameters()), split, number, parts[number], trains)
        for number, own in zip(sources, split.adapter, strict=True)
    ]
    received = replace(
        split, emulator=nn.ModuleList(emulator), adapter=nn.ModuleList(adapter)
    )
    if not factors:
        return received
    return received.with_head(_received_head(split.head, factors, trains))


def received_block(
    split: SplitModel, number: int, tensors: Mapping[str, Tensor], dtype: torch.dtype
) -> nn.Module:
    """Build one frozen block of what arrived.

    Parameters
    ----------
    tensors : mapping
        By their path in the block.

    Raises
    ------
    InputError
        If a tensor is missing or does not fit.
    """
    return _frozen_block(split, number, _moved(tensors, split, dtype))


def _moved(
    tensors: Mapping[str, Tensor], split: SplitModel, dtype: torch.dtype
) -> Tensors:
    device = split.device
    return {name: tensor.to(device, dtype) for name, tensor in tensors.items()}


def _frozen_block(split: SplitModel, number: int, tensors: Tensors) -> nn.Module:
    return _fill(*_template(split, number, tensors), split, number, tensors)


def _received_head(
    head: nn.Module,
    factors: Tensors,
    trains: Callable[[Part, Kind], bool] | None,
) -> nn.Module:
    """Return the head with LoRA factors of its own; its weight is shared."""
    own = {path: old for path, old in head.named_parameters() if is_factor(path)}
    _require_same_names(HEAD, factors, own)
    return rebuilt(head, _parameters(HEAD, own, factors, trains))


def _template(
    split: SplitModel, number: int, tensors: Tensors
) -> tuple[nn.Module, dict[str, nn.Parameter]]:
    """Return a block made up as its tensors show, with LoRA factors or bare.

    Its parameters come with it, since walking a module for them takes a while.
    """
    if any(is_factor(path) for path in tensors):
        own = block_sources(split.emulator, split.arch)
        if number in own:
            block = split.emulator[own.index(number)]
            return block, dict(block.named_parameters())
    if number not in split.skeletons:
        block_class: Any = type(split.adapter[0])
        with torch.device("meta"):
            bare = block_class(split.shell.config, layer_idx=number)
        bare.requires_grad_(False)
        split.skeletons[number] = bare, dict(bare.named_parameters())
    return split.skeletons[number]


def _fill(
    template: nn.Module,
    own: Mapping[str, nn.Parameter],
    split: SplitModel,
    number: int,
    tensors: Tensors,
    trains: Callable[[Part, Kind], bool] | None = None,
) -> nn.Module:
    """Return a block with the tensors given, of the widths that they show."""
    _require_same_names(number, tensors, own)
    if any(tensors[path].ndim != old.ndim for path, old in own.items()):
        raise InputError(f"package part {number} does not fit: axes are missing.")
    num_groups, num_neurons = _widths(split.arch, split.shape, tensors)
    cuts = {cut.path: cut for cut in split.arch.cuts}
    for path, old in own.items():
        wanted = list(old.shape)
        if path in cuts:
            axis, kind = cuts[path].axis, cuts[path].kind
            wanted[axis] = cut_width(kind, split.shape, num_groups, num_neurons)
        if list(tensors[path].shape) != wanted:
            raise InputError(
                f"package part {number} does not fit: size of `{path}` is "
                f"{list(tensors[path].shape)}, expected {wanted}."
            )
    block = rebuilt(template, _parameters(number, own, tensors, trains))
    whole = (split.shape.num_kv_heads, split.shape.intermediate_size)
    if (num_groups, num_neurons) != whole:
        correct_widths(block, split.arch, split.shape, num_groups, num_neurons)
    return block


def _parameters(
    part: Part,
    own: Mapping[str, nn.Parameter],
    tensors: Tensors,
    trains: Callable[[Part, Kind], bool] | None,
) -> dict[str, nn.Parameter]:
    """Return parameters of a client's own where they train, shared elsewhere.

    What trains changes in place, and the server may be in this process.
    """
    parameters = {}
    for path, tensor in tensors.items():
        trained = own[path].requires_grad
        if trains is not None:
            trained = trains(part, "factor" if is_factor(path) else "weight")
        value = tensor.clone() if trained else tensor
        parameters[path] = nn.Parameter(value, requires_grad=trained)
    return parameters


def _require_same_names(
    part: Part, tensors: Tensors, own: Mapping[str, object]
) -> None:
    odd = sorted(tensors.keys() ^ own.keys())
    if odd:
        raise InputError(f"package part {part} does not fit: tensor `{odd[0]}`.")


def _widths(arch: Architecture, shape: ModelShape, tensors: Tensors) -> tuple[int, int]:
    """Return how many groups and neurons a block's tensors are for."""
    sizes = []
    for path in (f"{arch.attention_output}.weight", f"{arch.mlp_output}.weight"):
        (axis,) = (cut.axis for cut in arch.cuts if cut.path == path)
        beside_factors = path.replace(".weight", ".base_layer.weight")
        name = path if path in tensors else beside_factors
        sizes.append(tensors[name].shape[axis])
    width, neurons = sizes
    groups = width // (shape.head_dim * shape.num_heads // shape.num_kv_heads)
    if groups > shape.num_kv_heads or neurons > shape.intermediate_size:
        raise InputError(
            f"the package holds a block of {groups} groups and {neurons} neurons, the "
            f"model has {shape.num_kv_heads} and {shape.intermediate_size}."
        )
    return groups, neurons

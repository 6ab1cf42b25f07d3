"""What travels: the sub-model down and the update up, as safetensors.

A package is a flat dict of named tensors; ``emulator.<block>.<path>``,
``adapter.<block>.<path>`` and ``head.0.<path>``, block numbers being those of the
unpruned model. Its
header is padded to a constant length, so that its size is linear in the number
of parameters and the latency model can charge every byte of it.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from trimwave.base.errors import InputError
from trimwave.base.units import BITS_PER_BYTE
from trimwave.lm.surgery.blocks import Architecture, cut_block
from trimwave.lm.surgery.split import SplitModel, block_sources
from trimwave.model.shape import ModelShape

Tensors = dict[str, Tensor]

Module = TypeVar("Module", bound=nn.Module)

PARTS = ("emulator", "adapter", "head")

LENGTH_BYTES = 8
"""safetensors starts with the header's length."""

AIR_DTYPES = {16: torch.float16, 32: torch.float32}
"""Number format on the air by bits per parameter."""


@dataclass(frozen=True, slots=True)
class Wire:
    """How tensors become bytes."""

    dtype: torch.dtype
    """Number format on the air."""
    header_bytes: int
    """Length that every header is padded to."""

    @classmethod
    def fitting(cls, largest: Mapping[str, Tensor], bits_per_param: int) -> "Wire":
        """Return the wire whose header fits a package's largest form."""
        dtype = AIR_DTYPES[bits_per_param]
        empty = {
            name: torch.empty(tensor.shape, dtype=dtype)
            for name, tensor in largest.items()
        }
        return cls(dtype, _header_length(save(empty)))

    def round(self, tensors: Mapping[str, Tensor]) -> Tensors:
        """Return the tensors as they arrive: in the air's number format, on the CPU."""
        return {
            name: tensor.detach().to("cpu", self.dtype)
            for name, tensor in tensors.items()
        }

    def encode(self, tensors: Mapping[str, Tensor]) -> bytes:
        """Serialise a package, header padded with spaces as the format allows."""
        data = save({name: t.contiguous() for name, t in self.round(tensors).items()})
        length = _header_length(data)
        if length > self.header_bytes:
            raise ValueError(f"header of {length} bytes exceeds {self.header_bytes}")
        header = data[LENGTH_BYTES : LENGTH_BYTES + length].ljust(self.header_bytes)
        start = self.header_bytes.to_bytes(LENGTH_BYTES, "little")
        return start + header + data[LENGTH_BYTES + length :]

    def decode(self, data: bytes) -> Tensors:
        """Read what `encode` wrote."""
        tensors: Tensors = load(data)
        return tensors

    @property
    def overhead_bits(self) -> int:
        """Bits of a package that are no parameters."""
        return (LENGTH_BYTES + self.header_bytes) * BITS_PER_BYTE

    def num_bits(self, tensors: Mapping[str, Tensor]) -> int:
        """Size of a package on the wire, without encoding it."""
        params = sum(tensor.numel() for tensor in tensors.values())
        return self.overhead_bits + params * self.dtype.itemsize * BITS_PER_BYTE


def _header_length(data: bytes) -> int:
    return int.from_bytes(data[:LENGTH_BYTES], "little")


def named_tensors(prefix: str, blocks: nn.ModuleList, arch: Architecture) -> Tensors:
    """Name the parameters of blocks as a package does."""
    tensors = {}
    for source, block in zip(block_sources(blocks, arch), blocks, strict=True):
        for path, parameter in block.named_parameters():
            tensors[f"{prefix}.{source}.{path}"] = parameter.detach()
    return tensors


def package_of(split: SplitModel) -> Tensors:
    """Return emulator, adapter and what trains on the head, eq. (2)."""
    return {
        **named_tensors("emulator", split.emulator, split.arch),
        **named_tensors("adapter", split.adapter, split.arch),
        **head_tensors(split),
    }


def head_tensors(split: SplitModel) -> Tensors:
    """Name the LoRA factors on the head as a package does; there may be none."""
    return {
        f"head.0.{path}": parameter.detach()
        for path, parameter in split.head.named_parameters()
        if is_factor(path)
    }


def is_factor(path: str) -> bool:
    """Whether a parameter is a LoRA factor."""
    return "lora_" in path


def receive(
    split: SplitModel, package: Mapping[str, Tensor], dtype: torch.dtype
) -> SplitModel:
    """Build a client's model from a package and what the client has already.

    Parameters
    ----------
    split : SplitModel
        Embeddings, norm and head are taken from it, and how its blocks are made up
        (with or without LoRA); its own blocks are not touched.
    package : dict
        What arrived, and what lay on the device before.
    dtype : torch.dtype
        Type to compute in.

    Raises
    ------
    InputError
        If a tensor is missing or does not fit.
    """
    device = next(split.adapter.parameters()).device
    groups: dict[str, dict[int, Tensors]] = {part: {} for part in PARTS}
    for name, tensor in package.items():
        part, source, path = _parts(name)
        groups[part].setdefault(source, {})[path] = tensor.to(device, dtype)
    emulator = nn.ModuleList(
        _fill(_emulator_block(split, source, tensors), tensors, f"emulator.{source}")
        for source, tensors in sorted(groups["emulator"].items())
    )
    sources = block_sources(split.adapter, split.arch)
    if sorted(groups["adapter"]) != sources:
        raise InputError(
            f"the package holds adapter blocks {sorted(groups['adapter'])}, the model "
            f"has {sources}; server and client must split the same model alike."
        )
    adapter = nn.ModuleList()
    for number, own in zip(sources, split.adapter, strict=True):
        tensors = _own_copies(groups["adapter"][number], own)
        adapter.append(_fill(_meta_copy(own), tensors, f"adapter.{number}"))
    for new, old in zip(adapter.parameters(), split.adapter.parameters(), strict=True):
        new.requires_grad_(old.requires_grad)
    received = split.with_emulator(emulator.eval()).with_adapter(adapter)
    if not groups["head"]:
        return received
    return received.with_head(_received_head(split.head, groups["head"]))


def _own_copies(tensors: Tensors, template: nn.Module) -> Tensors:
    """Copy what trains: it changes in place, and the server may be in this process."""
    trained = {
        path for path, value in template.named_parameters() if value.requires_grad
    }
    return {
        path: tensor.clone() if path in trained else tensor
        for path, tensor in tensors.items()
    }


def _received_head(head: nn.Module, parts: Mapping[int, Tensors]) -> nn.Module:
    """Return the head with LoRA factors of its own; its weight is shared."""
    received, factors = share_frozen(head), parts.get(0, {})
    wanted = {path for path, _ in received.named_parameters() if is_factor(path)}
    if parts.keys() != {0}:
        raise InputError(
            f"the package holds parts {sorted(parts)} of a head; all of it is head.0."
        )
    if factors.keys() != wanted:
        odd = sorted(factors.keys() ^ wanted)[0]
        raise InputError(f"package part head.0 does not fit: tensor `{odd}`.")
    received.load_state_dict(_own_copies(factors, head), strict=False, assign=True)
    return received


def share_frozen(module: Module) -> Module:
    """Copy a module with parameters of its own where they train, shared elsewhere."""
    memo: dict[int, Any] = {
        id(parameter): parameter
        for parameter in module.parameters()
        if not parameter.requires_grad
    }
    return copy.deepcopy(module, memo | _configs_of(module))


def _parts(name: str) -> tuple[str, int, str]:
    """Split a tensor's name into part, block number and path."""
    part, _, rest = name.partition(".")
    source, _, path = rest.partition(".")
    if part not in PARTS or not source.isdecimal() or not path:
        raise InputError(
            f"the package holds a tensor `{name}`; names are <part>.<block>.<path> "
            f"with a part of {', '.join(PARTS)}."
        )
    return part, int(source), path


def _emulator_block(split: SplitModel, source: int, tensors: Tensors) -> nn.Module:
    """Return an empty block as its tensors show: pruned, or with LoRA factors."""
    if any(is_factor(path) for path in tensors):
        for block in split.emulator:
            if block_sources(nn.ModuleList([block]), split.arch) == [source]:
                return _meta_copy(block)
    return _bare_block(split, source, tensors)


def _bare_block(split: SplitModel, source: int, tensors: Tensors) -> nn.Module:
    """Return an empty block of the widths that its tensors show."""
    if source >= split.split_index:
        raise InputError(
            f"the package holds emulator block {source}, the model's emulator ends "
            f"before block {split.split_index}; split the same model alike."
        )
    block_class: Any = type(split.adapter[0])
    with torch.device("meta"):
        block = block_class(split.shell.config, layer_idx=source)
    groups, neurons = _widths(split.arch, split.shape, tensors)
    return cut_block(
        block, split.arch, split.shape, np.arange(groups), np.arange(neurons)
    )


def _widths(arch: Architecture, shape: ModelShape, tensors: Tensors) -> tuple[int, int]:
    axes = {cut.path: cut.axis for cut in arch.cuts}
    attention, mlp = f"{arch.attention_output}.weight", f"{arch.mlp_output}.weight"
    try:
        width = tensors[attention].shape[axes[attention]]
        neurons = tensors[mlp].shape[axes[mlp]]
    except KeyError as missing:
        raise InputError(f"the package lacks tensor {missing}.") from None
    groups = width // (shape.head_dim * shape.num_heads // shape.num_kv_heads)
    if groups > shape.num_kv_heads or neurons > shape.intermediate_size:
        raise InputError(
            f"the package holds a block of {groups} groups and {neurons} neurons, the "
            f"model has {shape.num_kv_heads} and {shape.intermediate_size}."
        )
    return groups, neurons


def _meta_copy(block: nn.Module) -> nn.Module:
    """Copy a block's structure without its weights."""
    memo: dict[int, Any] = {
        id(parameter): nn.Parameter(
            torch.empty_like(parameter, device="meta"), parameter.requires_grad
        )
        for parameter in block.parameters()
    }
    return copy.deepcopy(block, memo | _configs_of(block))


def _configs_of(block: nn.Module) -> dict[int, Any]:
    """Keep a model's config one object when a block of it is copied."""
    return {
        id(module.config): module.config
        for module in block.modules()
        if hasattr(module, "config")
    }


def _fill(block: nn.Module, tensors: Tensors, where: str) -> nn.Module:
    try:
        block.load_state_dict(tensors, strict=True, assign=True)
    except RuntimeError as error:
        raise InputError(f"package part {where} does not fit: {error}") from None
    return block

"""What travels: the sub-model down and the update up, as safetensors.

A package is a flat dict of tensors, named as in `ledger.py`. Its header is padded to a
constant length, so that its size is linear in the number of parameters and the latency
model can charge every byte of it.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from trimwave.base.errors import InputError
from trimwave.base.units import BITS_PER_BYTE
from trimwave.lm.surgery.blocks import (
    Architecture,
    correct_widths,
    cut_width,
    rebuilt,
)
from trimwave.lm.surgery.split import SplitModel, block_sources
from trimwave.lm.wire.ledger import HEAD, Tensors, by_part, is_factor
from trimwave.lm.wire.small import SCALES, crossed, packed, unpacked
from trimwave.model.shape import ModelShape
from trimwave.model.submodel import Kind, Part, num_scales

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
    small: frozenset[str] = frozenset()
    """Names of the tensors that travel in 8 bits instead (`small.py`)."""

    @classmethod
    def fitting(
        cls,
        largest: Mapping[str, Tensor],
        bits_per_param: int,
        small: Collection[str] = (),
    ) -> "Wire":
        """Return the wire whose header fits a package's largest form."""
        wire = cls(AIR_DTYPES[bits_per_param], 0, frozenset(small))
        empty = {
            name: torch.empty(
                one.shape, dtype=torch.int8 if name in wire.small else wire.dtype
            )
            for name, one in largest.items()
        }
        if wire.small:
            count = sum(num_scales(largest[name].numel()) for name in wire.small)
            empty[SCALES] = torch.empty(count, dtype=torch.uint8)
        return replace(wire, header_bytes=_header_length(save(empty)))

    def crossed(self, tensor: Tensor) -> Tensor:
        """Return the value that a tensor of the air's numbers has at the other end."""
        return tensor.detach().to(self.dtype).to(tensor.dtype)

    def round(self, tensors: Mapping[str, Tensor]) -> Tensors:
        """Return the tensors as they arrive: in the air's number format, on the CPU.

        Those in 8 bits arrive as float32.
        """
        return {
            name: crossed(tensor.detach().to("cpu", torch.float32))
            if name in self.small
            else tensor.detach().to("cpu", self.dtype)
            for name, tensor in tensors.items()
        }

    def _packed(self, tensors: Mapping[str, Tensor]) -> Tensors:
        """Return the tensors of a package's file."""
        small = {name: one for name, one in tensors.items() if name in self.small}
        others = {name: one for name, one in tensors.items() if name not in small}
        return packed(small) | self.round(others)

    def encode(self, tensors: Mapping[str, Tensor]) -> bytes:
        """Serialise a package, header padded with spaces as the format allows."""
        data = save({name: t.contiguous() for name, t in self._packed(tensors).items()})
        length = _header_length(data)
        if length > self.header_bytes:
            raise ValueError(f"header of {length} bytes exceeds {self.header_bytes}")
        header = data[LENGTH_BYTES : LENGTH_BYTES + length].ljust(self.header_bytes)
        start = self.header_bytes.to_bytes(LENGTH_BYTES, "little")
        return start + header + data[LENGTH_BYTES + length :]

    def decode(self, data: bytes) -> Tensors:
        """Read what `encode` wrote.

        Raises
        ------
        ValueError
            If it is not whole.
        """
        return unpacked(load(data))

    @property
    def overhead_bits(self) -> int:
        """Bits of a package that are no parameters."""
        return (LENGTH_BYTES + self.header_bytes) * BITS_PER_BYTE

    def num_bits(self, tensors: Mapping[str, Tensor]) -> int:
        """Size of a package on the wire, without encoding it."""
        num_bytes = 0
        for name, tensor in tensors.items():
            count = tensor.numel()
            if name in self.small:
                num_bytes += count + num_scales(count)
            else:
                num_bytes += count * self.dtype.itemsize
        return self.overhead_bits + num_bytes * BITS_PER_BYTE


def _header_length(data: bytes) -> int:
    return int.from_bytes(data[:LENGTH_BYTES], "little")


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
    device = next(split.adapter.parameters()).device
    moved = {name: tensor.to(device, dtype) for name, tensor in package.items()}
    parts = by_part(moved)
    factors = parts.pop(HEAD, {})
    border, sources = split.split_index, block_sources(split.adapter, split.arch)
    numbers = sorted(int(part) for part in parts)
    if [number for number in numbers if number >= border] != sources:
        raise InputError(
            f"the package holds blocks {numbers}; the model has {sources} from the "
            f"split at {border} up; server and client must split the same model alike."
        )
    emulator = [
        received_block(split, number, parts[number], dtype)
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
    device = next(split.adapter.parameters()).device
    moved = {path: tensor.to(device, dtype) for path, tensor in tensors.items()}
    return _fill(*_template(split, number, moved), split, number, moved)


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

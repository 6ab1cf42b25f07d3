"""What travels: the sub-model down and the update up, as safetensors.

A package is a flat dict of tensors, named as in `ledger.py`. Its header is padded to a
constant length, so that its size is linear in the number of parameters and the latency
model can charge every byte of it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from safetensors.torch import load, save
from torch import Tensor

from trimwave.base.units import BITS_PER_BYTE
from trimwave.lm.wire.ledger import Tensors
from trimwave.lm.wire.small import SCALES, crossed, packed, unpacked
from trimwave.model.submodel import num_scales

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

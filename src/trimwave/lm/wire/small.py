"""Updates in 8 bits: integers that share a power of two among 32 neighbours.

MXINT8 of the OCP Microscaling Formats specification v1.0 (2023): a block of 32 values
has one E8M0 scale, so that a value takes 8.25 bits. A value that has crossed crosses
again unchanged, which a scale that is no power of two does not grant.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from trimwave.model.submodel import SCALE_BLOCK, num_scales

SCALES = "scales"
"""Name of the scales in a package: of all its small tensors, in the order of names."""

BIAS = 127
"""Of E8M0: a scale of 2^e is stored as e + 127."""

NAN = 255
"""The scale of E8M0 that stands for no number."""

LARGEST = 127
"""Largest integer: the smallest is left out, so that signs are alike."""


def quantised(value: Tensor) -> tuple[Tensor, Tensor]:
    """Return a tensor as integers, int8 of its shape, and scales, uint8 [blocks].

    A block with a value that is not finite has the scale that stands for none.
    """
    flat = value.detach().float().flatten().cpu()
    padded = torch.zeros(num_scales(flat.numel()) * SCALE_BLOCK)
    padded[: flat.numel()] = flat
    blocks = padded.view(-1, SCALE_BLOCK)
    largest = blocks.abs().amax(dim=1)
    sound = torch.isfinite(largest)
    blocks = blocks.masked_fill(~sound[:, None], 0.0)
    largest = largest.masked_fill(~sound, 0.0)
    # frexp: largest = mantissa 2^exponent, mantissa in [0.5, 1).
    mantissa, exponent = torch.frexp(largest)
    # 127 steps reach to just below 2^7: one more where the mantissa is above that.
    exponent = exponent - 7 + (mantissa > LARGEST / (LARGEST + 1)).int()
    exponent = exponent.clamp(-BIAS, BIAS)
    integers = (blocks / _powers(exponent)[:, None]).round().clamp(-LARGEST, LARGEST)
    kept = integers.flatten()[: flat.numel()].to(torch.int8)
    scales = torch.where(sound, exponent + BIAS, NAN)
    return kept.view(value.shape), scales.to(torch.uint8)


def dequantised(integers: Tensor, scales: Tensor) -> Tensor:
    """Return the float32 values of what `quantised` made."""
    powers = _powers(scales.int() - BIAS)
    powers = powers.masked_fill(scales == NAN, float("nan"))
    powers = powers.repeat_interleave(SCALE_BLOCK)
    flat = integers.flatten().float()
    return (flat * powers[: flat.numel()]).view(integers.shape)


def crossed(value: Tensor) -> Tensor:
    """Return the value that a tensor has at the other end, in its type and place."""
    return dequantised(*quantised(value)).to(value.device, value.dtype)


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors as integers by name, and their scales."""
    integers, scales = {}, []
    for name in sorted(tensors):
        integers[name], own = quantised(tensors[name])
        scales.append(own)
    return {**integers, SCALES: torch.cat(scales)} if scales else {}


def unpacked(package: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a package with float32 values for what `packed` made small.

    Raises
    ------
    ValueError
        If the scales are not those of the integers.
    """
    if SCALES not in package:
        return dict(package)
    small = [n for n in sorted(package) if package[n].dtype == torch.int8]
    sizes = [num_scales(package[name].numel()) for name in small]
    scales = package[SCALES]
    if scales.dtype != torch.uint8 or scales.shape != (sum(sizes),):
        raise ValueError(f"{tuple(scales.shape)} scales for {sum(sizes)} blocks")
    values = {name: value for name, value in package.items() if name != SCALES}
    for name, own in zip(small, torch.split(scales, sizes), strict=True):
        values[name] = dequantised(package[name], own)
    return values


def _powers(exponents: Tensor) -> Tensor:
    return torch.ldexp(torch.ones(exponents.shape), exponents)

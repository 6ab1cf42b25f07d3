"""A row's state in the numbers that it is kept in, and back."""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Format = Literal["fp32", "bf16", "int8"]

Packed = dict[str, Tensor]
"""A state as it is kept: ``values`` [s, H] and, of integers, ``scales`` [s, 1]."""

LARGEST = 127
"""Largest integer of symmetric int8."""


def packed(state: Tensor, kept_as: Format) -> Packed:
    """Round a state to the numbers that it is kept in.

    Parameters
    ----------
    state : [s, H]
        Of a row, without padding.
    kept_as : Format
        ``int8`` has a scale per token: outliers reach 24,000 in single tokens, and
        under one scale for all nothing would be left of the others.
    """
    if kept_as == "int8":
        scales = state.float().abs().amax(dim=-1, keepdim=True) / LARGEST
        # Of zeros the scale is zero; what is not finite stays so through it.
        divisor = torch.where(scales > 0, scales, torch.ones_like(scales))
        values = (state.float() / divisor).round().to(torch.int8)
        return {"values": values, "scales": scales}
    return {"values": state.to(torch.bfloat16 if kept_as == "bf16" else torch.float32)}


def unpacked(kept: Mapping[str, Tensor]) -> Tensor:
    """Return the values of a state that is kept, in float32 [s, H]."""
    values = kept["values"].float()
    return values * kept["scales"] if "scales" in kept else values


def num_bytes(kept: Mapping[str, Tensor]) -> int:
    """Return what a state takes in memory [byte]."""
    return sum(value.nbytes for value in kept.values())

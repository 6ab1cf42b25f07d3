"""A link inside the model: activations and gradients cross it in the air's format."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trimwave.lm.surgery.split import SplitModel

GRADIENT_SCALE = 2.0**10
"""Keeps small gradients off fp16's denormal numbers, as mixed precision does."""


@dataclass(slots=True)
class Crossings:
    """Values that crossed the link so far."""

    up: int = 0
    """Features of the device's embedding, and gradients at the last block's output."""
    down: int = 0
    """The last block's output."""


class _Air(torch.autograd.Function):
    """Rounds what passes forward, and the gradient that passes back."""

    @staticmethod
    def forward(context: Any, value: Tensor, dtype: torch.dtype, seen: Any) -> Tensor:
        context.dtype, context.seen = dtype, seen
        seen.down += value.numel()
        return value.to(dtype).to(value.dtype)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        context.seen.up += gradient.numel()
        scaled = (gradient * GRADIENT_SCALE).to(context.dtype)
        return scaled.to(gradient.dtype) / GRADIENT_SCALE, None, None


@contextlib.contextmanager
def over_the_air(split: SplitModel, dtype: torch.dtype) -> Iterator[Crossings]:
    """Put the link below the first block and above the last, Wang et al. 2025.

    The device keeps embedding, final norm and head; the server has the blocks.

    Parameters
    ----------
    split : SplitModel
        With all blocks on its upper side.
    dtype : torch.dtype
        Number format on the air.
    """
    seen = Crossings()

    def features(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        first, *others = inputs
        seen.up += first.numel()
        return (first.to(dtype).to(first.dtype), *others)

    def output(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (hidden,) = inputs
        return (_Air.apply(hidden, dtype, seen),)  # type: ignore[no-untyped-call]

    norm = getattr(getattr(split.shell, split.arch.base), split.arch.final_norm)
    handles = [
        split.adapter[0].register_forward_pre_hook(features),
        norm.register_forward_pre_hook(output),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()

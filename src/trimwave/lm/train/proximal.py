"""The proximal term of a client's loss, with a gradient."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.wire.ledger import trained_parameters


def proximal_term(split: SplitModel, weight: float) -> Callable[[], Tensor]:
    """Return weight times the squared distance to the weights of now.

    The distance is that of the effective weights: where LoRA factors train, of the
    product that they add to a matrix. FedBiOT, Wu et al. 2024 (epsilon); the released
    code compares detached tensors, so its term has no gradient.

    Parameters
    ----------
    split : SplitModel
        As received, before the first local step.
    weight : float
        epsilon.
    """
    layers: list[Any] = [
        module
        for part in (*split.adapter, split.head)
        for module in part.modules()
        if hasattr(module, "lora_A") and hasattr(module, "scaling")
    ]
    with torch.no_grad():
        products = [(layer, _product(layer)) for layer in layers]
    plain = [
        (value, value.detach().clone())
        for name, value in trained_parameters(split).items()
        if ".lora_" not in name
    ]

    def term() -> Tensor:
        moved = [_product(layer) - before for layer, before in products]
        moved += [value - before for value, before in plain]
        return weight * torch.stack([part.square().sum() for part in moved]).sum()

    return term


def _product(layer: Any) -> Tensor:
    """Return what LoRA factors add to a matrix, [out, in]."""
    (name,) = layer.scaling
    down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
    product: Tensor = layer.scaling[name] * (up @ down)
    return product

"""Options that every method has, and how options are checked."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from trimwave.base.errors import InputError
from trimwave.model.costs import Costs
from trimwave.model.submodel import LoraTargets


@dataclass(frozen=True, kw_only=True, slots=True)
class CommonOptions:
    """Fields that a method's own options come on top of."""

    learning_rate: float | None = None
    """AdamW step size on the clients; left out = the recipe's, `train.learning_rate`
    for weights or `train.lora_learning_rate` for LoRA factors. Methods that train more
    of the model want a smaller one."""
    lora_rank: int | None = None
    """r of LoRA factors, where they train; left out = `train.lora_rank`."""
    lora_alpha: float | None = None
    """What their product is scaled by, times r; left out = `train.lora_alpha`."""
    lora_targets: LoraTargets | None = None
    """Where they sit; left out = `train.lora_targets`."""
    update_bits: Literal[8, 16, 32] | None = None
    """Number format of updates on the air; left out = `train.update_bits`."""

    def __post_init__(self) -> None:
        names = ("learning_rate", "lora_rank", "lora_alpha")
        require_positive("any method", self, *names)


def own_costs(options: object, costs: Costs) -> Costs:
    """Return what sub-models cost with the LoRA factors that a method asks for."""
    names = ("lora_rank", "lora_alpha", "lora_targets", "update_bits")
    given = {name: getattr(options, name, None) for name in names}
    own = {name: value for name, value in given.items() if value is not None}
    return replace(costs, **own) if own else costs


def require_positive(method: str, options: object, *names: str) -> None:
    """Raise unless the named options are positive and finite, or left out.

    Raises
    ------
    InputError
        Naming the option and the value.
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and not (np.isfinite(value) and value > 0):
            raise InputError(
                f"option `{name}` of `{method}` must be positive, got {value}."
            )


def require_not_negative(method: str, options: object, *names: str) -> None:
    """Raise unless the named options are at least 0.

    Raises
    ------
    InputError
        Naming the option and the value.
    """
    for name in names:
        value = getattr(options, name)
        if not value >= 0:
            raise InputError(
                f"option `{name}` of `{method}` must be at least 0, got {value}."
            )

"""Options that every method has, and how options are checked."""

from dataclasses import dataclass

import numpy as np

from trimwave.base.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class CommonOptions:
    """Fields that a method's own options come on top of."""

    learning_rate: float | None = None
    """AdamW step size on the clients; left out = the recipe's, `train.learning_rate`
    for weights or `train.lora_learning_rate` for LoRA factors. Methods that train more
    of the model want a smaller one."""

    def __post_init__(self) -> None:
        require_positive("any method", self, "learning_rate")


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

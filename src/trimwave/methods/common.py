"""Options that every method has."""

from dataclasses import dataclass

from trimwave.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class CommonOptions:
    """Fields that a method's own options come on top of."""

    learning_rate: float | None = None
    """AdamW step size on the clients; left out = the recipe's, `train.learning_rate`
    for weights or `train.lora_learning_rate` for LoRA factors. Methods that train more
    of the model want a smaller one."""

    def __post_init__(self) -> None:
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise InputError(
                f"option `learning_rate` must be positive, got {self.learning_rate}."
            )

"""What short runs at the points of a grid came to, and which is the best."""

import math
from dataclasses import dataclass
from typing import Any

from trimwave.base.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What came of a short run."""

    learning_rate: float
    lora_rank: int | None
    """r; None where it is not picked."""
    losses: tuple[float, ...]
    """Test loss of the full model before the first round and after each; those before
    it diverged, where it did."""
    diverged: bool

    @property
    def last_loss(self) -> float:
        """What it is compared by."""
        return math.inf if self.diverged else self.losses[-1]


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What came of all."""

    method: str
    """Name, without options."""
    tried: tuple[Tried, ...]
    """In the order of the grid."""
    facts: dict[str, Any]
    """Rows that were trained and tested on, rounds, seed."""

    @property
    def best(self) -> Tried:
        """The one with the lowest loss after the last round; the smallest of equals.

        Raises
        ------
        InputError
            If all diverged.
        """
        best = min(
            self.tried, key=lambda one: (one.last_loss, one.learning_rate, _rank(one))
        )
        if best.diverged:
            raise InputError(
                "every run of the grid diverged; give smaller --learning-rates."
            )
        return best

    @property
    def edges(self) -> list[str]:
        """Names of what is best at an end of the grid, where it has one."""
        best, found = self.best, []
        for name in ("learning_rate", "lora_rank"):
            values = sorted({getattr(one, name) or 0 for one in self.tried})
            if len(values) > 1 and getattr(best, name) in (values[0], values[-1]):
                found.append(name)
        return found


def _rank(one: Tried) -> int:
    return one.lora_rank or 0

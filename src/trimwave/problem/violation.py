"""What a violated constraint of P1 is reported as."""

from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Context, Decimal

from trimwave.base.tolerances import ROUNDING

__all__ = ["ROUNDING", "Violation", "at_least", "first_violations"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """One constraint that does not hold."""

    constraint: str
    """"C1" to "C5"."""
    client: int | None
    """Which client, or None for the cell."""
    shortfall: float
    """By how much, in the constraint's own unit."""
    message: str
    """The sentence for the user, remedy included."""

    @classmethod
    def of(
        cls, constraint: str, client: int | None, shortfall: float, message: str
    ) -> "Violation":
        """Return one of plain Python numbers, whatever kind these are."""
        return cls(
            constraint=constraint,
            client=None if client is None else int(client),
            shortfall=float(shortfall),
            message=message,
        )

    def __str__(self) -> str:
        return self.message


def at_least(amount: float) -> str:
    """Return a number in six digits, rounded up: what a remedy asks for is enough."""
    digits = Context(prec=6, rounding=ROUND_CEILING)
    return f"{float(digits.create_decimal(Decimal(repr(float(amount))))):.6g}"


def first_violations(found: list[Violation], most: int = 10) -> list[Violation]:
    """Keep a message short where thousands of clients violate the same."""
    if len(found) <= most:
        return found
    rest = replace(found[0], client=None, message=f"And {len(found) - most} more.")
    return [*found[:most], rest]

"""Bounds that values of a recipe must keep; a breach names its key."""

from trimwave.base.errors import InputError


def require(section: str, config: object, least: float, *names: str) -> None:
    """Raise unless the named fields are at least `least` (above it, if it is 0)."""
    for name in names:
        value = getattr(config, name)
        if not (0 < value < float("inf") and value >= least):
            bound = f"at least {least:g}" if least else "positive and finite"
            raise InputError(f"`{section}{name}` must be {bound}, got {value}.")


def require_range(section: str, name: str, value: tuple[float, float]) -> None:
    """Raise unless a value is a range of positive numbers."""
    if not 0 < value[0] <= value[1] < float("inf"):
        raise InputError(
            f"`{section}{name}` must be a range [low, high] with 0 < low <= high, "
            f"got {list(value)}."
        )

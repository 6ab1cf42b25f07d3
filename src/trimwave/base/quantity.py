"""What a number with a unit can be, and which unit it was probably meant in."""

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from trimwave.base.errors import InputError
from trimwave.base.units import FloatArray

MARKERS = frozenset(
    {
        *(2.0**bits - offset for bits in (15, 16, 31, 32, 63) for offset in (0, 1)),
        *(-(2.0**bits) for bits in (15, 31, 63)),
        *(sign * value for sign in (1.0, -1.0) for value in (999.0, 9999.0, 99999.0)),
        *(99.0, 127.0, 128.0, 255.0),
    }
)
"""What devices report where they have no measurement: the ends of integer types
(Android: 2147483647) and the 99, 127 and 255 of modems."""

LARGEST_WHOLE = 2**53
"""Whole numbers up to it are exact as floats too, and are 64-bit integers."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """The range of a number that a user gives, with the reason of each end."""

    unit: str
    """As it is written in messages: ``FLOP/s``."""
    least: float
    """Below it a value is refused."""
    most: float
    """Above it a value is refused."""
    too_low: str
    """Why nothing is below `least`."""
    too_high: str
    """Why nothing is above `most`."""
    usual: tuple[float, float] | None = None
    """Outside it a value is warned of; None = as the range above."""
    others: Mapping[str, Callable[[float], float]] = field(default_factory=dict)
    """What else it may have been written as: ``in GB``, to the value in `unit`."""
    none_is: float | None = None
    """A value that stands for no bound, legal whatever the range: 0 or infinity."""
    has_markers: bool = False
    """Measured by devices that write markers where they have no value."""

    def fault(self, value: float) -> str | None:
        """Say why a value cannot be; None where it can."""
        if value == self.none_is or self.least <= value <= self.most:
            return None
        must = f"must be in {self.unit}, got {plain(value)}"
        if self._is_marker(value):
            return f"{must}: devices write that where they have no measurement"
        why = self.too_low if value < self.least else self.too_high
        return f"{must}: {why}{self._meant(value)}"

    def doubt(self, value: float) -> str | None:
        """Say what is odd about a value that can be; None if nothing is."""
        if value == self.none_is:
            return None
        if self._is_marker(value):
            return (
                f"is {plain(value)} {self.unit}, which devices write where they have "
                "no measurement"
            )
        low, high = self._usual
        if low <= value <= high:
            return None
        return f"is {plain(value)}, unusual in {self.unit}{self._meant(value)}"

    def has(self, values: FloatArray) -> NDArray[np.bool_]:
        """Whether `fault` and `doubt` have nothing to say of a value, for many."""
        low, high = self._usual
        inside = (values >= max(low, self.least)) & (values <= min(high, self.most))
        if self.has_markers:
            inside &= ~np.isin(values, [*MARKERS])
        return inside if self.none_is is None else inside | (values == self.none_is)

    def require(self, name: str, *values: float) -> None:
        """Check values of a key; of unusual ones the first is warned of.

        Raises
        ------
        InputError
            If a value cannot be.
        """
        for value in values:
            if (fault := self.fault(value)) is not None:
                raise InputError(f"`{name}` {fault}.")
        for doubt in filter(None, map(self.doubt, values)):
            # From one place for each key, so that a config built again warns once.
            warnings.warn(f"`{name}` {doubt}.", stacklevel=2)
            return

    def in_unit(self, unit: str, factor: float) -> "Quantity":
        """Return the same quantity written in another unit.

        Parameters
        ----------
        unit : str
            As it is written in messages: ``GFLOP/s``.
        factor : float
            One of it in the unit of this quantity: 1e9.
        """

        def turned(other: Callable[[float], float]) -> Callable[[float], float]:
            return lambda value: other(value) / factor

        others = {
            name: turned(other)
            for name, other in self.others.items()
            if name.partition(",")[0] != f"in {unit}"
        }
        others[f"in {self.unit}"] = turned(lambda value: value)
        usual = self.usual and (self.usual[0] / factor, self.usual[1] / factor)
        return replace(
            self,
            unit=unit,
            least=self.least / factor,
            most=self.most / factor,
            too_low=f"{self.too_low} {self.unit}",
            too_high=f"{self.too_high} {self.unit}",
            usual=usual,
            others=others,
        )

    @property
    def _usual(self) -> tuple[float, float]:
        return self.usual or (self.least, self.most)

    def _is_marker(self, value: float) -> bool:
        return self.has_markers and value in MARKERS

    def _meant(self, value: float) -> str:
        """Say what to write if it was meant otherwise; empty if nothing fits."""
        low, high = self._usual
        found = [
            f"if it is {name}, write {plain(meant)}"
            for name, turned in self.others.items()
            if low <= (meant := turned(value)) <= high
        ]
        return "; " + ", ".join(found) if found else ""


def plain(value: float) -> str:
    """Write a number as a user would: 4e9, not 4e+09 or 4000000000.0."""
    text = f"{value:.10g}"
    if not math.isfinite(value) or (len(text) <= 6 and "e" not in text):
        return text
    mantissa, _, exponent = f"{value:.9e}".partition("e")
    short = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return short if "e" in text or len(short) < len(text) else text

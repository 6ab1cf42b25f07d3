"""What the inner problem answers, at one deadline for each draw.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from trimwave.base.units import FloatArray


@dataclass(frozen=True, eq=False)
class Cheapest:
    """The inner problem's answer, [..., 1] for each draw."""

    need_hz: FloatArray
    """Least total band, by weak duality never above the true one; inf if none does."""
    slope_hz_per_s: FloatArray
    """Its derivative by the deadline; not positive."""
    price_hz: FloatArray
    """Multiplier of C5 [Hz]."""
    s: FloatArray
    """price^(-1/2), also where C5 costs nothing."""
    most_s: FloatArray
    """s from which on everyone keeps the least."""
    kept: FloatArray
    """[..., K]"""
    bandwidth_hz: FloatArray
    """[..., K]"""

    def unless_unreachable(self, other: "Cheapest") -> "Cheapest":
        """Return the other's answer in draws where this deadline cannot be met."""
        met = np.isfinite(self.need_hz)
        if met.all():
            return self
        return Cheapest(
            **{
                one.name: np.where(
                    met, getattr(self, one.name), getattr(other, one.name)
                )
                for one in fields(self)
            }
        )


class AtPrice(NamedTuple):
    """What everyone keeps at a price."""

    kept: FloatArray
    """[..., K]"""
    fall: FloatArray
    """[..., K] how fast it falls with s."""
    sum_fall: FloatArray
    """[..., 1] how fast what C5 counts falls."""

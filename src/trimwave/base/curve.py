"""Piecewise-linear curves: measured latency tables, damage by pruning rate."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.tolerances import SLOPE_ROUNDING
from trimwave.base.units import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class PiecewiseLinear:
    """A continuous curve through measured points, for all clients or one for each.

    Outside its points it goes on with the slope of the nearest piece.

    Raises
    ------
    InputError
        If there are fewer than two points, they do not ascend, or a value is missing.
    """

    points: FloatArray
    """[N] where it was measured, ascending."""
    values: FloatArray
    """[N], or [N, K] with a curve for each client."""

    def __post_init__(self) -> None:
        points = np.asarray(self.points, dtype=np.float64)
        values = np.asarray(self.values, dtype=np.float64)
        object.__setattr__(self, "points", points)
        object.__setattr__(self, "values", values)
        if points.ndim != 1 or points.size < 2 or values.shape[:1] != points.shape:
            raise InputError(
                "a curve needs two points or more and a value at each, got points of "
                f"shape {points.shape} and values of shape {values.shape}."
            )
        if values.ndim > 2:
            raise InputError(
                f"a curve's values must be [N] or [N, K], got shape {values.shape}."
            )
        bad = np.flatnonzero(~(np.diff(points) > 0))
        if bad.size or not np.all(np.isfinite(points)):
            raise InputError(
                f"a curve's points must be finite and ascend, got {points.tolist()}."
            )
        if not np.all(np.isfinite(values)):
            raise InputError("a curve's values must be finite.")

    def __call__(self, at: FloatArray) -> FloatArray:
        """Value at some points, [..., K]."""
        found = self.values[0] + self.slopes[0] * (at - self.points[0])
        bends = zip(self.points[1:-1], np.diff(self.slopes, axis=0), strict=True)
        for point, bend in bends:
            found = found + bend * np.maximum(at - point, 0.0)
        return found

    def slope(self, at: FloatArray) -> FloatArray:
        """Slope of the piece that holds each point, the right one at a bend."""
        found = self.slopes[0] + np.zeros_like(at)
        bends = zip(self.points[1:-1], np.diff(self.slopes, axis=0), strict=True)
        for point, bend in bends:
            found = found + np.where(at >= point, bend, 0.0)
        return found

    def inverse(self, value: FloatArray) -> FloatArray:
        """Where a curve that never falls first takes some values, [..., K]."""
        ends = np.array([-np.inf, *self.points[1:-1], np.inf])
        total = np.zeros(())
        for at, (slope, begins) in enumerate(
            zip(self.slopes, self.values[:-1], strict=True)
        ):
            start, end = ends[at], ends[at + 1]
            with np.errstate(divide="ignore", invalid="ignore"):
                here = self.points[at] + (value - begins) / slope
            here = np.where(slope > 0, here, np.where(value > begins, end, start))
            total = total + np.clip(here, start, end) - (start if at else 0.0)
        return total

    @cached_property
    def slopes(self) -> FloatArray:
        """[N - 1] or [N - 1, K]."""
        widths = np.diff(self.points)
        rises = np.diff(self.values, axis=0)
        return np.asarray((rises.T / widths).T)

    @property
    def rises(self) -> bool:
        """Whether it never falls."""
        return bool(np.all(self.slopes >= 0))

    @property
    def is_convex(self) -> bool:
        """Whether its slope never falls, but for rounding."""
        room = SLOPE_ROUNDING * np.max(np.abs(self.slopes), axis=0)
        return bool(np.all(np.diff(self.slopes, axis=0) >= -room))

    def convex_minorant(self) -> "PiecewiseLinear":
        """Return the largest convex curve that lies nowhere above this one.

        On the same points, so that curves of different clients keep a common shape.
        """
        columns = self.values.reshape(self.points.size, -1).T
        hulls = np.stack([_lower_hull(self.points, one) for one in columns], axis=1)
        return PiecewiseLinear(self.points, hulls.reshape(self.values.shape))

    def take(self, clients: IntArray) -> "PiecewiseLinear":
        """Return the curves of some clients; a curve for all stays as it is."""
        if self.values.ndim == 1:
            return self
        return PiecewiseLinear(self.points, self.values[:, clients])


def _lower_hull(points: FloatArray, values: FloatArray) -> FloatArray:
    """Lower convex hull at the same points (Andrew 1979)."""
    hull: list[int] = []
    for at in range(points.size):
        while len(hull) >= 2:
            a, b = hull[-2], hull[-1]
            left = (values[b] - values[a]) * (points[at] - points[b])
            right = (values[at] - values[b]) * (points[b] - points[a])
            if left <= right:
                break
            hull.pop()
        hull.append(at)
    return np.interp(points, points[hull], values[hull])

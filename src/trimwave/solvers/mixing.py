"""Mixes of two vectors of kept fractions that use up what C5 allows.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

import numpy as np

from trimwave.base.units import FloatArray
from trimwave.problem.problem import Problem


def mixed(
    problem: Problem, low: FloatArray, high: FloatArray, *, in_turn: bool = False
) -> FloatArray:
    """Mix two kept vectors so that C5 holds with equality, [..., K].

    `low` where that satisfies C5 already, and `high` if even that falls short.
    Everyone moves by one and the same part, or one client after another all the
    way. Valid when each is on one piece; C5 holds all the same when not.
    """
    if in_turn:
        gains = problem.avoided_by(high) - problem.avoided_by(low)
        before = problem.avoided(low) + np.cumsum(gains, axis=-1) - gains
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = (problem.avoid_min - before) / gains
        return low + np.where(gains > 0, np.clip(parts, 0, 1), 0) * (high - low)
    least, most = problem.avoided(low), problem.avoided(high)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (problem.avoid_min - least) / (most - least)
    share = np.where(most > least, np.clip(share, 0.0, 1.0), 1.0)
    share = np.where(least >= problem.avoid_min, 0.0, share)
    return low + share * (high - low)

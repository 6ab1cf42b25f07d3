"""C1 to C5 of P1, each stated once: what a point violates, and by how much, eq. (10).

`Problem.violations` asks about a candidate, `Problem.check` about the point that is
best for the constraint at hand: the least shares, the least kept for memory, the most
kept for C5. Where that one violates it every point does, and `check` says why.

Shapes: K clients of one cell, no draws.
"""

from collections.abc import Callable, Iterator

import numpy as np

from trimwave.base.tolerances import ROUNDING
from trimwave.base.units import FloatArray
from trimwave.problem.violation import Violation

Words = Callable[[int | None, float], str]
"""The sentence for a client, or None for the cell, and a shortfall."""


def c1(
    shares_hz: FloatArray,
    band_hz: float,
    which: str = "the band",
    words: Words | None = None,
) -> Iterator[Violation]:
    """Yield shares, [K] [Hz], that sum up to more than a band, C1."""
    excess_hz = float(np.sum(shares_hz)) - band_hz
    if excess_hz > ROUNDING * band_hz:
        yield _said("C1", None, excess_hz, f"bandwidths exceed {which} [Hz]", words)


def c2(
    shares_hz: FloatArray,
    least_hz: FloatArray | None,
    most_hz: FloatArray | None,
    words: Words | None = None,
    rtol: float = ROUNDING,
) -> Iterator[Violation]:
    """Yield shares, [K] [Hz], that are negative or outside the clients' bounds, C2."""
    for k in np.flatnonzero(~(shares_hz >= 0)).tolist():
        yield _said("C2", k, -shares_hz[k], "negative bandwidth [Hz]", words)
    if least_hz is not None:
        for k in np.flatnonzero(shares_hz < least_hz * (1 - rtol)).tolist():
            short_hz = least_hz[k] - shares_hz[k]
            yield _said("C2", k, short_hz, "below its share [Hz]", words)
    if most_hz is not None:
        for k in np.flatnonzero(shares_hz > most_hz * (1 + rtol)).tolist():
            over_hz = shares_hz[k] - most_hz[k]
            yield _said("C2", k, over_hz, "above its share [Hz]", words)


def c3(
    need_bytes: FloatArray,
    have_bytes: FloatArray,
    words: Words | None = None,
    slack_bytes: FloatArray | None = None,
) -> Iterator[Violation]:
    """Yield memory, [K] or one number for all, that clients do not have, C3."""
    over_bytes = need_bytes - have_bytes
    slack_bytes = ROUNDING * have_bytes if slack_bytes is None else slack_bytes
    for k in np.flatnonzero(over_bytes > slack_bytes).tolist():
        yield _said("C3", k, over_bytes[k], "memory exceeded [byte]", words)


def c4(kept: FloatArray, least: FloatArray, most: float) -> Iterator[Violation]:
    """Yield kept fractions, [K], outside what `beta_max` and `beta_min` allow, C4."""
    for k in np.flatnonzero(~(kept >= least - ROUNDING)).tolist():
        yield _said("C4", k, least[k] - kept[k], "pruned beyond `beta_max`")
    for k in np.flatnonzero(kept > most + ROUNDING).tolist():
        yield _said("C4", k, kept[k] - most, "pruned less than `beta_min`")


def c4_of_floor(floor: float, least: float, words: Words) -> Iterator[Violation]:
    """Yield a floor of real sub-models above the least that C4 allows, C4."""
    excess = floor - least
    if excess > ROUNDING:
        yield _said("C4", None, excess, "", words)


def c5(
    missing: float, words: Words | None = None, slack: float = ROUNDING
) -> Iterator[Violation]:
    """Yield less damage avoided than asked for, on average over the clients, C5."""
    if missing > slack:  # a NaN has been named before
        yield _said("C5", None, missing, "mean pruning exceeds `beta_bar`", words)


def _said(
    constraint: str,
    client: int | None,
    shortfall: float,
    what: str,
    words: Words | None = None,
) -> Violation:
    """Return a violation in its own words, or else in a plain sentence."""
    if words is not None:
        message = words(client, shortfall)
    else:
        who = "" if client is None else f" client {client}:"
        message = f"{constraint}:{who} {what} by {shortfall:.6g}."
    return Violation.of(constraint, client, shortfall, message)

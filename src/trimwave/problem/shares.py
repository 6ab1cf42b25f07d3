"""C1 and C2 of a cell by itself: whether any split of the band obeys the bounds.

Shapes: K clients of one cell, no draws.
"""

from collections.abc import Iterator

import numpy as np

from trimwave.base.errors import InfeasibleError
from trimwave.base.tolerances import NO_SHARE
from trimwave.base.units import FloatArray
from trimwave.cell.cell import Cell
from trimwave.problem.constraints import c1, c2
from trimwave.problem.violation import Violation, at_least, first_violations


def require_shares(cell: Cell) -> None:
    """Refuse a cell whose band cannot be split.

    Raises
    ------
    InfeasibleError
        Naming C1 or C2, the clients, and by how much to change which bound.
    """
    found = list(share_violations(cell))
    if found:
        raise InfeasibleError(first_violations(found))


def share_violations(cell: Cell) -> Iterator[Violation]:
    """Yield what of C1 and C2 no split of the band satisfies."""
    yield from _least_above_largest(cell)
    yield from _least_beyond_band(cell)


def _largest_hz(cell: Cell) -> FloatArray:
    """Largest share that a client may have, [K]."""
    own_hz = np.inf if cell.bandwidth_max_hz is None else cell.bandwidth_max_hz
    return np.broadcast_to(np.minimum(cell.total_bandwidth_hz, own_hz), cell.shape)


def _least_above_largest(cell: Cell) -> Iterator[Violation]:
    """C2 where a least share is above the largest, of the client or of the cell."""
    if cell.bandwidth_min_hz is None:
        return
    least_hz, largest_hz = cell.bandwidth_min_hz, _largest_hz(cell)

    def words(k: int | None, short_hz: float) -> str:
        own = largest_hz[k] < cell.total_bandwidth_hz
        return (
            f"C2: {cell.who(int(k or 0))}'s least share {least_hz[k]:g} Hz exceeds "
            f"{'its largest' if own else 'the whole band'}, {largest_hz[k]:g} Hz; "
            f"lower its `bandwidth_min_hz` by {at_least(short_hz)} Hz or more."
        )

    yield from c2(least_hz, None, largest_hz, words, rtol=0.0)


def _least_beyond_band(cell: Cell) -> Iterator[Violation]:
    """C1 where the least shares together leave too little of the band, or none."""
    if cell.bandwidth_min_hz is None:
        return
    band_hz, least_hz = cell.total_bandwidth_hz, cell.bandwidth_min_hz
    none_hz = NO_SHARE * band_hz
    nothing_hz = np.minimum(none_hz, _largest_hz(cell))
    without = np.flatnonzero(least_hz < nothing_hz)

    def words(k: int | None, short_hz: float) -> str:
        excess_hz = float(np.sum(least_hz)) - band_hz
        what = f"exceed the band by {at_least(excess_hz)} Hz"
        if excess_hz <= 0:
            what = f"leave nothing of the band to clients {without[:10].tolist()}"
        # Whose least share falls to none, and a larger band, ask for a little more.
        remedy_hz = short_hz * (1 + NO_SHARE * cell.num_clients) + none_hz
        return (
            f"C1: the least shares {what}; lower `bandwidth_min_hz` by "
            f"{at_least(remedy_hz)} Hz in all, raise the band by as much, or drop "
            "clients."
        )

    yield from c1(np.maximum(least_hz, nothing_hz), band_hz, words=words)

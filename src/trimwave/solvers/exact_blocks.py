"""The fastest round in whole resource blocks, and the proof that none is faster.

Given a deadline and n blocks, a client can keep so much and no more; so a deadline can
be met if and only if some split of the blocks lets all together keep what C5 asks for.
What they can is a sum of functions of one n each: a knapsack, which dynamic programming
solves exactly, whatever the functions are. The least deadline is searched as in
Dinkelbach's method (1967): each split that is found gives the round time that it makes
possible, just below which the next one is looked for; where there is none, that is the
proof.

Shapes: K clients of one cell; M rows are numbers of blocks; P is one more than the
blocks that are spare.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trimwave.base.tolerances import C5_ROUNDING, PROVEN, ROUNDING, TIME_ROUNDING
from trimwave.base.units import FloatArray
from trimwave.problem.problem import Problem
from trimwave.solvers.blocks import prune_block
from trimwave.solvers.resource_blocks import BlockGrid, whole_blocks
from trimwave.solvers.sizes import enough_in_sizes, round_to_sizes, sizes_between

MOST_SUMS = 5e7
"""Sums of two clients' worth for one deadline at the most: 300 clients and 300 spare
blocks, a few seconds in all."""

CALL_SUMS = 100
"""Spare blocks whose sums take as long as the call that adds them up."""

SUMS_AT_ONCE = 1 << 16
"""So many fit a processor's cache."""

STEP = PROVEN / 4
"""How far below the fastest split a faster one is looked for."""


def can_search_blocks(problem: Problem) -> bool:
    """Whether the exact search is over within seconds."""
    grid, clients = BlockGrid.of(problem), problem.cell.num_clients
    spare = grid.total - np.sum(grid.least)
    return bool(clients * (spare + CALL_SUMS) ** 2 <= MOST_SUMS)


def fastest_blocks(
    problem: Problem, kept: FloatArray, bandwidth_hz: FloatArray, bound_s: float | None
) -> tuple[FloatArray, FloatArray, float]:
    """Find the fastest kept fractions, of real sizes if there are any, in whole blocks.

    Parameters
    ----------
    kept, bandwidth_hz : [K]
        Where to begin.
    bound_s : float, optional
        A round time that is known to be out of reach, if one is [s].

    Returns
    -------
    kept, bandwidth_hz : [K]
        x_k, and shares of whole blocks.
    bound_s : float
        No whole blocks (and sizes) end sooner: within `PROVEN` of the round time but
        where rounding of C5 hides what is possible.

    Raises
    ------
    InfeasibleError
        As `whole_blocks` and `round_to_sizes`.
    """
    search = _Search(problem, BlockGrid.of(problem))
    kept = round_to_sizes(problem, kept, bandwidth_hz)
    best_s, best = search.polished(whole_blocks(problem, kept))
    low = min(bound_s or 0.0, best_s)
    high, step_below = best_s, True  # what lies above `high` can be done or is not said
    while high - low > 2 * STEP * high:
        deadline_s = high * (1 - STEP) if step_below else low + (high - low) / 2
        shares_hz, before = search.shares_by(deadline_s), high - low
        if shares_hz is None:
            low = deadline_s
        else:
            found_s, found = search.polished(shares_hz)
            if found_s < best_s:
                best_s, best = found_s, found
            high = min(deadline_s, found_s)
        step_below = high - low <= before / 2 or not step_below
    return *best, low


@dataclass(frozen=True, eq=False)
class _Search:
    """What does not depend on the deadline."""

    problem: Problem
    grid: BlockGrid

    @property
    def fewest(self) -> int:
        """Blocks in the first of `shares_hz`: 0 where some clients need no band."""
        return int(np.min(self.grid.least) > 0)

    @cached_property
    def shares_hz(self) -> FloatArray:
        """[M, 1] all that any client may have."""
        least, total = self.grid.least, self.grid.total
        spare = total - np.sum(least)
        most = np.max(np.minimum(self.grid.most, least + spare))
        return self.grid.block_hz * np.arange(self.fewest, most + 1)[:, None]

    @cached_property
    def legal(self) -> NDArray[np.bool_]:
        """[M, K] whether a client may have so many blocks."""
        blocks = self.fewest + np.arange(len(self.shares_hz))[:, None]
        return (blocks >= self.grid.least) & (blocks <= self.grid.most)

    @cached_property
    def ends(self) -> tuple[FloatArray, FloatArray]:
        """[K] least and most that each client may keep, of real sizes if any."""
        if self.problem.workload.emulator_sizes is None:
            return self.problem.kept_min, self.problem.kept_max
        sizes, lowest, highest = sizes_between(self.problem)
        return sizes[lowest], sizes[highest]

    @cached_property
    def order(self) -> NDArray[np.integer]:
        """[K] clients in an order that does not depend on how they are numbered."""
        latency, band_hz = self.problem.latency, self.problem.cell.total_bandwidth_hz
        ends = (latency.total_s(kept, np.array(band_hz)) for kept in self.ends)
        return np.lexsort((*ends,))

    def polished(
        self, shares_hz: FloatArray
    ) -> tuple[float, tuple[FloatArray, FloatArray]]:
        """Return the best kept fractions for shares, the best shares for those."""
        problem = self.problem
        if problem.workload.emulator_sizes is None:
            kept = prune_block(problem, shares_hz)
        else:
            kept = round_to_sizes(problem, self.ends[0], shares_hz)
        shares_hz = whole_blocks(problem, kept)
        latency_s = float(np.max(problem.latency.total_s(kept, shares_hz)))
        return latency_s, (kept, shares_hz)

    def shares_by(self, deadline_s: float) -> FloatArray | None:
        """Return shares that meet a deadline, [K] [Hz]; None if there are none."""
        worth = self._worth(deadline_s)
        possible = np.isfinite(worth)
        first = np.argmax(possible, axis=0)
        spare = self.grid.total - int(np.sum(first + self.fewest))
        if not np.all(np.any(possible, axis=0)) or spare < 0:
            return None
        last = np.minimum(self.grid.most.astype(int) - self.fewest, len(worth) - 1)
        more = np.arange(spare + 1)[:, None]
        worth = np.take_along_axis(worth, np.minimum(first + more, last), axis=0)
        given = _best_given(worth.T[self.order], self._enough)
        if given is None:
            return None
        blocks = first + self.fewest
        blocks[self.order] += given
        return self.grid.block_hz * np.minimum(blocks, last + self.fewest)

    def _worth(self, deadline_s: float) -> FloatArray:
        """[M, K] what C5 counts for each client by a deadline; -inf if it is late."""
        problem, (low, high) = self.problem, self.ends
        shares_hz = np.broadcast_to(self.shares_hz, self.legal.shape)
        latest_s = deadline_s * (1 + TIME_ROUNDING)
        kept = problem.latency.kept_at(shares_hz, deadline_s)
        if problem.workload.emulator_sizes is not None:
            sizes, lowest, highest = sizes_between(problem)
            at = np.searchsorted(sizes, kept + ROUNDING, side="right") - 1
            at = np.clip(at, lowest, highest)
            late = problem.latency.total_s(sizes[at], shares_hz) > latest_s
            kept = sizes[np.maximum(at - late, lowest)]
        worth = problem.avoided_by(np.clip(kept, low, high))
        ends = problem.latency.total_s(low, shares_hz) <= latest_s
        return np.where(self.legal & ends, worth, -np.inf)

    @cached_property
    def _enough(self) -> float:
        """What C5 asks for, less its rounding: who misses this is late for sure."""
        problem = self.problem
        if problem.workload.emulator_sizes is not None:
            return enough_in_sizes(problem)
        size = float(problem.c5_size(np.array(problem.avoid_min)))
        return problem.avoid_min - C5_ROUNDING * size


def _best_given(worth: FloatArray, enough: float) -> NDArray[np.integer] | None:
    """Give spare blocks to clients so that all of them are worth most together.

    Parameters
    ----------
    worth : [K, P]
        Of each client with 0, 1, ... spare blocks; not falling.
    enough : float
        What they have to be worth.

    Returns
    -------
    given : [K] or None
        Spare blocks; None where no split is worth enough.
    """
    best = [worth[0]]  # of the clients so far, with so many blocks between them
    for one in worth[1:-1]:
        best.append(_most_of_two(best[-1], one))
    left, given = worth.shape[1] - 1, np.zeros(len(worth), dtype=np.int64)
    for k in range(len(worth) - 1, 0, -1):
        both = best[k - 1][left::-1] + worth[k, : left + 1]
        if k == len(worth) - 1 and not np.max(both) >= enough:
            return None
        given[k] = np.argmax(both)
        left -= int(given[k])
    given[0] = np.argmax(worth[0, : left + 1])
    return given if len(worth) > 1 or worth[0, -1] >= enough else None


def _most_of_two(first: FloatArray, second: FloatArray) -> FloatArray:
    """Best sum of two for every number of blocks between them, [P]: max-plus."""
    size = first.size
    padded = np.concatenate([np.full(size - 1, -np.inf), first])
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)
    turned, rows = second[::-1], max(SUMS_AT_ONCE // size, 1)
    parts = (windows[i : i + rows] + turned for i in range(0, size, rows))
    return np.concatenate([np.max(part, axis=1) for part in parts])

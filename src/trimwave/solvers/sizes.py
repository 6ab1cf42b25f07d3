"""From any kept fraction to those that whole heads and neurons allow.

Shapes: K clients of one cell; sets that are tried at once are [N, K].
"""

import numpy as np
from numpy.typing import NDArray

from trimwave.base.errors import InfeasibleError
from trimwave.base.roots import newton_root
from trimwave.base.tolerances import ROUNDING
from trimwave.base.units import FloatArray
from trimwave.problem.problem import Problem
from trimwave.problem.violation import Violation
from trimwave.solvers.blocks import bandwidth_block

MAX_SWAPS = 20
"""Rounds of swaps at the most."""

MOST_SWAPPED = 12
"""Clients on either side between whom sizes are swapped."""

SWAP_FLOATS = 4e6
"""Kept fractions that are tried at once at the most."""


def round_to_sizes(
    problem: Problem, kept: FloatArray, bandwidth_hz: FloatArray
) -> FloatArray:
    """Round down to attainable sizes, then spend what C5 still asks for, [K].

    C3, C4 and C5 hold afterwards. The client that is raised by one size is each time
    the one that would then end first.

    Raises
    ------
    InfeasibleError
        If no attainable size lies between a client's bounds, or C5 needs more than all
        attainable sizes give.
    """
    if problem.workload.emulator_sizes is None:
        return kept
    grid, lowest, highest = sizes_between(problem)
    at = np.searchsorted(grid, kept + ROUNDING, side="right") - 1
    at = np.clip(at, lowest, highest)
    target = enough_in_sizes(problem)
    if problem.avoided(grid[at])[0] >= target:
        return np.asarray(grid[at])
    if problem.avoided(grid[highest])[0] < target:
        raise InfeasibleError([_c5_out_of_sizes(problem, grid[highest])])
    return _raised(problem, grid, at, highest, bandwidth_hz, target)


def _raised(
    problem: Problem,
    grid: FloatArray,
    at: NDArray[np.integer],
    highest: NDArray[np.integer],
    bandwidth_hz: FloatArray,
    target: float,
) -> FloatArray:
    """Raise sizes in the order of the time that each raise ends at, [K].

    All raises that end by one deadline at once, the last few one by one.
    """
    latency = problem.latency

    def at_by(deadline_s: FloatArray) -> NDArray[np.integer]:
        most = latency.kept_at(bandwidth_hz, deadline_s) + ROUNDING
        return np.clip(np.searchsorted(grid, most, side="right") - 1, at, highest)

    def excess(deadline_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        found = problem.avoided(grid[at_by(deadline_s)]) - target
        return found, np.zeros_like(found)

    low = np.min(latency.total_s(grid[at], bandwidth_hz), keepdims=True)
    high = np.max(latency.total_s(grid[highest], bandwidth_hz), keepdims=True)
    below, _, above = newton_root(excess, low, high * (1 + ROUNDING), high)
    at, most = at_by(below), at_by(above)
    while problem.avoided(grid[at])[0] < target:
        raised = np.minimum(at + 1, most)
        total_s = latency.total_s(grid[raised], bandwidth_hz)
        first = int(np.argmin(np.where(at < most, total_s, np.inf)))
        if at[first] >= most[first]:
            most = highest  # rounding kept the bracket a size too low
            continue
        at[first] = raised[first]
    return np.asarray(grid[at])


def swapped(problem: Problem, kept: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Move one size from a client to another while that lets all end sooner.

    Tried for the clients to whom a size is worth most band and least band.
    """
    cell, work = problem.cell, problem.workload
    assert work.emulator_sizes is not None
    grid = work.emulator_sizes / work.emulator_params
    bounds = cell.share_bounds_hz
    most = int(np.clip((SWAP_FLOATS / kept.size) ** 0.5, 1, MOST_SWAPPED))
    best_hz = bandwidth_block(problem.latency, kept, *bounds)
    best_s = float(np.max(problem.latency.total_s(kept, best_hz)))
    for _ in range(MAX_SWAPS):
        at = np.searchsorted(grid, kept - ROUNDING)
        order = np.argsort(problem.latency.price_hz(best_hz, best_s), kind="stable")
        givers, takers = order[: -most - 1 : -1], order[:most]
        tried = np.repeat(at[None, :], givers.size * takers.size, axis=0)
        rows = np.arange(len(tried))
        np.subtract.at(tried, (rows, np.repeat(givers, takers.size)), 1)
        np.add.at(tried, (rows, np.tile(takers, givers.size)), 1)
        x = grid[np.clip(tried, 0, grid.size - 1)]
        legal = np.all((x >= problem.kept_min - ROUNDING), axis=-1)
        legal &= np.all(x <= problem.kept_max + ROUNDING, axis=-1)
        legal &= problem.avoided(x)[:, 0] >= enough_in_sizes(problem)
        if not legal.any():
            break
        x = x[legal]
        shares_hz = bandwidth_block(problem.latency, x, *bounds)
        times_s = np.max(problem.latency.total_s(x, shares_hz), axis=-1)
        first = int(np.argmin(times_s))
        if times_s[first] >= best_s * (1 - ROUNDING):
            break
        best_s, kept, best_hz = float(times_s[first]), x[first], shares_hz[first]
    return kept, best_hz


def enough_in_sizes(problem: Problem) -> float:
    """Return what C5 asks of sizes, all of it but for rounding."""
    return problem.avoid_min - ROUNDING * problem.cell.num_clients


def sizes_between(
    problem: Problem,
) -> tuple[FloatArray, NDArray[np.integer], NDArray[np.integer]]:
    """Return the kept fractions of real sizes, and which of them C3 and C4 allow.

    Returns
    -------
    grid : [S]
        All of them, rising.
    lowest, highest : [K]
        Indices of each client's smallest and largest.

    Raises
    ------
    InfeasibleError
        If a client has none.
    """
    work = problem.workload
    assert work.emulator_sizes is not None
    grid = work.emulator_sizes / work.emulator_params
    lowest = np.searchsorted(grid, problem.kept_min - ROUNDING, side="left")
    highest = np.searchsorted(grid, problem.kept_max + ROUNDING, side="right") - 1
    empty = np.flatnonzero(lowest > highest)
    if not empty.size:
        return grid, lowest, highest
    k = int(empty[0])
    low, high = problem.kept_min[k], problem.kept_max[k]
    short = grid[min(lowest[k], grid.size - 1)] - high
    message = (
        f"C4: no real sub-model keeps between {low:.4f} and {high:.4f} "
        f"of the emulator for client {k}; widen `beta_min`..`beta_max` "
        "or lower `prune.round_to`."
    )
    raise InfeasibleError([Violation.of("C4", k, short, message)])


def _c5_out_of_sizes(problem: Problem, kept: FloatArray) -> Violation:
    short = (problem.avoid_min - float(problem.avoided(kept)[0])) / kept.size
    message = (
        f"C5: the largest attainable sub-models prune {1 - np.mean(kept):.4f} on "
        f"average, over `beta_bar` = {problem.limits.beta_bar:g} by {short:.4f}; "
        "raise `beta_bar` or lower `prune.round_to`."
    )
    return Violation.of("C5", None, short, message)

"""From any kept fraction and share to real ones: heads, neurons, resource blocks.

Shapes: K clients of one cell; sets that are tried at once are [N, K].
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trimwave.base.errors import InfeasibleError
from trimwave.base.roots import newton_root
from trimwave.base.tolerances import PROVEN, ROUNDING
from trimwave.base.units import FloatArray
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution, Status
from trimwave.problem.violation import Violation
from trimwave.solvers.blocks import bandwidth_block, prune_block

MAX_TURNS = 20
"""Turns between whole resource blocks and kept fractions at the most."""

MOST_SWAPPED = 12
"""Clients on either side between whom sizes are swapped."""

SWAP_FLOATS = 4e6
"""Kept fractions that are tried at once at the most."""


def realise(problem: Problem, solution: Solution) -> Solution:
    """Round a solution to real sizes and whole resource blocks.

    `Workload.emulator_sizes` are the sizes that heads and neurons allow,
    `Cell.resource_block_hz` is the granularity of the shares; where there is neither
    the solution comes back. The bound is kept: nothing real is faster than the
    continuous optimum, so the new solution's `gap` is the integrality gap.

    Raises
    ------
    InfeasibleError
        If no attainable size lies between a client's bounds, C5 needs more than all
        attainable sizes give, or there are fewer blocks than clients.
    """
    problem.cell.require_one_band("realise")
    sizes, block_hz = problem.workload.emulator_sizes, problem.cell.resource_block_hz
    if sizes is None and block_hz is None:
        return solution
    bandwidth_hz, kept = solution.bandwidth_hz, solution.kept
    if block_hz is not None:
        kept, bandwidth_hz = _turns(problem, kept)
    kept = round_to_sizes(problem, kept, bandwidth_hz)
    if block_hz is not None:
        bandwidth_hz = whole_blocks(problem, kept)
    else:
        kept, bandwidth_hz = _swapped(problem, kept)
    latency_s = float(np.max(problem.latency.total_s(kept, bandwidth_hz)))
    rounded = replace(
        solution,
        kept=kept,
        bandwidth_hz=bandwidth_hz,
        latency_s=latency_s,
        kkt_residual=None,
        status=Status.FEASIBLE,
    )
    if rounded.gap is not None and rounded.gap <= PROVEN:
        return replace(rounded, status=Status.OPTIMAL)
    return rounded


def _swapped(problem: Problem, kept: FloatArray) -> tuple[FloatArray, FloatArray]:
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
    for _ in range(MAX_TURNS):
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
        legal &= problem.avoided(x)[:, 0] >= problem.avoid_min - ROUNDING * at.size
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


def _turns(problem: Problem, kept: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fit the kept fractions to whole blocks and these to them while it helps."""
    best_s, best = np.inf, (kept, np.zeros_like(kept))
    for _ in range(MAX_TURNS):
        bandwidth_hz = whole_blocks(problem, kept)
        kept = prune_block(problem, bandwidth_hz)
        latency_s = float(np.max(problem.latency.total_s(kept, bandwidth_hz)))
        if latency_s >= best_s * (1 - ROUNDING):
            break
        best_s, best = latency_s, (kept, bandwidth_hz)
    return best


def whole_blocks(problem: Problem, kept: FloatArray) -> FloatArray:
    """Best shares in whole resource blocks for fixed kept fractions, [K] [Hz].

    Exact: the least deadline at which the needs, each rounded up to blocks, fit the
    band; of what is left whoever ends last gets one block more.

    Raises
    ------
    InfeasibleError
        If there are fewer blocks than clients, or than their least shares need.
    """
    cell, latency = problem.cell, problem.latency
    block_hz = cell.resource_block_hz
    assert block_hz is not None
    total = int(np.floor(cell.total_bandwidth_hz / block_hz * (1 + ROUNDING)))
    least_hz = np.zeros(()) if cell.share_min_hz is None else cell.share_min_hz
    one = 1.0 if cell.needs_band is None else np.where(cell.needs_band, 1.0, 0.0)
    least = np.maximum(np.ceil(least_hz / block_hz * (1 - ROUNDING)), one)
    least = np.broadcast_to(least, kept.shape)
    most = np.floor(problem.share_max_hz() / block_hz * (1 + ROUNDING))
    _check_blocks(block_hz, total, least, most)

    def blocks_by(deadline_s: FloatArray) -> FloatArray:
        need = latency.required_bandwidth_hz(kept, deadline_s) / block_hz
        need = np.maximum(np.ceil(need * (1 - ROUNDING)), least)
        return np.where(need <= most, need, np.inf)

    def spare(deadline_s: FloatArray) -> tuple[FloatArray, FloatArray]:
        left = total - np.sum(blocks_by(deadline_s), axis=-1, keepdims=True)
        return left, np.zeros_like(left)

    few = np.minimum(least, most)
    slowest = np.max(latency.total_s(kept, few * block_hz), keepdims=True)
    fastest = np.max(latency.total_s(kept, most * block_hz), keepdims=True)
    _, _, deadline = newton_root(spare, fastest, slowest, slowest)
    blocks = np.where(np.isfinite(need := blocks_by(deadline)), need, few)
    total_s = np.where(blocks < most, latency.total_s(kept, blocks * block_hz), -np.inf)
    order = np.argsort(-total_s, kind="stable")[: int(total - np.sum(blocks))]
    blocks[order[np.isfinite(total_s[order])]] += 1
    return blocks * block_hz


def _check_blocks(
    block_hz: float, total: int, least: FloatArray, most: FloatArray
) -> None:
    short = float(np.sum(least)) - total
    if short <= 0 and np.all(least <= most):
        return
    message = (
        f"C1: the clients need {np.sum(least):.0f} resource blocks of {block_hz:g} Hz "
        f"at the least, the band has {total}; use smaller blocks or fewer clients."
    )
    if short <= 0:
        k = int(np.flatnonzero(least > most)[0])
        message = (
            f"C2: client {k} needs {least[k]:.0f} resource blocks of {block_hz:g} Hz "
            f"or more, its largest share holds {most[k]:.0f}; use smaller blocks."
        )
        raise InfeasibleError([Violation.of("C2", k, least[k] - most[k], message)])
    raise InfeasibleError([Violation.of("C1", None, short, message)])


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
    work = problem.workload
    if work.emulator_sizes is None:
        return kept
    grid = work.emulator_sizes / work.emulator_params
    lowest = np.searchsorted(grid, problem.kept_min - ROUNDING, side="left")
    highest = np.searchsorted(grid, problem.kept_max + ROUNDING, side="right") - 1
    _check_sizes_between(problem, grid, lowest, highest)
    at = np.searchsorted(grid, kept + ROUNDING, side="right") - 1
    at = np.clip(at, lowest, highest)
    target = problem.avoid_min - ROUNDING * problem.cell.num_clients
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


def _check_sizes_between(
    problem: Problem,
    grid: FloatArray,
    lowest: NDArray[np.integer],
    highest: NDArray[np.integer],
) -> None:
    empty = np.flatnonzero(lowest > highest)
    if not empty.size:
        return
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

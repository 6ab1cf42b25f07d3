"""From any kept fraction to one that real heads and neurons can have."""

import numpy as np
from numpy.typing import NDArray

from trimwave.constraints import ROUNDING, Violation
from trimwave.errors import InfeasibleError
from trimwave.problem import Problem
from trimwave.units import FloatArray


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
    while problem.avoided(grid[at]) < target:
        raised = np.minimum(at + 1, highest)
        total_s = problem.latency.total_s(grid[raised], bandwidth_hz)
        total_s = np.where(at < highest, total_s, np.inf)
        first = int(np.argmin(total_s))
        if not np.isfinite(total_s[first]):
            raise InfeasibleError([_c5_out_of_sizes(problem, grid[at])])
        at[first] = raised[first]
    return np.asarray(grid[at])


def _check_sizes_between(
    problem: Problem,
    grid: FloatArray,
    lowest: NDArray[np.integer],
    highest: NDArray[np.integer],
) -> None:
    empty = np.flatnonzero(lowest > highest)
    if empty.size:
        k = int(empty[0])
        low, high = problem.kept_min[k], problem.kept_max[k]
        raise InfeasibleError(
            [
                Violation(
                    constraint="C4",
                    client=k,
                    shortfall=float(grid[min(lowest[k], grid.size - 1)] - high),
                    message=(
                        f"C4: no real sub-model keeps between {low:.4f} and {high:.4f} "
                        f"of the emulator for client {k}; widen `beta_min`..`beta_max` "
                        "or lower `prune.round_to`."
                    ),
                )
            ]
        )


def _c5_out_of_sizes(problem: Problem, kept: FloatArray) -> Violation:
    short = (problem.avoid_min - float(problem.avoided(kept)[0])) / kept.size
    return Violation(
        constraint="C5",
        client=None,
        shortfall=short,
        message=(
            f"C5: the largest attainable sub-models prune {1 - np.mean(kept):.4f} on "
            f"average, over `beta_bar` = {problem.limits.beta_bar:g} by {short:.4f}; "
            "raise `beta_bar` or lower `prune.round_to`."
        ),
    )

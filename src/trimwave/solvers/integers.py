"""From any kept fraction and share to real ones: heads, neurons, resource blocks."""

from dataclasses import replace

import numpy as np

from trimwave.base.tolerances import PROVEN
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution, Status
from trimwave.solvers.exact import Exact
from trimwave.solvers.exact_blocks import can_search_blocks, fastest_blocks
from trimwave.solvers.resource_blocks import by_turns, whole_blocks
from trimwave.solvers.sizes import round_to_sizes, swapped

__all__ = ["realise", "round_to_sizes", "whole_blocks"]


def realise(problem: Problem, solution: Solution) -> Solution:
    """Turn a solution into one of real sizes and whole resource blocks.

    `Workload.emulator_sizes` are the sizes that heads and neurons allow,
    `Cell.resource_block_hz` is the granularity of the shares; where there is neither
    the solution comes back.

    `Exact`'s solution becomes the optimum in whole blocks, sizes included, and
    `bound_s` says that no whole blocks are faster; what they cost is the distance to
    the given solution's own bound. Rounded by a heuristic, with the given bound
    (nothing real is faster than the continuous optimum) and so with an integrality
    gap, are: sizes alone; cells that are too large to search (`can_search_blocks`);
    and other solvers' solutions, since Algorithm 1 in whole blocks is not the optimum.

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
    kept, bandwidth_hz = solution.kept, solution.bandwidth_hz
    bound_s = solution.bound_s
    if block_hz is None:
        kept, bandwidth_hz = swapped(
            problem, round_to_sizes(problem, kept, bandwidth_hz)
        )
    elif solution.solver == Exact().name and can_search_blocks(problem):
        kept, bandwidth_hz, bound_s = fastest_blocks(
            problem, kept, bandwidth_hz, bound_s
        )
    else:
        kept, bandwidth_hz = by_turns(problem, kept, bandwidth_hz)
    rounded = replace(
        solution,
        kept=kept,
        bandwidth_hz=bandwidth_hz,
        latency_s=float(np.max(problem.latency.total_s(kept, bandwidth_hz))),
        bound_s=bound_s,
        kkt_residual=None,
        status=Status.FEASIBLE,
    )
    if rounded.gap is not None and rounded.gap <= PROVEN:
        return replace(rounded, status=Status.OPTIMAL)
    return rounded

"""Splits of one band, or of a band for either direction, between fixed sub-models.

Shapes: K clients of one cell, no draws.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from trimwave.base.tolerances import ROUNDING
from trimwave.base.units import FloatArray
from trimwave.cell.cell import Cell
from trimwave.model.workload import Workload
from trimwave.problem.latency import RoundLatency
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem
from trimwave.problem.shares import require_shares
from trimwave.problem.solution import Solution, Status
from trimwave.solvers.blocks import bandwidth_block, prune_block
from trimwave.solvers.duplex import (
    paired_shares,
    paired_total_s,
    require_free_shares,
)
from trimwave.solvers.integers import realise, round_to_sizes, whole_blocks
from trimwave.solvers.resource_blocks import BlockGrid

MAX_TURNS = 20
"""Turns between two halves of a choice at the most."""

NOTHING_TO_PRUNE = Workload(
    adapter_flops=0,
    emulator_flops=0,
    num_local_steps=1,
    adapter_bits=0,
    update_bits=0,
    emulator_params=1,
)
"""Work of sub-models that are fixed: their times stand in `Problem.times`."""


class Shares(NamedTuple):
    """What each client has of the band, or of both bands under FDD."""

    down_hz: FloatArray
    """[K] of the band; under FDD of the downlink's [Hz]."""
    up_hz: FloatArray | None = None
    """[K] of the uplink's own band under FDD [Hz]; None = `down_hz` serves both."""


def even_shares(cell: Cell) -> Shares:
    """Return the even split, B / K each."""
    if (up_hz := cell.up_bandwidth_hz) is None:
        return Shares(cell.even_shares_hz())
    require_free_shares(cell)
    clients = cell.num_clients
    return Shares(cell.even_shares_hz(), np.full(clients, up_hz / clients))


def best_shares(
    latency: RoundLatency, cell: Cell, kept: FloatArray | None = None
) -> Shares:
    """Return the split with which fixed sub-models end soonest.

    They end together, but for whom a bound of its share or a whole resource block
    stops. Under FDD blocks are the best of either band for the other's, in turns.

    Parameters
    ----------
    latency : RoundLatency
        Of all clients of the cell.
    cell : Cell
        Those who share the band.
    kept : [K], optional
        Kept fractions that `latency` is of; zeros where nothing is left to prune.

    Raises
    ------
    InfeasibleError
        If no split obeys the bounds of their shares, C1 and C2.
    InputError
        If shares are bounded, or rates given, and the uplink has its own band.
    """
    kept = np.zeros(cell.num_clients) if kept is None else kept
    problem = Problem(
        cell=cell, workload=NOTHING_TO_PRUNE, limits=Limits(), times=latency
    )
    if cell.up_bandwidth_hz is not None:
        require_free_shares(cell)
        shares = Shares(*paired_shares(problem, kept))
        if cell.resource_block_hz is None:
            return shares
        return _paired_blocks(problem, kept, shares)
    require_shares(cell)
    if cell.resource_block_hz is not None:
        return Shares(whole_blocks(problem, kept))
    return Shares(bandwidth_block(latency, kept, *cell.share_bounds_hz))


def _paired_blocks(problem: Problem, kept: FloatArray, shares: Shares) -> Shares:
    """Best blocks of the downlink for given ones up, of the uplink for those, in turns.

    Each half is exact, so that the round only gets shorter; their best pair may be
    another.
    """
    best_s, best, up_hz = np.inf, shares, shares.up_hz
    for _ in range(MAX_TURNS):
        down_hz = whole_blocks(one_band(problem, up_hz), kept)
        up_hz = whole_blocks(_uplink_alone(problem, kept, down_hz), np.zeros_like(kept))
        total_s = float(np.max(paired_total_s(problem, kept, down_hz, up_hz)))
        if total_s >= best_s * (1 - ROUNDING):
            break
        best_s, best = total_s, Shares(down_hz, up_hz)
    return best


def _uplink_alone(problem: Problem, kept: FloatArray, down_hz: FloatArray) -> Problem:
    """Return P1 with all but the upload fixed: one band, the uplink's."""
    latency, cell = problem.latency, problem.cell
    assert cell.up_bandwidth_hz is not None
    nothing = np.zeros_like(latency.up_bits)
    return replace(
        problem,
        cell=replace(
            cell, total_bandwidth_hz=cell.up_bandwidth_hz, up_bandwidth_hz=None
        ),
        times=RoundLatency(
            compute_fixed_s=latency.compute_s(kept) + latency.down_s(kept, down_hz),
            compute_emulator_s=nothing,
            down_fixed_bits=nothing,
            down_emulator_bits=nothing,
            up_bits=latency.up_bits,
            down=latency.up,
            up=latency.up,
        ),
    )


def downlink_alone(cell: Cell) -> Cell:
    """Return the cell with the downlink's band alone, in any shares."""
    return replace(cell, up_bandwidth_hz=None, resource_block_hz=None)


def one_band(problem: Problem, up_hz: FloatArray | None) -> Problem:
    """Return P1 with the uplink's shares fixed: one band, the upload a part of u_k.

    Parameters
    ----------
    up_hz : [K] or None
        Shares of the uplink's band [Hz]; None where there is one band anyway.
    """
    if up_hz is None:
        return problem
    latency = problem.latency
    return replace(
        problem,
        cell=replace(problem.cell, up_bandwidth_hz=None),
        times=replace(
            latency,
            compute_fixed_s=latency.compute_fixed_s + latency.up_s(up_hz),
            up_bits=np.zeros_like(latency.up_bits),
        ),
    )


def realised(problem: Problem, solution: Solution) -> Solution:
    """Round a solution as `realise` does; under FDD without its proof.

    Kept fractions are fitted to shares, and both bands split again for them, in turns.

    Raises
    ------
    InfeasibleError
        As `realise`.
    """
    up_hz = solution.up_bandwidth_hz
    if up_hz is None:
        return realise(problem, solution)
    block_hz = problem.cell.resource_block_hz
    if problem.workload.emulator_sizes is None and block_hz is None:
        return solution
    best, kept = solution, solution.kept
    alike, down_hz = one_band(problem, up_hz), solution.bandwidth_hz
    for turn in range(MAX_TURNS):
        kept = round_to_sizes(alike, kept, down_hz)
        down_hz, up_hz = best_shares(problem.latency, problem.cell, kept)
        assert up_hz is not None
        total_s = float(np.max(paired_total_s(problem, kept, down_hz, up_hz)))
        if turn and total_s >= best.latency_s * (1 - ROUNDING):
            break
        best = replace(
            solution,
            kept=kept,
            bandwidth_hz=down_hz,
            up_bandwidth_hz=up_hz,
            latency_s=total_s,
            kkt_residual=None,
            status=Status.FEASIBLE,
        )
        if block_hz is None:
            break
        alike = one_band(problem, up_hz)
        kept = prune_block(alike, down_hz)
    return best


def in_blocks(cell: Cell, shares: Shares) -> Shares:
    """Round any split to whole resource blocks, one or more for each client.

    By the largest remainder, within the bounds of the shares; a split in whole blocks
    stays as it is. The cell's own without resource blocks.

    Raises
    ------
    InfeasibleError
        If there are fewer blocks than clients, or than their bounds need.
    """
    if cell.resource_block_hz is None:
        return shares
    down_hz = _rounded(cell, shares.down_hz)
    if shares.up_hz is None or cell.up_bandwidth_hz is None:
        return Shares(down_hz)
    uplink = replace(cell, total_bandwidth_hz=cell.up_bandwidth_hz)
    return Shares(down_hz, _rounded(uplink, shares.up_hz))


def _rounded(cell: Cell, share_hz: FloatArray) -> FloatArray:
    """Round the shares of a cell's one band."""
    grid = BlockGrid.of(Problem(cell=cell, workload=NOTHING_TO_PRUNE, limits=Limits()))
    wanted = share_hz / grid.block_hz
    whole = np.rint(wanted)
    near = np.abs(whole - wanted) <= ROUNDING * np.maximum(wanted, 1.0)
    if near.all() and np.sum(whole) <= grid.total:
        return share_hz
    wanted = wanted * min(1.0, grid.total / np.sum(wanted))
    blocks = np.clip(np.floor(wanted * (1 + ROUNDING)), grid.least, grid.most)
    budget = np.floor(np.sum(wanted) * (1 + ROUNDING))
    budget = np.clip(budget, np.sum(grid.least), np.sum(grid.most))
    while (left := int(budget - np.sum(blocks))) != 0:
        step = 1 if left > 0 else -1
        movable = blocks < grid.most if left > 0 else blocks > grid.least
        gain = np.where(movable, step * (wanted - blocks), -np.inf)
        order = np.argsort(-gain, kind="stable")[: min(abs(left), np.sum(movable))]
        blocks[order] += step
    return blocks * grid.block_hz

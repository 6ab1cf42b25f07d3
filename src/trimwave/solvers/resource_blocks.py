"""Shares of the band in whole resource blocks.

Shapes: K clients of one cell.
"""

from dataclasses import dataclass

import numpy as np

from trimwave.base.errors import InfeasibleError
from trimwave.base.roots import newton_root
from trimwave.base.tolerances import ROUNDING
from trimwave.base.units import FloatArray
from trimwave.problem.problem import Problem
from trimwave.problem.violation import Violation
from trimwave.solvers.blocks import prune_block
from trimwave.solvers.sizes import round_to_sizes

MAX_TURNS = 20
"""Turns between whole resource blocks and kept fractions at the most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockGrid:
    """How many resource blocks there are, and how many each client may have."""

    block_hz: float
    """Of one [Hz]."""
    total: int
    """Whole ones in the band."""
    least: FloatArray
    """[K] fewest of a client: C2; none only for who needs no band."""
    most: FloatArray
    """[K] most of a client: C2."""

    @classmethod
    def of(cls, problem: Problem) -> "BlockGrid":
        """Divide a cell's band.

        Raises
        ------
        InfeasibleError
            If there are fewer blocks than clients, or than their least shares need.
        """
        cell = problem.cell
        block_hz = cell.resource_block_hz
        assert block_hz is not None
        total = int(np.floor(cell.total_bandwidth_hz / block_hz * (1 + ROUNDING)))
        least_hz = (
            np.zeros(cell.shape) if cell.share_min_hz is None else cell.share_min_hz
        )
        one = 1.0 if cell.needs_band is None else np.where(cell.needs_band, 1.0, 0.0)
        least = np.maximum(np.ceil(least_hz / block_hz * (1 - ROUNDING)), one)
        most = np.floor(problem.share_max_hz() / block_hz * (1 + ROUNDING))
        _check_blocks(block_hz, total, least, most)
        return cls(block_hz=block_hz, total=total, least=least, most=most)


def whole_blocks(problem: Problem, kept: FloatArray) -> FloatArray:
    """Best shares in whole resource blocks for fixed kept fractions, [K] [Hz].

    Exact: the least deadline at which the needs, each rounded up to blocks, fit the
    band; of what is left whoever ends last gets one block more.

    Raises
    ------
    InfeasibleError
        If there are fewer blocks than clients, or than their least shares need.
    """
    latency, grid = problem.latency, BlockGrid.of(problem)
    block_hz, total = grid.block_hz, grid.total
    least, most = grid.least, grid.most

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


def by_turns(
    problem: Problem, kept: FloatArray, bandwidth_hz: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Kept fractions and whole blocks of a heuristic, [K] each.

    The fractions are fitted to the blocks and the blocks to them while it helps. Often
    some per cent off the best and now and then tens (docs/planner-speed.md): only for
    cells that `fastest_blocks` would take too long for.

    Parameters
    ----------
    kept, bandwidth_hz : [K]
        Where to begin.
    """
    best_s, kept_then = np.inf, kept
    for _ in range(MAX_TURNS):
        shares_hz = whole_blocks(problem, kept_then)
        kept_then = prune_block(problem, shares_hz)
        latency_s = float(np.max(problem.latency.total_s(kept_then, shares_hz)))
        if latency_s >= best_s * (1 - ROUNDING):
            break
        best_s, kept, bandwidth_hz = latency_s, kept_then, shares_hz
    kept = round_to_sizes(problem, kept, bandwidth_hz)
    return kept, whole_blocks(problem, kept)


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

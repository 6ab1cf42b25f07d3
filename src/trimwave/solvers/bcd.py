"""Algorithm 1 of the letter: block coordinate descent on pruning and bandwidth.

Shapes: K clients of one cell.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution, Status
from trimwave.solvers.blocks import bandwidth_block, even_kept, prune_block
from trimwave.solvers.uniform import even_shares

Block = Literal["prune", "bandwidth"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockDescent:
    """Algorithm 1 as printed, started from the uniform point.

    Note: step 4 reads "for each client, min over beta_k subject to C5", which is not
    separable; the block is solved jointly over clients. Both blocks
    are solved exactly, and so the method stalls: after the pruning block all T_k are
    equal and C5 is tight, which is already optimal for the bandwidth block. It stops
    after two sweeps, as a rule with the bandwidth still uniform, and
    its answer depends on where it started. `Exact` does not.
    """

    name: str = "bcd"
    first: Block = "prune"
    """Which block goes first; Algorithm 1 prunes first."""
    rtol: float = 1e-6
    """Stop when the latency changes by less, relative to itself: epsilon."""
    max_sweeps: int = 50
    """T_max."""

    def solve(self, problem: Problem) -> Solution:
        """Run sweeps until the latency stops moving."""
        bounds = problem.cell.share_bounds_hz
        kept, bandwidth_hz = even_kept(problem), even_shares(problem, self.name)
        trace = [float(np.max(problem.latency.total_s(kept, bandwidth_hz)))]
        status = Status.ITERATION_LIMIT
        order: tuple[Block, Block] = ("prune", "bandwidth")
        if self.first == "bandwidth":
            order = ("bandwidth", "prune")
        for _ in range(self.max_sweeps):
            for block in order:
                if block == "prune":
                    kept = prune_block(problem, bandwidth_hz)
                else:
                    bandwidth_hz = bandwidth_block(problem.latency, kept, *bounds)
            trace.append(float(np.max(problem.latency.total_s(kept, bandwidth_hz))))
            if abs(trace[-1] - trace[-2]) < self.rtol * trace[-1]:
                status = Status.FEASIBLE
                break
        return Solution(
            solver=self.name,
            status=status,
            kept=kept,
            bandwidth_hz=bandwidth_hz,
            latency_s=trace[-1],
            trace=tuple(trace),
            sweeps=len(trace) - 1,
        )

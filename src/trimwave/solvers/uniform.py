"""UBFP's answer to P1: everyone the same share and the same pruning rate."""

from dataclasses import dataclass

import numpy as np

from trimwave.problem import Problem
from trimwave.solution import Solution, Status
from trimwave.solvers.blocks import even_kept


@dataclass(frozen=True, kw_only=True, slots=True)
class Uniform:
    """B_k = B / K and beta_k = beta_bar.

    A client whose memory does not hold that prunes as much more as it must, and the
    others share what C5 then asks of them evenly.
    """

    name: str = "uniform"

    def solve(self, problem: Problem) -> Solution:
        """Solve without any search over bandwidths."""
        kept = even_kept(problem)
        num_clients = problem.cell.num_clients
        bandwidth_hz = np.full(
            num_clients, problem.cell.total_bandwidth_hz / num_clients
        )
        return Solution(
            solver=self.name,
            status=Status.FEASIBLE,
            kept=kept,
            bandwidth_hz=bandwidth_hz,
            latency_s=float(np.max(problem.latency.total_s(kept, bandwidth_hz))),
        )

"""UBFP's answer to P1: everyone the same share and the same pruning rate.

Shapes: K clients of one cell.
"""

from dataclasses import dataclass, replace

import numpy as np

from trimwave.base.errors import InfeasibleError
from trimwave.base.tolerances import ROUNDING
from trimwave.base.units import FloatArray
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution, Status
from trimwave.problem.violation import Violation, at_least
from trimwave.solvers.blocks import even_kept
from trimwave.solvers.duplex import require_free_shares


@dataclass(frozen=True, kw_only=True, slots=True)
class Uniform:
    """B_k = B / K and beta_k = beta_bar; under FDD an even share of either band.

    A client whose memory does not hold that prunes as much more as it must, and the
    others share what C5 then asks of them evenly.
    """

    name: str = "uniform"

    def solve(self, problem: Problem) -> Solution:
        """Solve without any search over bandwidths.

        Raises
        ------
        InfeasibleError
            If the even share is outside a client's bounds.
        """
        kept, latency, cell = even_kept(problem), problem.latency, problem.cell
        alike = replace(problem, cell=replace(cell, up_bandwidth_hz=None))
        bandwidth_hz, up_hz = even_shares(alike, self.name), None
        if cell.up_bandwidth_hz is not None:
            require_free_shares(cell)
            up_hz = np.full(cell.num_clients, cell.up_bandwidth_hz / cell.num_clients)
        up_s = latency.up_s(bandwidth_hz if up_hz is None else up_hz)
        total_s = latency.compute_s(kept) + (latency.down_s(kept, bandwidth_hz) + up_s)
        return Solution(
            solver=self.name,
            status=Status.FEASIBLE,
            kept=kept,
            bandwidth_hz=bandwidth_hz,
            up_bandwidth_hz=up_hz,
            latency_s=float(np.max(total_s)),
        )


def even_shares(problem: Problem, solver: str) -> FloatArray:
    """Return B / K for everyone who needs some of the band, [K] [Hz].

    Raises
    ------
    InfeasibleError
        If that is outside a client's bounds.
    InputError
        If the uplink has its own band.
    """
    cell = problem.cell
    cell.require_one_band(f"solver `{solver}`")
    shares_hz = cell.even_shares_hz()
    even_hz = float(np.max(shares_hz))
    bounds = (cell.share_min_hz, 1.0), (cell.share_max_hz, -1.0)
    for bound_hz, sign in bounds:
        if bound_hz is None:
            continue
        short_hz = sign * (bound_hz - shares_hz)
        for k in np.flatnonzero(short_hz > ROUNDING * even_hz)[:1]:
            what = "`bandwidth_min_hz`" if sign > 0 else "`bandwidth_max_hz`"
            message = (
                f"C2: solver `{solver}` starts from B/K = {even_hz:g} Hz, outside the "
                f"bounds of {cell.who(int(k))}; use jcpba with the exact one, or "
                f"{'lower' if sign > 0 else 'raise'} its {what} by "
                f"{at_least(short_hz[k])} Hz."
            )
            raise InfeasibleError([Violation.of("C2", k, short_hz[k], message)])
    return shares_hz

"""The uplink in turns: each client has the whole band for its upload, one at a time.

With the letter's static split a client's share is idle while it computes. Here B_k
serves the download alone; once the last download has ended, clients upload one after
another over the whole band, in the order in which they finish computing. A client that
uploads with `tail_k` seconds still to come, its own included, must be ready by T -
tail_k. For a given order this is P1 with other times, solved exactly.
"""

from dataclasses import dataclass, replace

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.tolerances import PROVEN
from trimwave.base.units import FloatArray, IntArray
from trimwave.problem.latency import RoundLatency
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution, Status, solve
from trimwave.solvers.exact import Exact

MAX_ORDERS = 20
"""Orders that are tried at the most."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedUplink:
    """A round whose uploads take turns."""

    order: IntArray
    """The clients in the order in which they upload."""
    solution: Solution
    """Kept fractions, download shares and latency; its bound holds for any order."""
    upload_s: FloatArray
    """[K] how long each upload takes over the whole band [s]."""
    begins_s: FloatArray
    """[K] when each upload begins [s]."""
    static: Solution
    """P1 with the letter's static split, for comparison."""

    @property
    def saved_s(self) -> float:
        """How much sooner the round ends than with the static split [s]."""
        return self.static.latency_s - self.solution.latency_s


def share_uplink(problem: Problem) -> SharedUplink:
    """Let the uploads take turns over the whole band.

    Parameters
    ----------
    problem : Problem
        P1 of one cell.

    Raises
    ------
    InfeasibleError
        If C1 to C5 exclude each other.
    InputError
        If the largest shares of the cell are bounded: an upload takes the whole band.

    Notes
    -----
    The order is found by sorting again and again by when clients are done computing; it
    need not be the best. The bound is that of everyone uploading alone at the very end,
    and proves little where uploads are long. Valid when `Exact` is.
    """
    problem.cell.require_one_band("share_uplink")
    if problem.cell.share_max_hz is not None:
        raise InputError(
            "uploads in turns take the whole band; set `bandwidth_max_hz` to None."
        )
    static = solve(problem, Exact())
    whole_hz = np.full(problem.cell.shape, problem.cell.total_bandwidth_hz)
    upload_s = problem.latency.up_s(whole_hz)
    alone = Exact().solve(with_tails(problem, upload_s, None))
    best: tuple[float, IntArray, Solution] | None = None
    kept, tried = static.kept, set()
    for _ in range(MAX_ORDERS):
        order = np.argsort(problem.latency.unshared_s(kept), kind="stable")
        if tuple(order) in tried:
            break
        tried.add(tuple(order))
        tail_s = tails_s(upload_s, order)
        found = Exact().solve(with_tails(problem, tail_s, float(np.max(tail_s))))
        kept = found.kept
        if best is None or found.latency_s < best[0]:
            best = found.latency_s, order, found
    assert best is not None
    latency_s, order, found = best
    solution = replace(
        found, bound_s=alone.bound_s, kkt_residual=None, status=Status.FEASIBLE
    )
    if solution.gap is not None and solution.gap <= PROVEN:
        solution = replace(solution, status=Status.OPTIMAL)
    return SharedUplink(
        order=order,
        solution=solution,
        upload_s=upload_s,
        begins_s=latency_s - tails_s(upload_s, order),
        static=static,
    )


def tails_s(upload_s: FloatArray, order: IntArray) -> FloatArray:
    """Return the airtime from each upload's begin to the end of the last, [K] [s]."""
    tail_s = np.empty_like(upload_s)
    tail_s[order] = np.cumsum(upload_s[order][::-1])[::-1]
    return tail_s


def with_tails(
    problem: Problem, tail_s: FloatArray, uploads_s: float | None
) -> Problem:
    """Return P1 of compute and download, each client's deadline earlier by its tail.

    With the length of all uploads given nobody computes past the download of another
    into its own turn: whatever is computed, the download ends before they begin.
    """
    given = problem.latency
    least_s = None if uploads_s is None else np.full(problem.cell.shape, uploads_s)
    times = RoundLatency(
        compute_fixed_s=given.compute_fixed_s + tail_s,
        compute_emulator_s=given.compute_emulator_s,
        down_fixed_bits=given.down_fixed_bits,
        down_emulator_bits=given.down_emulator_bits,
        up_bits=np.zeros(problem.cell.shape),
        down=given.down,
        up=given.up,
        emulator_time=given.emulator_time,
        held=given.held,
        compute_least_s=least_s,
    )
    return replace(problem, times=times)

"""Whom planner.py puts beside `exact`, and how it takes their time."""

import importlib.util
import signal
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any

import numpy as np
from planner_cells import Scaled
from planner_cvxpy import clarabel_latency_s, dqcp_latency_s
from scipy.optimize import minimize

from trimwave.problem.problem import Problem
from trimwave.problem.solution import solve
from trimwave.solvers import SOLVERS

HAS_CVXPY = importlib.util.find_spec("cvxpy") is not None

REPEATS, ENOUGH_S = 20, 3.0
"""A time is the least of so many runs, but no run begins after this."""

LEAST_SHARE = 1e-3
"""Lower bound of SLSQP's shares, in even ones."""


class LateError(Exception):
    """A solver that was stopped."""


@contextmanager
def at_most(limit_s: float) -> Iterator[None]:
    """Raise `LateError` at the first Python code after so long (POSIX)."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise LateError

    before = signal.signal(signal.SIGALRM, stop)
    # Again and again, since an exception in a callback of the collector is swallowed.
    signal.setitimer(signal.ITIMER_REAL, limit_s, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def timed(
    call: Callable[[Problem], Any], problem: Problem, limit_s: float = 3600.0
) -> tuple[float, Any]:
    """Least time of some runs [s], and what the last returned; None if late.

    Every run has a copy, which has none of the problem's cached coefficients.
    """
    best_s, found, begin = np.inf, None, time.perf_counter()
    for _ in range(REPEATS):
        copy, start = replace(problem), time.perf_counter()
        try:
            with at_most(limit_s):
                found = call(copy)
        except LateError:
            return limit_s, None
        best_s = min(best_s, time.perf_counter() - start)
        if time.perf_counter() - begin > ENOUGH_S:
            break
    return best_s, found


def slsqp_latency_s(problem: Problem) -> float:
    """Round time that SciPy's SLSQP finds from the even plan [s].

    With all gradients, at SciPy's tolerance. Its point is made exactly feasible before
    it is timed. Valid for the letter's P1.
    """
    scaled, cell = Scaled.of(problem), problem.cell
    (u, v), (p, q) = scaled.compute[0], scaled.payload[0]
    num_clients, each = cell.num_clients, np.arange(cell.num_clients)
    low, high = problem.kept_min, problem.kept_max
    kept_sum = num_clients * (1 - problem.limits.beta_bar)

    def slacks(z: np.ndarray) -> np.ndarray:
        kept, share = z[:num_clients], z[num_clients:-1]
        used = 1 - np.mean(share), (np.sum(kept) - kept_sum) / num_clients
        return np.r_[z[-1] - u - v * kept - (p + q * kept) / share, used]

    def slopes(z: np.ndarray) -> np.ndarray:
        kept, share = z[:num_clients], z[num_clients:-1]
        found = np.zeros((num_clients + 2, 2 * num_clients + 1))
        found[each, each] = -v - q / share
        found[each, num_clients + each] = (p + q * kept) / share**2
        found[:num_clients, -1] = 1.0
        found[-2, num_clients:-1] = -1 / num_clients
        found[-1, :num_clients] = 1 / num_clients
        return found

    shares = [(LEAST_SHARE, num_clients)] * num_clients
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # steps outside the bounds
        found = minimize(
            lambda z: z[-1],
            np.r_[scaled.even_kept, np.ones(num_clients), 1.0],
            jac=lambda z: np.r_[np.zeros(2 * num_clients), 1.0],
            bounds=[*zip(low, high, strict=True), *shares, (0, None)],
            constraints={"type": "ineq", "fun": slacks, "jac": slopes},
            method="SLSQP",
            options={"maxiter": 1000},
        )
    kept = np.clip(found.x[:num_clients], low, high)
    lacking = max(0.0, kept_sum - float(np.sum(kept)))
    kept = kept + (high - kept) * lacking / max(float(np.sum(high - kept)), 1e-300)
    share = found.x[num_clients:-1] / np.mean(found.x[num_clients:-1])
    bandwidth_hz = share * cell.total_bandwidth_hz / num_clients
    return float(np.max(problem.latency.total_s(kept, bandwidth_hz)))


PEERS: dict[str, Callable[[Problem], float]] = {
    "bcd": lambda problem: solve(problem, SOLVERS["bcd"]).latency_s,
    "SLSQP": slsqp_latency_s,
}
if HAS_CVXPY:
    PEERS |= {"CVXPY DQCP": dqcp_latency_s, "CVXPY + Clarabel": clarabel_latency_s}


def duration(seconds: float) -> str:
    """Format a time."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def times(ratio: float) -> str:
    """Format a ratio."""
    return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.2g}x"

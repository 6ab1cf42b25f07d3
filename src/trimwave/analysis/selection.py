"""A deadline with client selection: whom to drop, and what that buys.

Who is tried is said by prices (`analysis.sets`), which also bound what any could do.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from trimwave.analysis.sets import (
    bound_holds,
    cheapest,
    swaps,
    tops,
    who_could,
    who_fits,
)
from trimwave.base.errors import InfeasibleError, InputError
from trimwave.base.roots import bracket_root
from trimwave.base.tolerances import DEADLINE_RTOL, ROUNDING, TIME_ROUNDING
from trimwave.base.units import FloatArray, IntArray
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution, Status, solve
from trimwave.problem.violation import Violation
from trimwave.solvers.exact import Exact

DOUBLINGS = 60
"""How often a deadline is doubled at the most until a set can meet it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """Who takes part in a round and who does not."""

    clients: IntArray
    """Who takes part, ascending."""
    dropped: IntArray
    """Who does not, ascending."""
    solution: Solution
    """P1 of those who take part, in the order of `clients`."""
    most: int
    """No selection of more clients meets the deadline."""

    @property
    def proven(self) -> bool:
        """Whether no larger selection exists."""
        return self.clients.size == self.most


def select_clients(problem: Problem, deadline_s: float) -> Selection:
    """Serve as many clients as a deadline allows, with C5 over those who are served.

    Parameters
    ----------
    problem : Problem
        P1 of one cell; a client whose memory holds no sub-model is dropped.
    deadline_s : float
        When the round must end [s].

    Returns
    -------
    Selection
        With the fastest plan for those clients; where `proven` is False a larger set
        may exist, of no more than `most` clients.

    Raises
    ------
    InputError
        If the deadline is not positive, or the uplink has its own band.
    InfeasibleError
        If nobody is found who can meet it; says within which time somebody can.

    Notes
    -----
    The search among sets is cut short by a bound that holds when B_k(x_k) is convex
    (`Exact`); elsewhere `most` counts all who could meet the deadline alone.
    """
    problem.cell.require_one_band("select_clients")
    if not (np.isfinite(deadline_s) and deadline_s > 0):
        raise InputError(f"`deadline_s` must be positive and finite, got {deadline_s}.")
    band = problem.cell.total_bandwidth_hz * (1 + ROUNDING)
    low, high = 0, problem.cell.num_clients
    middle = high  # often everyone
    while low < high:  # the most that the bound lets pass
        if cheapest(problem, deadline_s, middle)[0] > band:
            high = middle - 1
        else:
            low = middle
        middle = (low + high + 1) // 2
    most = low
    if low and not bound_holds(problem, deadline_s):
        most = who_could(problem, deadline_s).size
    for size in range(low, 0, -1):
        _, orders = cheapest(problem, deadline_s, size)
        tried = _Tried(problem)
        for sets in (tops(orders, size), swaps(orders, size)):
            tried.add(sets)
            if tried.best_s <= deadline_s * (1 + TIME_ROUNDING):
                return tried.selection(most)
    raise InfeasibleError([_nobody(problem, deadline_s)])


def drop_clients(problem: Problem, num_dropped: int) -> Selection:
    """Drop so many clients that the round of the others ends soonest.

    Parameters
    ----------
    problem : Problem
        P1 of one cell.
    num_dropped : int
        How many to drop.

    Returns
    -------
    Selection
        Its solution's bound is on the plans of all sets of that size; None where
        B_k(x_k) is not known to be convex.

    Raises
    ------
    InputError
        If the number is negative or leaves nobody, or the uplink has its own band.
    InfeasibleError
        If no set of that size is found that has a solution.
    """
    problem.cell.require_one_band("drop_clients")
    num_clients = problem.cell.num_clients
    if not 0 <= num_dropped < num_clients:
        raise InputError(
            f"`num_dropped` must be in [0, {num_clients - 1}] for {num_clients} "
            f"clients, got {num_dropped}."
        )
    wanted, tried = num_clients - num_dropped, _Tried(problem)
    if not num_dropped:
        tried.best = solve(problem, Exact()), np.arange(num_clients)
        return tried.selection(wanted)
    band = problem.cell.total_bandwidth_hz
    high_s = np.array([_some_deadline(problem, wanted, band)])

    def spare(deadline_s: FloatArray) -> FloatArray:
        need_hz, orders = cheapest(problem, float(deadline_s[0]), wanted)
        if need_hz <= band:
            tried.add(tops(orders, wanted))
        # Clients whose rates are given need none.
        return np.array([band / max(need_hz, band * ROUNDING) - 1])

    low_s, above_s = bracket_root(spare, 0 * high_s, high_s, rtol=DEADLINE_RTOL)
    bound_s = float(low_s[0])
    if not tried.best_s <= bound_s * (1 + 2 * DEADLINE_RTOL):
        _, orders = cheapest(problem, float(above_s[0]), wanted)
        tried.add(swaps(orders, wanted))
    if tried.best is None:
        raise InfeasibleError([_no_set(wanted)])
    solution, clients = tried.best
    # What no set of this size can beat, in place of the bound for these clients alone.
    holds = bound_holds(problem, solution.latency_s)
    solution = replace(solution, bound_s=bound_s if holds else None, kkt_residual=None)
    if solution.gap is None or solution.gap > 2 * DEADLINE_RTOL:
        solution = replace(solution, status=Status.FEASIBLE)
    tried.best = solution, clients
    return tried.selection(wanted)


class _Tried:
    """The fastest of the sets tried so far; each is solved once."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.known: set[bytes] = set()
        self.best: tuple[Solution, IntArray] | None = None

    @property
    def best_s(self) -> float:
        """When its round ends [s]; inf without any."""
        return np.inf if self.best is None else self.best[0].latency_s

    def add(self, sets: Iterable[IntArray]) -> None:
        """Solve P1 for some more sets of clients."""
        for clients in sets:
            if clients.tobytes() in self.known:
                continue
            self.known.add(clients.tobytes())
            part = replace(self.problem, cell=self.problem.cell.take(clients))
            found = Exact().solve(part)
            if found.status is not Status.INFEASIBLE and found.latency_s < self.best_s:
                self.best = found, clients

    def selection(self, most: int) -> Selection:
        """Return the fastest."""
        assert self.best is not None
        solution, clients = self.best
        dropped = np.setdiff1d(np.arange(self.problem.cell.num_clients), clients)
        return Selection(clients=clients, dropped=dropped, solution=solution, most=most)


def _some_deadline(problem: Problem, wanted: int, band: float) -> float:
    """Return a deadline by which some set of so many clients may be served [s].

    Raises
    ------
    InfeasibleError
        If there is none, however late.
    """
    low, share_hz = problem.kept_min, problem.share_max_hz() / problem.cell.num_clients
    times_s = np.sort(problem.latency.total_s(low, share_hz))
    deadline_s = float(times_s[wanted - 1])
    for _ in range(DOUBLINGS):
        if cheapest(problem, deadline_s, wanted)[0] <= band:
            return deadline_s
        deadline_s *= 2
    raise InfeasibleError([_no_set(wanted)])


def _nobody(problem: Problem, deadline_s: float) -> Violation:
    """Say when the first could end alone, with C5."""
    kept = np.maximum(1 - problem.limits.beta_bar, problem.kept_min)
    alone_s = problem.latency.total_s(kept, problem.share_max_hz())
    fits = who_fits(problem) & (problem.kept_max >= kept)
    alone_s = np.where(fits, alone_s, np.inf)
    first = int(np.argmin(alone_s))
    if not np.isfinite(alone_s[first]):
        return _no_set(1)
    message = (
        f"deadline: nobody can end within {deadline_s:g} s with C5; client "
        f"{first}, alone, needs {alone_s[first] * (1 + 5e-6):.6g} s; raise "
        "the deadline to that or more."
    )
    return Violation.of("deadline", first, alone_s[first] - deadline_s, message)


def _no_set(wanted: int) -> Violation:
    message = (
        f"no {wanted} clients have a plan together: memory (C3) or C5 forbid it; "
        "drop more, or raise `beta_bar`."
    )
    return Violation.of("C5", None, wanted, message)

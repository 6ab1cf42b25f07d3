"""A deadline with client selection: whom to drop, and what that buys.

At a deadline and a price for C5 client k costs psi_k = min_x B_k(x) - price a_k(x) of
band, with a_k what it adds to C5, which may be negative. Any n clients that meet the
deadline and C5 have sum psi_k <= B, whatever the price: where even the n smallest sum
up to more, no n clients can. The best price, of a concave function, shows that if any
does; the clients it names are then tried.
"""

from dataclasses import dataclass, replace

import numpy as np

from trimwave.constraints import ROUNDING, Violation
from trimwave.errors import InfeasibleError, InputError
from trimwave.problem import Problem
from trimwave.roots import bracket_root
from trimwave.solution import Solution, Status
from trimwave.solvers.deadline import AtDeadline
from trimwave.solvers.exact import Exact
from trimwave.units import FloatArray, IntArray

PRICE_STEPS, ZOOMS = 16, 9
"""Prices tried at once, and how often between the neighbours of the best."""

DOUBLINGS = 60
"""How often a deadline is doubled at the most until a set can meet it."""

DEADLINE_RTOL = 1e-10
"""How finely the deadline of the fastest set is searched."""


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
        If the deadline is not positive.
    InfeasibleError
        If nobody can meet it; says within which time somebody can.

    Notes
    -----
    Valid, as the bound, when B_k(x_k) is convex (`Exact`).
    """
    if not (np.isfinite(deadline_s) and deadline_s > 0):
        raise InputError(f"`deadline_s` must be positive and finite, got {deadline_s}.")
    band = problem.cell.total_bandwidth_hz * (1 + ROUNDING)
    low, high = 0, problem.cell.num_clients
    while low < high:  # the most that the bound lets pass
        middle = (low + high + 1) // 2
        if _cheapest_set(problem, deadline_s, middle)[0] > band:
            high = middle - 1
        else:
            low = middle
    for size in range(low, 0, -1):
        _, clients = _cheapest_set(problem, deadline_s, size)
        found = _solved(problem, clients)
        if found and found.latency_s <= deadline_s * (1 + 1e-12):
            return _selection(problem, clients, found, low)
    raise InfeasibleError([_nobody(problem, deadline_s)])


def drop_clients(problem: Problem, num_dropped: int) -> Selection:
    """Drop so many clients that the round of the others ends soonest.

    Parameters
    ----------
    problem : Problem
        P1 of one cell.
    num_dropped : int
        How many to drop.

    Raises
    ------
    InputError
        If the number is negative or leaves nobody.
    InfeasibleError
        If no set of that size has a solution.
    """
    num_clients = problem.cell.num_clients
    if not 0 <= num_dropped < num_clients:
        raise InputError(
            f"`num_dropped` must be in [0, {num_clients - 1}] for {num_clients} "
            f"clients, got {num_dropped}."
        )
    wanted = num_clients - num_dropped
    band = problem.cell.total_bandwidth_hz
    high_s = np.array([_some_deadline(problem, wanted, band)])
    best: tuple[Solution, IntArray] | None = None

    def spare(deadline_s: FloatArray) -> FloatArray:
        nonlocal best
        need_hz, clients = _cheapest_set(problem, float(deadline_s[0]), wanted)
        found = _solved(problem, clients) if need_hz <= band else None
        if found and (best is None or found.latency_s < best[0].latency_s):
            best = found, clients
        return np.array([band / need_hz - 1])

    low_s, _ = bracket_root(spare, 0 * high_s, high_s, rtol=DEADLINE_RTOL)
    if best is None:
        raise InfeasibleError([_no_set(wanted)])
    # What no set of this size can beat, in place of the bound for these clients alone.
    solution = replace(best[0], bound_s=float(low_s[0]), kkt_residual=None)
    if solution.gap is not None and solution.gap > 2 * DEADLINE_RTOL:
        solution = replace(solution, status=Status.FEASIBLE)
    return _selection(problem, best[1], solution, wanted)


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
        if _cheapest_set(problem, deadline_s, wanted)[0] <= band:
            return deadline_s
        deadline_s *= 2
    raise InfeasibleError([_no_set(wanted)])


def _cheapest_set(
    problem: Problem, deadline_s: float, size: int
) -> tuple[float, IntArray]:
    """Return what any clients need at the least [Hz], and the cheapest, ascending."""
    can = problem.latency.kept_at(problem.share_max_hz(), deadline_s)
    clients = np.flatnonzero(np.minimum(can, problem.kept_max) >= problem.kept_min)
    if clients.size < size:
        return np.inf, clients
    part = replace(problem, cell=problem.cell.take(clients))
    at_it = AtDeadline(part, np.array([deadline_s]))
    low_s, _, high_s = (float(one[0]) for one in at_it.price_range())
    best_hz, chosen = -np.inf, clients
    for _ in range(ZOOMS):
        tried = np.geomspace(low_s, high_s, PRICE_STEPS)
        cost = _costs(at_it, tried)
        order = np.argsort(cost, axis=1, kind="stable")[:, :size]
        total = np.sum(np.take_along_axis(cost, order, axis=1), axis=1)
        at = int(np.argmax(total))
        if total[at] > best_hz:
            best_hz, chosen = float(total[at]), np.sort(clients[order[at]])
        low_s, high_s = tried[max(at - 1, 0)], tried[min(at + 1, PRICE_STEPS - 1)]
    return best_hz, chosen


def _costs(at_it: AtDeadline, tried: FloatArray) -> FloatArray:
    """psi_k, [prices, K] [Hz], at some s = price^(-1/2)."""
    problem, s = at_it.problem, tried[:, None]
    kept = at_it.kept(s).kept
    added = problem.avoided_by(kept) - problem.weight * problem.avoid_mean
    return at_it.required_hz(kept) - s**-2.0 * added


def _solved(problem: Problem, clients: IntArray) -> Solution | None:
    part = replace(problem, cell=problem.cell.take(clients))
    found = Exact().solve(part)
    return None if found.status is Status.INFEASIBLE else found


def _selection(
    problem: Problem, clients: IntArray, solution: Solution, most: int
) -> Selection:
    dropped = np.setdiff1d(np.arange(problem.cell.num_clients), clients)
    return Selection(clients=clients, dropped=dropped, solution=solution, most=most)


def _nobody(problem: Problem, deadline_s: float) -> Violation:
    low, most_hz = problem.kept_min, problem.share_max_hz()
    alone_s = problem.latency.total_s(low, most_hz)
    alone_s = np.where(problem.kept_max >= low, alone_s, np.inf)
    first = int(np.argmin(alone_s))
    return Violation(
        constraint="deadline",
        client=first,
        shortfall=float(alone_s[first]) - deadline_s,
        message=(
            f"deadline: nobody can end within {deadline_s:g} s with C5; client "
            f"{first}, alone and at `beta_max`, needs {alone_s[first]:.6g} s; raise "
            "`deadline_s`."
        ),
    )


def _no_set(wanted: int) -> Violation:
    return Violation(
        constraint="C5",
        client=None,
        shortfall=float(wanted),
        message=(
            f"no {wanted} clients have a plan together: memory (C3) or C5 forbid it; "
            "drop more, or raise `beta_bar`."
        ),
    )

"""A deadline with client selection: whom to drop, and what that buys.

At a deadline and a price for C5 client k costs psi_k = min_x B_k(x) - price a_k(x) of
band, with a_k what it adds to C5, which may be negative. Any n clients that meet the
deadline and C5 have sum psi_k <= B, whatever the price: where even the n smallest sum
up to more, no n clients can. The best price, of a concave function, shows that if any
does. The clients named there and at the prices next to it are then tried, and swaps of
those whose costs are close.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from trimwave.constraints import ROUNDING, Violation
from trimwave.errors import InfeasibleError, InputError
from trimwave.problem import Problem
from trimwave.roots import bracket_root
from trimwave.solution import Solution, Status, solve
from trimwave.solvers.certificate import price_rises
from trimwave.solvers.deadline import AtDeadline
from trimwave.solvers.exact import Exact
from trimwave.solvers.uniform import require_one_band
from trimwave.units import FloatArray, IntArray

PRICE_STEPS, ZOOMS = 16, 10
"""Prices tried at once, and how often between the neighbours of the best."""

BEYOND = 1e4
"""How far past the prices at which a client's x_k moves s is looked at, as a factor:
dearer still, who counts much in C5 is named first; cheaper, who needs little band."""

MOST_SWAPPED = 4
"""Clients on either side of the last one served between whom places are swapped."""

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
        If the deadline is not positive, or the uplink has its own band.
    InfeasibleError
        If nobody is found who can meet it; says within which time somebody can.

    Notes
    -----
    The search among sets is cut short by a bound that holds when B_k(x_k) is convex
    (`Exact`); elsewhere `most` counts all who could meet the deadline alone.
    """
    require_one_band(problem.cell, "select_clients")
    if not (np.isfinite(deadline_s) and deadline_s > 0):
        raise InputError(f"`deadline_s` must be positive and finite, got {deadline_s}.")
    band = problem.cell.total_bandwidth_hz * (1 + ROUNDING)
    low, high = 0, problem.cell.num_clients
    while low < high:  # the most that the bound lets pass
        middle = (low + high + 1) // 2
        if _cheapest(problem, deadline_s, middle)[0] > band:
            high = middle - 1
        else:
            low = middle
    most = low
    if not price_rises(problem, np.array([deadline_s]))[0]:
        most = _able(problem, deadline_s).size
    for size in range(low, 0, -1):
        _, orders = _cheapest(problem, deadline_s, size)
        tried = _Tried(problem)
        for sets in (_tops(orders, size), _swaps(orders, size)):
            tried.add(sets)
            if tried.best_s <= deadline_s * (1 + 1e-12):
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
    require_one_band(problem.cell, "drop_clients")
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
        need_hz, orders = _cheapest(problem, float(deadline_s[0]), wanted)
        if need_hz <= band:
            tried.add(_tops(orders, wanted))
        return np.array([band / need_hz - 1])

    low_s, above_s = bracket_root(spare, 0 * high_s, high_s, rtol=DEADLINE_RTOL)
    bound_s = float(low_s[0])
    if not tried.best_s <= bound_s * (1 + 2 * DEADLINE_RTOL):
        _, orders = _cheapest(problem, float(above_s[0]), wanted)
        tried.add(_swaps(orders, wanted))
    if tried.best is None:
        raise InfeasibleError([_no_set(wanted)])
    solution, clients = tried.best
    # What no set of this size can beat, in place of the bound for these clients alone.
    rises = bool(price_rises(problem, np.array([solution.latency_s]))[0])
    solution = replace(solution, bound_s=bound_s if rises else None, kkt_residual=None)
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
        if _cheapest(problem, deadline_s, wanted)[0] <= band:
            return deadline_s
        deadline_s *= 2
    raise InfeasibleError([_no_set(wanted)])


def _able(problem: Problem, deadline_s: float) -> IntArray:
    """Return who could meet a deadline alone at `beta_max`, C5 aside, ascending."""
    most_hz, least_hz = problem.share_max_hz(), problem.cell.bandwidth_min_hz
    can = np.minimum(problem.latency.kept_at(most_hz, deadline_s), problem.kept_max)
    able = can >= problem.kept_min
    if least_hz is not None:
        able &= least_hz <= most_hz
    return np.flatnonzero(able)


def _cheapest(
    problem: Problem, deadline_s: float, size: int
) -> tuple[float, list[IntArray]]:
    """Return the band that any so many clients need at the least [Hz].

    And the clients who could serve in the order of their costs: at the best price, at
    those next to it, and in the order of what they can add to C5.
    """
    clients = _able(problem, deadline_s)
    if clients.size < size:
        return np.inf, []
    part = replace(problem, cell=problem.cell.take(clients))
    at_it = AtDeadline(part, np.array([deadline_s]))
    low_s, _, high_s = (float(one[0]) for one in at_it.price_range())
    low_s, high_s = low_s / BEYOND, high_s * BEYOND
    free_hz = at_it.required_hz(at_it.low)  # at no price
    best_hz = float(np.sum(np.sort(free_hz)[:size]))
    orders = [np.argsort(free_hz, kind="stable")]
    for _ in range(ZOOMS):
        tried = np.geomspace(low_s, high_s, PRICE_STEPS)
        cost = _costs(at_it, tried)
        order = np.argsort(cost, axis=1, kind="stable")
        total = np.sum(np.take_along_axis(cost, order[:, :size], axis=1), axis=1)
        at = int(np.argmax(total))
        before, after = max(at - 1, 0), min(at + 1, PRICE_STEPS - 1)
        if total[at] > best_hz:
            best_hz, orders = float(total[at]), [order[at], order[before], order[after]]
        low_s, high_s = tried[before], tried[after]
    orders.append(np.argsort(-_surplus(part, at_it.high), kind="stable"))
    return best_hz, [clients[one] for one in orders]


def _costs(at_it: AtDeadline, tried: FloatArray) -> FloatArray:
    """psi_k, [prices, K] [Hz], at some s = price^(-1/2)."""
    s = tried[:, None]
    kept = at_it.kept(s).kept
    return at_it.required_hz(kept) - s**-2.0 * _surplus(at_it.problem, kept)


def _surplus(problem: Problem, kept: FloatArray) -> FloatArray:
    """What a client adds to C5 beyond what is asked of it, [..., K]."""
    return problem.avoided_by(kept) - problem.weight * problem.avoid_mean


def _tops(orders: list[IntArray], size: int) -> Iterator[IntArray]:
    """Yield the first clients of each order, ascending."""
    return (np.sort(order[:size]) for order in orders)


def _swaps(orders: list[IntArray], size: int) -> Iterator[IntArray]:
    """Yield them with one of the last replaced by one of the next."""
    for order in orders:
        for out in range(max(0, size - MOST_SWAPPED), size):
            for taken in order[size : size + MOST_SWAPPED]:
                swapped = order[:size].copy()
                swapped[out] = taken
                yield np.sort(swapped)


def _nobody(problem: Problem, deadline_s: float) -> Violation:
    """Say when the first could end alone, with C5."""
    kept = np.maximum(1 - problem.limits.beta_bar, problem.kept_min)
    alone_s = problem.latency.total_s(kept, problem.share_max_hz())
    able = np.isin(np.arange(kept.size), _able(problem, np.inf))
    alone_s = np.where(able & (problem.kept_max >= kept), alone_s, np.inf)
    first = int(np.argmin(alone_s))
    if not np.isfinite(alone_s[first]):
        return _no_set(1)
    return Violation(
        constraint="deadline",
        client=first,
        shortfall=float(alone_s[first]) - deadline_s,
        message=(
            f"deadline: nobody can end within {deadline_s:g} s with C5; client "
            f"{first}, alone, needs {alone_s[first] * (1 + 5e-6):.6g} s; raise "
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

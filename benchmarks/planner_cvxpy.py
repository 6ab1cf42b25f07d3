"""P1 as CVXPY takes it, for planner.py: by its rules for quasi-convexity, and ours.

Each in the form that suited it best of those tried: others took longer, or Clarabel
gave up on them.
"""

import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from planner_cells import Scaled, lines_of

from trimwave.base.roots import bracket_root
from trimwave.problem.problem import Problem

PRECISION = 1e-6
"""To which the round time is asked for, relative to the even plan's."""

COMPILED = 1_000
"""Up to so many clients a program with parameters, compiled once, saves CVXPY time;
with more it takes longer than a new program per deadline, and 75 GiB for 100,000."""


def dqcp_latency_s(problem: Problem) -> float:
    """Round time by CVXPY's own bisection of a quasi-convex program [s].

    Its rules take no sum of compute and transfer time. But with r = v / q that is
    u - v p / q + (p + q x) / w, a ratio of affine forms, where w = B / (1 + r B): and
    the band, sum w / (1 - r w), is convex in w. Not a number if Clarabel fails too
    often on the way. Valid for the letter's P1.
    """
    import cvxpy as cp

    scaled, num_clients = Scaled.of(problem), problem.cell.num_clients
    (u, v), (p, q) = scaled.compute[0], scaled.payload[0]
    kept, w = cp.Variable(num_clients, nonneg=True), cp.Variable(num_clients, pos=True)
    ends = (cp.multiply(u - v * p / q, w) + p + cp.multiply(q, kept)) / w
    share = cp.multiply(q / v, cp.inv_pos(1 - cp.multiply(v / q, w)) - 1)
    asked = [
        cp.sum(share) <= num_clients,
        kept >= problem.kept_min,
        kept <= problem.kept_max,
        cp.sum(kept) >= num_clients * (1 - problem.limits.beta_bar),
    ]
    program = cp.Problem(cp.Minimize(cp.max(ends)), asked)
    options = {"low": scaled.earliest(problem.kept_min), "high": 1.0, "eps": PRECISION}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "inaccurate" and "failed" on the way
        try:
            program.solve(qcp=True, solver=cp.CLARABEL, **options)
        except cp.SolverError:
            return np.nan
    return float(program.value) * scaled.unit_s


def clarabel_latency_s(problem: Problem, rtol: float = PRECISION) -> float:
    """Round time by a search over convex programs, CVXPY with Clarabel [s].

    For a deadline the least band; the deadline that needs just the whole band is found
    by Chandrupatla's method, in 6 to 8 solves where bisection takes 20. Valid for every
    variant under ``fixed`` noise.
    """
    scaled, num_clients = Scaled.of(problem), problem.cell.num_clients
    least_at = _least_band(problem, scaled)

    @cache
    def spare(deadline: float) -> float:
        return num_clients / least_at(deadline) - 1

    low, high = scaled.earliest(problem.kept_min), 1.0
    while spare(high) < 0:  # the even plan may break the bounds of shares
        low, high = high, 2 * high
    _, found = bracket_root(
        lambda deadline: np.array([spare(float(deadline[0]))]), [low], [high], rtol=rtol
    )
    return float(found[0]) * scaled.unit_s


def _least_band(problem: Problem, scaled: Scaled) -> Callable[[float], float]:
    """Return the least band, in even shares, as a function of the deadline.

    With y = T - u - v x, a pair of lines asks for the share (p + q x) / y: in terms of
    z = x - x_min that is first + slope (z + v z^2 / y), a second-order cone.
    """
    import cvxpy as cp

    num_clients, low = problem.cell.num_clients, problem.kept_min
    pairs = [(u, v, p, q) for u, v in scaled.compute for p, q in scaled.payload]
    deadline, program = cp.Parameter(), None
    shares = [[cp.Parameter(num_clients) for _ in range(2)] for _ in pairs]
    if num_clients <= COMPILED:
        program = _program(problem, pairs, deadline, shares)
        assert program.is_dcp(dpp=True)

    def least(at: float) -> float:
        if at <= scaled.earliest(low):
            return np.inf
        values = [_first_and_slope(at, low, *pair) for pair in pairs]
        current = program
        if current is None:
            current = _program(problem, pairs, at, values)
        deadline.value = at
        for share, value in zip(shares, values, strict=True):
            share[0].value, share[1].value = value
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "inaccurate", far from the optimum
            try:
                current.solve(solver=cp.CLARABEL)
            except cp.SolverError:  # where a client has hardly any time left
                return np.inf
        return np.inf if current.value is None else float(current.value)

    return least


def _first_and_slope(
    at: float, low: np.ndarray, u: Any, v: Any, p: Any, q: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Share at the least x and its slope there; 0 where the pair never matters."""
    left, load = at - u - v * low, p + q * low
    slope = (q * left + v * load) / left**2
    return np.where(slope > 0, load / left, 0.0), np.maximum(slope, 0.0)


def _program(
    problem: Problem, pairs: Sequence[Any], deadline: Any, shares: Sequence[Any]
) -> Any:
    """Build the convex program of one deadline."""
    import cvxpy as cp

    cell, num_clients, low = problem.cell, problem.cell.num_clients, problem.kept_min
    kept = cp.Variable(num_clients)
    asked = [kept >= low, kept <= problem.kept_max, _c5(problem, kept)]
    needs = []
    for (u, v, _, _), (first, slope) in zip(pairs, shares, strict=True):
        left = deadline - u - cp.multiply(v, kept)
        bend, more = cp.Variable(num_clients), kept - low
        asked.append(cp.SOC(left + bend, cp.vstack([left - bend, 2 * more])))
        needs.append(first + cp.multiply(slope, more + cp.multiply(v, bend)))
    share = needs[0]
    bounds_hz = cell.bandwidth_min_hz, cell.bandwidth_max_hz
    if len(needs) > 1 or any(one is not None for one in bounds_hz):
        share, even_hz = cp.Variable(num_clients), cell.total_bandwidth_hz / num_clients
        asked += [share >= need for need in needs]
        for sign, bound_hz in zip((1, -1), bounds_hz, strict=True):
            if bound_hz is not None:
                asked.append(sign * share >= sign * bound_hz / even_hz)
    return cp.Problem(cp.Minimize(cp.sum(share)), asked)


def _c5(problem: Problem, kept: Any) -> Any:
    """C5 on CVXPY's variable."""
    import cvxpy as cp

    limits, samples = problem.limits, problem.cell.num_samples
    weight = samples / np.mean(samples) if limits.weighted else np.ones(samples.shape)
    num_clients = len(samples)
    if limits.damage is None:
        return weight @ kept >= num_clients * (1 - limits.beta_bar)
    lines = [start + slope * (1 - kept) for start, slope in lines_of(limits.damage)]
    allowed = float(limits.damage(np.array([limits.beta_bar]))[0])
    return weight @ cp.maximum(*lines) <= num_clients * allowed

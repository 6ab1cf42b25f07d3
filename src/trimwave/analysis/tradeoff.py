"""What latency costs: the curve against beta_bar, and what a finite change saves."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from trimwave.analysis.prices import prices_of
from trimwave.base.errors import InputError
from trimwave.base.units import FloatArray
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution, solve
from trimwave.solvers.exact import Exact

POINTS = 13
"""Points of the curve where none are asked for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TradeOff:
    """Latency against the mean pruning that C5 allows."""

    beta_bar: FloatArray
    """[P] ascending."""
    damage: FloatArray
    """[P] what C5 counts at each, on average; beta_bar itself in the letter."""
    latency_s: FloatArray
    """[P]"""
    bound_s: FloatArray
    """[P] no plan is faster; nan where that is not proven."""
    seconds_per_beta_bar: FloatArray
    """[P] dT/dbeta_bar; not positive [s]."""
    nearest: int
    """The point nearest to the problem's own `beta_bar`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WhatIf:
    """One resource changed by a finite amount, and P1 solved again."""

    constraint: str
    """"C1", "C3" or "C5"."""
    client: int | None
    """Whose memory, or None for the cell."""
    change: float
    """By how much, in the constraint's own unit; inf = lifted altogether."""
    saved_s: float
    """How much sooner the round then ends [s]."""


def trade_off(problem: Problem, beta_bars: ArrayLike | None = None) -> TradeOff:
    """Solve P1 for several beta_bar.

    Parameters
    ----------
    problem : Problem
        P1 of one cell.
    beta_bars : [P], optional
        Where; by default evenly from the least that C3 and C4 allow to `beta_max`,
        and the problem's own.

    Raises
    ------
    InfeasibleError
        If a point has no solution.
    InputError
        If no point is asked for.
    """
    if beta_bars is None:
        # Up, not to the nearest: below it there is no plan.
        least = float(np.ceil(_least_beta_bar(problem) * 1e12 - 1e-3) / 1e12)
        beta_bars = np.linspace(least, problem.limits.beta_max, POINTS).round(12)
        own = problem.limits.beta_bar
        if least <= own <= problem.limits.beta_max:
            beta_bars = np.unique([*beta_bars, own])
    if not np.size(beta_bars):
        raise InputError("`beta_bars` must name one value or more, got none.")
    at = np.sort(np.asarray(beta_bars, dtype=np.float64))
    latency_s, bound_s, slope = np.empty((3, at.size))
    for i, beta_bar in enumerate(at):
        limits = replace(problem.limits, beta_bar=float(beta_bar))
        one = replace(problem, limits=limits)
        found = solve(one, Exact())
        latency_s[i] = found.latency_s
        bound_s[i] = np.nan if found.bound_s is None else found.bound_s
        slope[i] = prices_of(one, found).beta_bar_s
    damage = problem.limits.damage
    return TradeOff(
        beta_bar=at,
        damage=at if damage is None else damage(at),
        latency_s=latency_s,
        bound_s=bound_s,
        seconds_per_beta_bar=slope,
        nearest=int(np.argmin(np.abs(at - problem.limits.beta_bar))),
    )


def _least_beta_bar(problem: Problem) -> float:
    """Return the least beta_bar that C3 and C4 allow, a hair above."""
    limits = replace(problem.limits, beta_bar=problem.limits.beta_max)
    loose = replace(problem, limits=limits)
    loose.check()
    least, most = 0.0, problem.limits.beta_max
    for _ in range(60):
        beta_bar = 0.5 * (least + most)
        limits = replace(problem.limits, beta_bar=beta_bar)
        asked = replace(problem, limits=limits).avoid_min
        if asked > float(loose.avoided(problem.kept_max)[0]):
            least = beta_bar
        else:
            most = beta_bar
    return most


def what_if(
    problem: Problem,
    solution: Solution,
    *,
    more_band: float = 0.1,
    more_beta_bar: float = 0.05,
) -> list[WhatIf]:
    """Change one resource at a time and solve again: what each is worth.

    Parameters
    ----------
    problem : Problem
        P1 of one cell.
    solution : Solution
        Its optimum.
    more_band : float
        Band to add, relative to the band; at the same noise density under ``psd``.
    more_beta_bar : float
        Mean pruning to add, up to `beta_max`.

    Returns
    -------
    list of WhatIf
        C1, C5, and C3 lifted for each client whose memory has a price, dearest first.
    """
    cell, limits = problem.cell, problem.limits

    def saved_s(changed: Problem) -> float:
        return solution.latency_s - Exact().solve(changed).latency_s

    # The SNR is with the noise of the whole band, which under `psd` grows with it.
    noisier = 1 + more_band if cell.noise == "psd" else 1.0
    wider = replace(
        cell,
        total_bandwidth_hz=cell.total_bandwidth_hz * (1 + more_band),
        snr_down=cell.snr_down / noisier,
        snr_up=cell.snr_up / noisier,
    )
    beta_bar = min(limits.beta_bar + more_beta_bar, limits.beta_max)
    found = [
        WhatIf(
            constraint="C1",
            client=None,
            change=more_band * cell.total_bandwidth_hz,
            saved_s=saved_s(replace(problem, cell=wider)),
        )
    ]
    if beta_bar > limits.beta_bar:
        pruned = replace(problem, limits=replace(limits, beta_bar=beta_bar))
        change = beta_bar - limits.beta_bar
        found.append(
            WhatIf(constraint="C5", client=None, change=change, saved_s=saved_s(pruned))
        )
    lifted = []
    for k in np.flatnonzero(prices_of(problem, solution).memory_s_per_byte < 0):
        memory = cell.memory_bytes.copy()
        memory[k] = problem.workload.fixed_memory_bytes
        memory[k] += problem.workload.emulator_memory_bytes
        freed = replace(problem, cell=replace(cell, memory_bytes=memory))
        lifted.append(
            WhatIf(
                constraint="C3", client=int(k), change=np.inf, saved_s=saved_s(freed)
            )
        )
    return [*found, *sorted(lifted, key=lambda one: -one.saved_s)]

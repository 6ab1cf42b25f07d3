"""Least pruning within a latency budget: the dual of P1."""

from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from trimwave.base.errors import InfeasibleError
from trimwave.base.units import FloatArray
from trimwave.decision.bands import best_shares
from trimwave.decision.plan import Plan, Scheme, Situation
from trimwave.methods.common import CommonOptions, require_positive
from trimwave.methods.pruning import pruned_plan, pruned_scheme
from trimwave.methods.ubfp import Ubfp
from trimwave.model.costs import Costs
from trimwave.model.submodel import Trained
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem
from trimwave.problem.violation import ROUNDING
from trimwave.solvers.blocks import band_needed, bandwidth_block
from trimwave.solvers.deadline import AtDeadline
from trimwave.solvers.integers import round_to_sizes


@dataclass(frozen=True, kw_only=True, slots=True)
class LatencyBudget(CommonOptions):
    """Adaptive pruning, Liu et al., TCOM 2022: maximise sum x_k with T_k <= tau.

    A reconstruction from the published problem statement: C1 to C4 hold, C5 does not,
    since the mean pruning is the objective; the plan says what it came to. Clients that
    could not end in time even at `beta_max` are dropped by the paper's threshold rule:
    whoever needs the most band for it first, until the rest fits.
    """

    budget_s: float | None = None
    """tau: time within which the round must end [s]; None = UBFP's in this round."""
    adapter: Trained = "full"
    """Train the adapter's weights, or LoRA factors on them."""

    def __post_init__(self) -> None:
        CommonOptions.__post_init__(self)
        require_positive("latency_budget", self, "budget_s")

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "budget pruning"

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Test on the emulator pruned at beta_bar, as in the methods it meets."""
        return pruned_scheme(costs, limits, self.adapter, self.learning_rate)

    def plan(self, situation: Situation) -> Plan:
        """Drop who cannot be in time, and prune the others as little as time allows."""
        budget_s = deadline_of(situation, self.budget_s, self.adapter)
        problem = without_c5(situation, self.adapter)
        scheduled = _in_time(problem, budget_s)
        clients = np.flatnonzero(scheduled)
        part = replace(problem, cell=problem.cell.take(clients))
        kept, bandwidth_hz = np.full(scheduled.size, np.nan), np.zeros(scheduled.size)
        kept[clients], bandwidth_hz[clients] = kept_by(part, budget_s)
        return pruned_plan(
            situation, self.adapter, kept, bandwidth_hz, scheduled=scheduled
        )


def deadline_of(
    situation: Situation, deadline_s: float | None, trained: Trained
) -> float:
    """Return the deadline, or where there is none the time that UBFP would take [s]."""
    if deadline_s is not None:
        return deadline_s
    return Ubfp(adapter=trained).plan(situation).latency_s


def without_c5(situation: Situation, trained: Trained) -> Problem:
    """Return P1 with C1 to C4 alone: beta_bar = beta_max is implied by C4.

    Raises
    ------
    InfeasibleError
        If C3 and C4 contradict each other.
    InputError
        If the uplink has its own band.
    """
    situation.cell.require_one_band("this method")
    problem = situation.problem(trained)
    limits = replace(problem.limits, beta_bar=problem.limits.beta_max)
    problem = replace(problem, limits=limits)
    problem.check()
    return problem


def most_kept(problem: Problem, deadline_s: float) -> FloatArray:
    """Largest sum x_k with which everyone meets a deadline, [K].

    Water-filling over the band: x_k is where one more unit of it costs the price in
    hertz, between the smallest and the largest, and the price is the one at which the
    band is used up.

    Real sizes are rounded down, so that the deadline still holds.

    Valid when the smallest x_k fit the band at the deadline. The optimum, up to
    rounding, when B_k is convex in x_k (`solvers.exact`); otherwise in time all the
    same.

    Raises
    ------
    InfeasibleError
        If no attainable size lies between a client's bounds.
    """
    beta_max = 1 - float(np.max(least_kept(problem)))
    limits = replace(problem.limits, beta_max=beta_max, beta_bar=beta_max)
    at_it = AtDeadline(replace(problem, limits=limits), np.array([deadline_s]))
    kept = at_it.most_within(problem.cell.total_bandwidth_hz)
    share_hz = bandwidth_block(problem.latency, kept, *problem.cell.share_bounds_hz)
    return round_to_sizes(problem, kept, share_hz)


def kept_by(problem: Problem, deadline_s: float) -> tuple[FloatArray, FloatArray]:
    """Return `most_kept` and the split of the band for it, both [K].

    In whole resource blocks that is no optimum: each keeps what its blocks allow, which
    are the best for `most_kept` or, where with those somebody ends late, for the least
    that each may keep.

    Raises
    ------
    InfeasibleError
        As `most_kept`; or if there are fewer blocks than clients.
    """
    kept, cell = most_kept(problem, deadline_s), problem.cell
    if cell.resource_block_hz is None:
        return kept, best_shares(problem.latency, cell, kept).down_hz
    low = least_kept(problem)
    for wanted in (kept, low):
        share_hz = best_shares(problem.latency, cell, wanted).down_hz
        kept = problem.latency.kept_at(share_hz, deadline_s)
        if np.all(kept >= low * (1 - ROUNDING)):
            break
    kept = np.clip(kept, low, problem.kept_max)
    return round_to_sizes(problem, kept, share_hz), share_hz


def least_kept(problem: Problem) -> FloatArray:
    """Smallest attainable x_k, [K]; `beta_max` where any size is."""
    return round_to_sizes(problem, problem.kept_min, np.zeros_like(problem.kept_min))


def fits(problem: Problem, deadline_s: float) -> bool:
    """Whether the band lets everyone meet a deadline."""
    need = _needed(problem, deadline_s)
    return float(np.sum(need)) <= problem.cell.total_bandwidth_hz * (1 + ROUNDING)


def _needed(problem: Problem, deadline_s: float) -> FloatArray:
    """Band with which each meets a deadline at the least kept, [K] [Hz]."""
    cell = problem.cell
    bounds = cell.share_bounds_hz
    need = band_needed(problem.latency, least_kept(problem), deadline_s, *bounds)
    if (block_hz := cell.resource_block_hz) is None:
        return need
    return np.ceil(need / block_hz * (1 - ROUNDING)) * block_hz


def _in_time(problem: Problem, budget_s: float) -> NDArray[np.bool_]:
    """Leave out whoever needs the most band to be in time until the rest fits, [K]."""
    band, low = problem.cell.total_bandwidth_hz, least_kept(problem)
    need = _needed(problem, budget_s)
    order = np.argsort(need, kind="stable")
    count = int(np.sum(np.cumsum(need[order]) <= band * (1 + ROUNDING)))
    if not count:
        alone_s = problem.latency.total_s(low, problem.share_max_hz())
        first = int(np.argmin(alone_s))
        raise InfeasibleError(
            [
                f"latency budget: nobody can end within {budget_s:g} s, even with the "
                f"largest share and at `beta_max` = {1 - low[first]:g}; client {first} "
                f"can within {ceil(alone_s[first] * 1e3) / 1e3:.3f} s, raise "
                "`budget_s` to that or more."
            ]
        )
    return np.isin(np.arange(need.size), order[:count])

"""The marginal price of each constraint of P1 at its optimum: its multiplier."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trimwave.base.errors import InputError
from trimwave.base.tolerances import AT_BOUND_COARSE, AT_END, ROUNDING
from trimwave.base.units import FloatArray
from trimwave.problem.pieces import weight_at
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution


@dataclass(frozen=True, kw_only=True, eq=False)
class Prices:
    """Marginal prices of P1's constraints at its optimum: the multipliers.

    How the optimal latency would move, per unit; by the envelope theorem. Where a
    constraint is slack its price is 0; at a bend of the latency the price is one of the
    two sides'.
    """

    band_s_per_hz: float
    """dT/dB of C1; not positive."""
    beta_bar_s: float
    """dT/dbeta_bar of C5 [s per unit of mean pruning]; not positive."""
    memory_s_per_byte: FloatArray
    """[K] dT/d memory_k of C3; not positive."""
    beta_max_s: FloatArray
    """[K] dT/dbeta_max of C4 for each client; not positive."""
    speed_s_per_flops: FloatArray
    """[K] dT/df_k [s per FLOP/s]; not positive."""


def prices_of(problem: Problem, solution: Solution) -> Prices:
    """Return what a little more of each resource would save.

    Parameters
    ----------
    problem : Problem
        P1 of one cell.
    solution : Solution
        Its optimum, as `Exact` returns it.

    Raises
    ------
    InputError
        If the solution carries no price, since another solver made it, or the uplink
        has its own band.

    Notes
    -----
    From the multipliers tau_k of T_k <= T, which sum to 1: dT/dparameter is the sum of
    tau_k dT_k/dparameter, less what the constraint that holds the parameter is worth.
    """
    problem.cell.require_one_band("prices_of")
    if solution.price_hz is None:
        raise InputError(
            f"solver `{solution.solver}` gives no prices; use the exact one."
        )
    limits, cell, kept = problem.limits, problem.cell, solution.kept
    worth = _worth(problem, solution)
    damage_slope = 1.0
    if limits.damage is not None:
        damage_slope = float(limits.damage.slope(np.array([limits.beta_bar]))[0])
    # How much more time x_k would cost than C5 pays for it.
    per_kept_s = problem.latency.per_kept_s(kept, solution.bandwidth_hz)
    excess_s = worth.client * per_kept_s
    excess_s = excess_s - worth.c5_s * weight_at(problem.pieces, kept)
    at_top = problem.memory_kept_max <= 1 - limits.beta_min
    at_top &= kept >= problem.memory_kept_max - AT_BOUND_COARSE
    per_byte = problem.workload.emulator_memory_bytes
    at_bottom = kept <= problem.kept_min + AT_BOUND_COARSE
    compute_s = problem.latency.compute_s(kept)
    return Prices(
        band_s_per_hz=0.0 - worth.band_s_per_hz,
        beta_bar_s=0.0 - worth.c5_s * cell.num_clients * damage_slope,
        memory_s_per_byte=np.where(at_top, np.minimum(excess_s, 0.0), 0.0)
        / max(per_byte, 1),
        beta_max_s=0.0 - np.where(at_bottom, np.maximum(excess_s, 0.0), 0.0),
        speed_s_per_flops=0.0 - worth.client * compute_s / cell.speed_flops_per_s,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Worth:
    """Multipliers of what ties the clients together."""

    client: FloatArray
    """[K] tau_k of T_k <= T; sums to 1."""
    band_s_per_hz: float
    """Of C1."""
    c5_s: float
    """Of C5, by what it counts."""


class _Held(NamedTuple):
    """Who is held by what at the optimum, [K] each."""

    at_bottom: NDArray[np.bool_]
    """Keeps the least."""
    at_top: NDArray[np.bool_]
    """Keeps the most."""
    at_least: NDArray[np.bool_]
    """Has its least share."""
    at_most: NDArray[np.bool_]
    """Has its largest share, or sends nothing: more band is no help."""
    ends: NDArray[np.bool_]
    """Ends with the round."""


def _held(problem: Problem, solution: Solution) -> _Held:
    """Compare a solution with the bounds of its kept fractions and shares."""
    latency, cell = problem.latency, problem.cell
    kept, share_hz = solution.kept, solution.bandwidth_hz
    least_hz = 0.0 if cell.share_min_hz is None else cell.share_min_hz
    most_hz = np.inf if cell.share_max_hz is None else cell.share_max_hz
    at_most = share_hz >= most_hz * (1 - AT_BOUND_COARSE)
    at_end_s = solution.latency_s * (1 - AT_END)
    return _Held(
        at_bottom=kept <= problem.kept_min + AT_BOUND_COARSE,
        at_top=kept >= problem.kept_max - AT_BOUND_COARSE,
        at_least=share_hz <= least_hz * (1 + AT_BOUND_COARSE),
        at_most=at_most | (latency.saved_per_hz(kept, share_hz) <= 0),
        ends=latency.total_s(kept, share_hz) >= at_end_s,
    )


def _worth(problem: Problem, solution: Solution) -> _Worth:
    """Return the multipliers, by the stationarity of every B_k and x_k.

    A client whose share is within its bounds has tau_k = band / (-dT_k/dB_k), one whose
    share is at a bound but whose x_k is not tau_k = c5 w_k / (dT_k/dx_k), one who ends
    early 0. Where radios leave some of the band unused it is worth nothing, and those
    at their largest share limit the round.
    """
    kept, share_hz = solution.kept, solution.bandwidth_hz
    held = _held(problem, solution)
    weight = np.broadcast_to(weight_at(problem.pieces, kept), kept.shape)
    per_kept_s = problem.latency.per_kept_s(kept, share_hz)
    moves = held.ends & ~held.at_bottom & ~held.at_top & (per_kept_s > 0)
    kept_per_s = np.divide(weight, per_kept_s, out=np.zeros_like(kept), where=moves)
    shares = held.ends & ~held.at_least & ~held.at_most
    whole_hz = problem.cell.total_bandwidth_hz * (1 - ROUNDING)
    if np.sum(share_hz) >= whole_hz and shares.any():
        return _of_the_band(problem, solution, kept_per_s, shares)
    return _of_radios(held, kept_per_s, weight)


def _of_the_band(
    problem: Problem,
    solution: Solution,
    kept_per_s: FloatArray,
    shares: NDArray[np.bool_],
) -> _Worth:
    """Multipliers where the band is used up and `shares` says whose share may move."""
    price_hz = solution.price_hz or 0.0
    per_hz_s = problem.latency.saved_per_hz(solution.kept, solution.bandwidth_hz)
    per_s_hz = np.divide(1.0, per_hz_s, out=price_hz * kept_per_s, where=shares)
    band = 1 / float(np.sum(per_s_hz))
    return _Worth(client=band * per_s_hz, band_s_per_hz=band, c5_s=band * price_hz)


def _of_radios(held: _Held, kept_per_s: FloatArray, weight: FloatArray) -> _Worth:
    """Multipliers where the band is worth nothing: largest shares limit the round."""
    limiting = held.ends & held.at_most
    kept_per_s = np.where(limiting, kept_per_s, 0.0)
    others = ~limiting & ~held.at_top & (weight > 0)  # could keep more for free
    alone = limiting & held.at_bottom
    if others.any() or alone.any() or not kept_per_s.any():
        client = alone / max(1, int(np.count_nonzero(alone)))
        return _Worth(client=client, band_s_per_hz=0.0, c5_s=0.0)
    c5_s = 1 / float(np.sum(kept_per_s))
    return _Worth(client=c5_s * kept_per_s, band_s_per_hz=0.0, c5_s=c5_s)

"""P1 under FDD: the price of the uplink's band in hertz of the downlink's.

Shapes: ``...`` is draws (no axis for one cell), K clients; a number of each draw is
[..., 1], so that it is broadcast over clients.
"""

from collections.abc import Callable

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.roots import bracket_root, newton_root_aux
from trimwave.base.tolerances import MARGIN
from trimwave.base.units import FloatArray
from trimwave.cell.cell import Cell
from trimwave.problem.problem import Problem
from trimwave.problem.solution import SolutionBatch
from trimwave.solvers.answers import Cheapest
from trimwave.solvers.blocks import even_kept, keeps_enough
from trimwave.solvers.certificate import largest_infeasible_s
from trimwave.solvers.earliest import earliest_deadline
from trimwave.solvers.paired import ROUGHNESS, AtPairedDeadline, total_band_hz
from trimwave.solvers.split import Near, Split, split_band

WIDEST = 16.0
"""Range of log mu on either side of B / B'."""


def solve_duplex(problem: Problem, name: str) -> SolutionBatch:
    """Find the optimum with a band for either direction, or enclose it.

    The price of the uplink is searched for at which its band is used up. Valid as the
    optimum where every client's need is convex (`paired`); elsewhere the bound holds
    and whoever is between its sides leaves a gap.

    Raises
    ------
    InputError
        If shares are bounded or rates given, which is not supported with two bands.
    """
    require_free_shares(problem.cell)
    slowest_s = _even_deadline_s(problem, even_kept(problem))
    best, mu, trace = _priced_uplink(problem, slowest_s)
    kept = best.kept
    shares_hz = paired_shares(problem, kept)
    total_s = paired_total_s(problem, kept, *shares_hz)
    latency_s = np.max(total_s, axis=-1, keepdims=True)
    solvable = keeps_enough(problem) & np.isfinite(best.need_hz)
    near = Near()
    bound_s = largest_infeasible_s(
        lambda deadline_s: AtPairedDeadline(problem, deadline_s, mu, None, near),
        total_band_hz(problem, mu),
        np.where(solvable, latency_s, 1.0),
        best.price_hz,
    )
    found = SolutionBatch(
        solver=name,
        kept=kept,
        bandwidth_hz=shares_hz[0],
        up_bandwidth_hz=shares_hz[1],
        latency_s=latency_s,
        bound_s=bound_s,
        price_hz=best.price_hz,
        kkt_residual=np.full_like(latency_s, np.nan),
        trace=tuple(trace),
    )
    return found.judged(solvable)


def require_free_shares(cell: Cell) -> None:
    """Refuse bounds of shares beside two bands.

    Raises
    ------
    InputError
        Naming the field.
    """
    for name in ("bandwidth_min_hz", "bandwidth_max_hz"):
        if getattr(cell, name) is not None:
            raise InputError(
                f"`{name}` bounds a share that serves both directions; with "
                f"`up_bandwidth_hz` leave it out."
            )


def _even_deadline_s(problem: Problem, kept: FloatArray) -> FloatArray:
    """When everyone has ended with even shares, [..., 1] [s]."""
    cell = problem.cell
    assert cell.up_bandwidth_hz is not None
    down, up = (
        np.broadcast_to(np.float64(band / cell.num_clients), cell.shape)
        for band in (cell.total_bandwidth_hz, cell.up_bandwidth_hz)
    )
    total_s = paired_total_s(problem, kept, down, up)
    return np.max(total_s, axis=-1, keepdims=True) * (1 + MARGIN)


def paired_total_s(
    problem: Problem, kept: FloatArray, down_hz: FloatArray, up_hz: FloatArray
) -> FloatArray:
    """Round time with a share of either band, [..., K] [s]."""
    latency = problem.latency
    return latency.compute_s(kept) + latency.down_s(kept, down_hz) + latency.up_s(up_hz)


def _priced_uplink(
    problem: Problem, slowest_s: FloatArray
) -> tuple[Cheapest, FloatArray, list[FloatArray]]:
    """Find the price of the uplink at which its band is used up."""
    fastest_s = problem.latency.unshared_s(problem.kept_min)
    fastest_s = np.max(fastest_s, axis=-1, keepdims=True)
    last: tuple[Cheapest, FloatArray, list[FloatArray]] | None = None
    shares = Near()

    def priced(at: FloatArray) -> tuple[Cheapest, FloatArray, list[FloatArray]]:
        """Earliest deadline at a price, begun from the last price's."""
        nonlocal last
        mu = _price(problem, at)
        best, trace = earliest_deadline(
            lambda deadline_s, near: AtPairedDeadline(
                problem, deadline_s, mu, near, shares
            ),
            total_band_hz(problem, mu),
            np.minimum(fastest_s, slowest_s),
            slowest_s,
            slowest_s if last is None else last[2][-1],
            ROUGHNESS,
            None if last is None else last[0],
        )
        last = best, mu, trace
        return last

    def unused(at: FloatArray) -> FloatArray:
        best, mu, trace = priced(at)
        split = split_band(problem.latency, best.kept, trace[-1], mu)
        used = np.sum(split.up_hz, axis=-1, keepdims=True)
        return np.asarray(problem.cell.up_bandwidth_hz) / used - 1

    # The deadline is flat in the best price: half the digits of one give all of it.
    return priced(_middle_price(unused, slowest_s, rtol=1e-8))


def _middle_price(
    unused: Callable[[FloatArray], FloatArray], like: FloatArray, rtol: float
) -> FloatArray:
    """Search what `_price` takes, [..., 1], for where the uplink's band is used up."""
    ends = np.ones_like(like), np.full_like(like, 1 + 2 * WIDEST)
    below, above = bracket_root(unused, *ends, rtol=rtol)
    return 0.5 * (below + above)


def _price(problem: Problem, at: FloatArray) -> FloatArray:
    """Mu = B / B' at the middle of [1, 1 + 2 `WIDEST`], in logarithms from there."""
    up_hz = problem.cell.up_bandwidth_hz
    assert up_hz is not None
    return problem.cell.total_bandwidth_hz / up_hz * np.exp(at - 1 - WIDEST)


def paired_shares(problem: Problem, kept: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Best shares of either band for fixed kept fractions: all finish together.

    Returns
    -------
    down_hz, up_hz : [..., K]
        They use up the bands.
    """
    cell, latency = problem.cell, problem.latency
    assert cell.up_bandwidth_hz is not None
    slowest_s = _even_deadline_s(problem, kept)
    fastest_s = np.max(latency.unshared_s(kept), axis=-1, keepdims=True)
    near = Near()

    def shares_at(at: FloatArray) -> Split:
        mu = _price(problem, at)
        band = total_band_hz(problem, mu)

        def spare(deadline_s: FloatArray) -> tuple[FloatArray, FloatArray, Split]:
            split = split_band(latency, kept, deadline_s, mu, near)
            need = np.sum(split.need_hz, axis=-1, keepdims=True)
            slope = np.sum(split.hz_per_s, axis=-1, keepdims=True)
            with np.errstate(divide="ignore", invalid="ignore"):
                return band / need - 1, band / need * (slope / need), split

        first_s = np.minimum(fastest_s, slowest_s)
        return newton_root_aux(spare, first_s, slowest_s, slowest_s)[-1]

    def unused(at: FloatArray) -> FloatArray:
        used = np.sum(shares_at(at).up_hz, axis=-1, keepdims=True)
        return np.asarray(cell.up_bandwidth_hz) / used - 1

    split = shares_at(_middle_price(unused, slowest_s, rtol=1e-13))
    shares = split.down_hz, split.up_hz
    bands = cell.total_bandwidth_hz, cell.up_bandwidth_hz
    down_hz, up_hz = (
        share * (band / np.sum(share, axis=-1, keepdims=True))
        for share, band in zip(shares, bands, strict=True)
    )
    return down_hz, up_hz

"""The global optimum of P1, with a certificate.

At a fixed deadline T the smallest band that client k needs, B_k(x_k), is convex and
increasing in what it keeps. So {(x, B): T_k <= T for all k} is convex for every T, P1
is jointly quasi-convex, and bisection on T with a convex feasibility problem inside
finds the global optimum. The inner problem, min sum B_k(x_k) subject to sum x_k >= X,
is separable with one coupling: a search over its multiplier, the price in hertz.
"""

from dataclasses import dataclass

import numpy as np

from trimwave.problem import Problem
from trimwave.roots import bracket_root
from trimwave.solution import Solution, Status
from trimwave.solvers.blocks import bandwidth_block, even_kept, fill_to_total
from trimwave.solvers.certificate import kkt_residual, lower_bound_s, price_rises
from trimwave.units import FloatArray

MARGIN = 1e-9


@dataclass(frozen=True)
class Cheapest:
    """The inner problem's answer at one deadline."""

    need_hz: float
    """Least band that meets the deadline; inf if none does."""
    kept: FloatArray
    """[K]"""
    price_hz: float
    """Multiplier of C5 [Hz]."""


def cheapest_band(problem: Problem, deadline_s: float) -> Cheapest:
    """Least total band with which every client meets a deadline and C5 holds."""
    latency, band = problem.latency, problem.cell.total_bandwidth_hz
    low = problem.kept_min
    whole = np.full_like(low, band)
    with np.errstate(invalid="ignore"):
        high = np.minimum(problem.kept_max, latency.kept_at(whole, deadline_s))
    if np.any(high < low) or np.sum(high) < problem.kept_total:
        return Cheapest(np.inf, low, np.inf)
    if np.sum(low) >= problem.kept_total:  # C5 is slack: nobody keeps more than it must
        need = latency.required_bandwidth_hz(low, deadline_s)
        return Cheapest(float(np.sum(need)), low, 0.0)
    least = latency.required_bandwidth_hz(low, deadline_s)
    most = np.clip(latency.required_bandwidth_hz(high, deadline_s), least, band)

    def kept_at_price(log_price: float) -> FloatArray:
        share = latency.bandwidth_at_price_hz(
            np.exp(log_price), deadline_s, least, most
        )
        return np.clip(latency.kept_at(share, deadline_s), low, high)

    def excess(log_price: FloatArray) -> FloatArray:
        return np.array(
            [np.sum(kept_at_price(float(log_price[0]))) - problem.kept_total]
        )

    dearest = float(np.max(latency.price_hz(most, deadline_s)))
    if dearest <= 0:  # an emulator that costs nothing
        return Cheapest(float(np.sum(least)), fill_to_total(problem, low, high), 0.0)
    cheap = np.log(np.min(latency.price_hz(least, deadline_s)))
    dear = np.log(dearest)
    below, above = bracket_root(excess, np.array([cheap - 1]), np.array([dear + 1]))
    # A mix of the two ends meets C5 exactly, also where many clients share one price.
    kept = fill_to_total(
        problem, kept_at_price(float(below[0])), kept_at_price(float(above[0]))
    )
    need = latency.required_bandwidth_hz(kept, deadline_s)
    price_hz = float(np.exp(np.clip(above[0], cheap, dear)))
    return Cheapest(float(np.sum(need)), kept, price_hz)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exact:
    """Bisection on the deadline with water-filling on the price inside.

    Valid when B_k(x_k) is convex: proven for ``noise="fixed"``, and for ``"psd"`` when
    R_up/R_dn does not depend on B_k. It can fail under ``"psd"`` where the uplink is
    much weaker than the downlink; whether it holds is then checked at the answer, and
    where it does not the answer is FEASIBLE, without a bound.
    """

    name: str = "exact"
    rtol: float = 1e-13
    """Relative width of the deadline's bracket at which to stop."""

    def solve(self, problem: Problem) -> Solution:
        """Find the optimum and its certificate."""
        latency, band = problem.latency, problem.cell.total_bandwidth_hz
        num_clients = problem.cell.num_clients
        even = np.full(num_clients, band / num_clients)
        # Feasible with room to spare, so that rounding cannot hide the optimum even
        # where the even split already is one (K = 1, equal clients).
        slowest = float(np.max(latency.total_s(even_kept(problem), even))) * (
            1 + MARGIN
        )
        fastest = float(np.max(latency.compute_s(problem.kept_min)))
        trace: list[float] = []

        def spare(deadline_s: FloatArray) -> FloatArray:
            trace.append(float(deadline_s[0]))
            need = cheapest_band(problem, float(deadline_s[0])).need_hz
            return np.array([band - need])

        _, deadline = bracket_root(
            spare, np.array([fastest]), np.array([slowest]), rtol=self.rtol
        )
        best = cheapest_band(problem, float(deadline[0]))
        bandwidth_hz = bandwidth_block(problem.latency, best.kept)
        latency_s = float(np.max(latency.total_s(best.kept, bandwidth_hz)))
        proven = price_rises(problem, latency_s)
        bound_s = lower_bound_s(problem, latency_s, best.price_hz) if proven else None
        return Solution(
            solver=self.name,
            status=Status.OPTIMAL if proven else Status.FEASIBLE,
            kept=best.kept,
            bandwidth_hz=bandwidth_hz,
            latency_s=latency_s,
            bound_s=bound_s,
            price_hz=best.price_hz,
            kkt_residual=kkt_residual(problem, best.kept, bandwidth_hz, best.price_hz),
            trace=tuple(trace),
            sweeps=len(trace),
        )

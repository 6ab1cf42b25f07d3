"""The two halves of P1: pruning for a given band, and the band for given pruning."""

import numpy as np

from trimwave.latency import RoundLatency
from trimwave.problem import Problem
from trimwave.roots import bracket_root
from trimwave.units import FloatArray


def even_kept(problem: Problem) -> FloatArray:
    """Kept fractions as equal as C3 and C4 allow, with sum x = K (1 - beta_bar).

    [K]; all equal 1 - beta_bar where no bound is in the way. Above `beta_max` C5 is
    slack and everyone keeps the least.
    """
    low, high = problem.kept_min, problem.kept_max
    if np.sum(low) >= problem.kept_total:
        return low.copy()

    def excess(level: FloatArray) -> FloatArray:
        kept = np.clip(level, low, high)
        return np.array([np.sum(kept)]) - problem.kept_total

    _, level = bracket_root(
        excess, np.min(low, keepdims=True), np.max(high, keepdims=True)
    )
    return fill_to_total(problem, low, np.clip(level, low, high))


def fill_to_total(problem: Problem, low: FloatArray, high: FloatArray) -> FloatArray:
    """Mix two kept vectors so that C5 holds with equality, [K].

    Returns `low` where that satisfies C5 already, and `high` if even that falls short
    by rounding.
    """
    span = float(np.sum(high - low))
    if span <= 0:
        return high.copy()
    share = (problem.kept_total - float(np.sum(low))) / span
    return low + min(max(share, 0.0), 1.0) * (high - low)


def prune_block(problem: Problem, bandwidth_hz: FloatArray) -> FloatArray:
    """Best kept fractions for fixed bandwidths: water-filling, [K].

    For a deadline T every client keeps what T allows; the smallest T with
    sum x >= K (1 - beta_bar) and x >= x_min is the block's optimum.
    """
    latency = problem.latency
    low, high = problem.kept_min, problem.kept_max
    fastest = float(np.max(latency.total_s(low, bandwidth_hz)))
    slowest = float(np.max(latency.total_s(high, bandwidth_hz)))

    def kept_by(deadline_s: float) -> FloatArray:
        return np.clip(latency.kept_at(bandwidth_hz, deadline_s), low, high)

    def excess(deadline_s: FloatArray) -> FloatArray:
        return np.array([np.sum(kept_by(float(deadline_s[0]))) - problem.kept_total])

    _, deadline = bracket_root(excess, np.array([fastest]), np.array([slowest]))
    return fill_to_total(problem, low, kept_by(float(deadline[0])))


def bandwidth_block(latency: RoundLatency, kept: FloatArray) -> FloatArray:
    """Best bandwidths for fixed kept fractions: all finish together, [K] [Hz]."""
    band, num_clients = latency.down.total_bandwidth_hz, kept.size
    even = np.full(num_clients, band / num_clients)
    slowest = float(np.max(latency.total_s(kept, even)))
    fastest = float(np.max(latency.compute_s(kept)))

    def excess(deadline_s: FloatArray) -> FloatArray:
        need = latency.required_bandwidth_hz(kept, float(deadline_s[0]))
        return np.array([band - np.sum(need)])

    _, deadline = bracket_root(excess, np.array([fastest]), np.array([slowest]))
    bandwidth_hz = latency.required_bandwidth_hz(kept, float(deadline[0]))
    if not np.all(np.isfinite(bandwidth_hz)):  # the even split already is the optimum
        return even
    return bandwidth_hz * (band / np.sum(bandwidth_hz))

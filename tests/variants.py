"""Random instances of every variant of P1, and brute force for two clients."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_problem

from trimwave.base.curve import PiecewiseLinear

NOISES = ("fixed", "psd")
NOISES_PSD_SLOW = ("fixed", pytest.param("psd", marks=pytest.mark.slow))
"""Where each case under a noise density is a search of its own."""
VARIANTS = ("base", "held", "table", "weights", "damage", "bounds", "all")
TABLE_POINTS = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
DAMAGE_POINTS = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


def draw(seed, noise, num_clients=None, **limits):
    """Draw size, loss, speeds and limits of a plain P1."""
    rng = np.random.default_rng(seed)
    slowest, beta_min = rng.uniform(0.1, 1), rng.uniform(0, 0.4)
    beta_max = rng.uniform(beta_min + 0.1, 0.95)
    drawn = {"beta_min": beta_min, "beta_max": beta_max}
    drawn["beta_bar"] = rng.uniform(beta_min, beta_max)
    return make_problem(
        seed,
        num_clients=num_clients or int(rng.integers(1, 13)),
        speed_factor=(slowest, slowest * rng.uniform(1, 20)),
        path_loss_db=rng.uniform(50, 110),
        noise=noise,
        **(drawn | limits),
    )


def convex_table(rng, shape=()):
    """Draw compute times by the kept fraction, 0.1 to 1."""
    steps = np.sort(rng.uniform(0, 1, (4, *shape)), axis=0)
    values = np.concatenate([np.zeros((1, *shape)), np.cumsum(steps, axis=0)])
    return PiecewiseLinear(TABLE_POINTS, 0.1 + 0.9 * values / values[-1])


def vary(problem, kind, seed):
    """Add what a variant has to a problem."""
    rng = np.random.default_rng([seed, VARIANTS.index(kind)])
    clients, band = problem.cell.num_clients, problem.cell.total_bandwidth_hz
    cell, limits = {}, {}
    if kind in ("held", "all"):
        some = rng.random(clients) < 0.7
        cell["held"] = np.where(some, rng.uniform(0, 1, clients), 0.0)
    if kind in ("table", "all"):
        cell["emulator_time"] = convex_table(rng, (clients,))
    if kind in ("weights", "all"):
        cell["num_samples"] = rng.uniform(10, 1000, clients)
        limits["weighted"] = True
    if kind in ("damage", "all"):
        values = np.array([0, 0.02, 0.1, 0.3, 0.7, 1.6]) * rng.uniform(0.5, 2)
        limits["damage"] = PiecewiseLinear(DAMAGE_POINTS, values)
    if kind in ("bounds", "all"):
        most_hz = band * np.exp(rng.uniform(-0.3, 2.5, clients)) / clients
        least_hz = rng.uniform(0, 1, clients) * np.minimum(most_hz, band / clients)
        some = rng.random(clients) < 0.5
        cell["bandwidth_min_hz"] = np.where(some, least_hz, 0.0)
        cell["bandwidth_max_hz"] = most_hz
    return replace(
        problem,
        cell=replace(problem.cell, **cell),
        limits=replace(problem.limits, **limits),
    )


def random_variant(seed, noise, kind, **drawn):
    """Draw a problem of a variant."""
    return vary(draw(seed, noise, **drawn), kind, seed)


def second_kept(problem, first):
    """Return the least that the second of two clients keeps for C5, [S]; nan if none.

    By bisection, so that neither side of C5's bends is favoured.
    """
    ends = problem.kept_min[1], problem.kept_max[1]
    low, high = (np.full(first.shape, end) for end in ends)

    def enough(second):
        found = problem.avoided(np.stack([first, second], axis=-1))[..., 0]
        return found >= problem.avoid_min - 1e-12

    possible = enough(high)
    for _ in range(60):
        middle = (low + high) / 2
        met = enough(middle)
        low, high = np.where(met, low, middle), np.where(met, middle, high)
    high = np.where(enough(np.full_like(high, ends[0])), ends[0], high)
    return np.where(possible, high, np.nan)


def best_split_s(problem, kept):
    """Return the latency of two clients with the best split of the band, [S]."""
    band, most = problem.cell.total_bandwidth_hz, problem.share_max_hz()
    least = problem.cell.bandwidth_min_hz
    least = np.maximum(0.0 if least is None else least, np.full(2, 1e-9 * band))
    first = np.full(len(kept), least[0])
    last = np.full(len(kept), min(most[0], band - least[1]))
    best = np.full(len(kept), np.inf)
    for _ in range(60):  # the first's time falls and the second's rises with its share
        share = (first + last) / 2
        shares = np.stack([share, np.minimum(band - share, most[1])], axis=-1)
        total_s = problem.latency.total_s(kept, shares)
        best = np.minimum(best, np.max(total_s, axis=-1))
        late = total_s[:, 0] > total_s[:, 1]
        first, last = np.where(late, share, first), np.where(late, last, share)
    return best


def brute_force(problem, size=201, zooms=4):
    """Return the lowest latency of two clients on a grid that closes in on it.

    Over what the first keeps; the second keeps the least that C5 allows.
    """
    ends, best = (problem.kept_min[0], problem.kept_max[0]), np.inf
    for _ in range(zooms):
        first = np.linspace(*ends, size)
        second = second_kept(problem, first)
        possible = ~np.isnan(second)
        kept = np.stack([first, np.where(possible, second, 0.5)], axis=-1)
        latency_s = np.where(possible, best_split_s(problem, kept), np.inf)
        at = int(np.argmin(latency_s))
        best = min(best, float(latency_s[at]))
        ends = first[max(at - 2, 0)], first[min(at + 2, size - 1)]
    return best

"""Whole resource blocks: the optimum, its proof, and what it is measured against."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from helpers import with_cell
from test_integers import KINDS, alike, draw, legal_kept, with_blocks, with_sizes
from variants import NOISES

from trimwave.base.errors import InfeasibleError
from trimwave.problem.solution import Status, solve
from trimwave.solvers import BlockDescent, Exact, Uniform, exact_blocks
from trimwave.solvers.blocks import prune_block
from trimwave.solvers.exact_blocks import _best_given
from trimwave.solvers.integers import realise
from trimwave.solvers.resource_blocks import BlockGrid, by_turns

BLOCKS = {1: 12, 2: 9, 3: 11, 4: 8}
"""How many there are for so many clients, to keep brute force small."""


def full_splits_hz(problem):
    """All splits of as many blocks as the clients may have in all, [N, K]."""
    grid = BlockGrid.of(problem)
    most = np.minimum(grid.most, grid.total).astype(int)
    given = (range(int(a), b + 1) for a, b in zip(grid.least, most, strict=True))
    blocks = np.array(list(product(*given)))
    full = np.sum(blocks, axis=-1) == min(grid.total, np.sum(most))
    return grid.block_hz * blocks[full]


def brute_force_s(problem):
    """Least round time over all splits and all kept fractions or sizes [s]."""
    shares_hz, latency = full_splits_hz(problem), problem.latency
    if problem.workload.emulator_sizes is None:
        kept = np.stack([prune_block(problem, one_hz) for one_hz in shares_hz])
        return np.min(np.max(latency.total_s(kept, shares_hz), axis=-1))
    total_s = latency.total_s(legal_kept(problem)[:, None, :], shares_hz)
    return np.min(np.max(total_s, axis=-1))


def drawn(seed, kind, noise, what="blocks", num_clients=None, blocks=None):
    """Draw a problem in whole blocks, some with a rest of a block at the edge."""
    clients = num_clients or 1 + seed % 4
    parts = (blocks or BLOCKS[clients]) + 0.3 * (seed % 3)
    problem = with_blocks(draw(seed, clients, kind, noise), parts)
    return with_sizes(problem, 10) if what == "both" else problem


def assert_is_the_best(problem):
    """Expect brute force's round time, and a proof of it; False where there is none."""
    try:
        found = solve(problem, Exact())
        BlockGrid.of(problem)
    except InfeasibleError:
        return False
    real, best_s = realise(problem, found), brute_force_s(problem)
    assert problem.violations(real.kept, real.bandwidth_hz) == []
    assert real.latency_s == pytest.approx(best_s, rel=1e-9)
    assert real.bound_s <= best_s * (1 + 1e-12)
    assert real.status is Status.OPTIMAL
    return True


@pytest.mark.parametrize("what", ["blocks", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_split_and_no_kept_fractions_end_sooner(kind, what):
    seeds = (3, 6, 9)
    assert any(assert_is_the_best(drawn(s, kind, "fixed", what)) for s in seeds)


@pytest.mark.parametrize("what", ["blocks", "both"])
@pytest.mark.parametrize("kind", ["base", "all"])
def test_no_split_ends_sooner_under_a_noise_density(kind, what):
    assert any(assert_is_the_best(drawn(s, kind, "psd", what)) for s in (1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("what", ["blocks", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_split_ends_sooner_in_many_draws(kind, what, noise):
    found = [assert_is_the_best(drawn(s, kind, noise, what)) for s in range(100, 120)]
    assert sum(found) >= 5


@pytest.mark.parametrize(
    "limits",
    [
        {"beta_bar": 0.95},  # C5 is slack
        {"beta_bar": 0.9},  # and just not
        {"beta_bar": 0.1},  # everyone keeps all that C4 allows
        {"beta_min": 0.5, "beta_max": 0.5, "beta_bar": 0.5},
    ],
)
def test_no_split_ends_sooner_at_the_ends_of_c5(limits):
    problem = with_blocks(draw(1, 3, **limits), 11)
    problem = with_cell(problem, memory_bytes=np.full(3, 1e12))
    assert assert_is_the_best(problem)
    assert assert_is_the_best(with_sizes(problem, 10))


@pytest.mark.parametrize("noise", NOISES)
def test_times_that_do_not_depend_on_what_is_kept(noise):
    held = {"held": np.ones(3), "speed_flops_per_s": np.full(3, 1e30)}
    problem = with_cell(with_blocks(draw(1, 3, noise=noise), 11), **held)
    assert assert_is_the_best(problem)
    assert assert_is_the_best(with_sizes(problem, 10))


def test_alike_clients_and_a_block_each():
    assert assert_is_the_best(with_blocks(alike(4), 10))
    assert assert_is_the_best(with_blocks(draw(1, 4), 4))


@pytest.mark.parametrize("what", ["blocks", "both"])
@pytest.mark.parametrize(("clients", "blocks"), [(8, 25), (8, 50), (20, 106)])
def test_never_later_than_the_heuristic(clients, blocks, what):
    ratios = []
    for seed in range(2):
        problem = drawn(seed, "base", "fixed", what, clients, blocks)
        plan = solve(problem, Exact())
        real = realise(problem, plan)
        turned = np.max(
            problem.latency.total_s(*by_turns(problem, plan.kept, plan.bandwidth_hz))
        )
        assert plan.bound_s <= real.bound_s <= real.latency_s <= turned
        assert real.gap <= 1e-9
        ratios.append(turned / real.latency_s)
    if what == "blocks":
        assert max(ratios) > 1.001  # or this would show nothing


def test_where_the_search_begins_is_no_matter():
    problem = drawn(4, "all", "fixed", "blocks", 6, 40)
    plan = solve(problem, Exact())
    even = solve(problem, Uniform())
    start = {"kept": even.kept, "bandwidth_hz": even.bandwidth_hz, "bound_s": None}
    real, other = (realise(problem, one) for one in (plan, replace(plan, **start)))
    assert other.latency_s == pytest.approx(real.latency_s, rel=1e-9)
    assert other.status is Status.OPTIMAL  # the proof is of its own


def test_algorithm_1_in_whole_blocks_is_not_the_optimum():
    later = []
    for seed in range(6):
        problem = drawn(seed, "base", "fixed", "blocks", 6, 20)
        best = realise(problem, solve(problem, Exact()))
        other = realise(problem, solve(problem, BlockDescent()))
        assert other.status is Status.FEASIBLE and other.bound_s is None
        later.append(other.latency_s / best.latency_s)
    assert min(later) >= 1 and max(later) > 1.001


def test_more_blocks_and_more_allowed_pruning_never_end_later():
    problem = drawn(5, "base", "fixed", "blocks", 5, 20)

    def latency_s(one):
        return realise(one, solve(one, Exact())).latency_s

    halves = with_cell(problem, resource_block_hz=problem.cell.resource_block_hz / 2)
    assert latency_s(halves) <= latency_s(problem) * (1 + 1e-9)
    looser = replace(problem.limits, beta_bar=problem.limits.beta_bar + 0.02)
    assert latency_s(replace(problem, limits=looser)) < latency_s(problem)


def test_cells_that_are_too_large_are_rounded_with_the_continuous_bound(monkeypatch):
    problem = drawn(0, "base", "fixed", "blocks", 8, 25)
    plan = solve(problem, Exact())
    best = realise(problem, plan)
    monkeypatch.setattr(exact_blocks, "MOST_SUMS", 0.0)
    real = realise(problem, plan)
    assert real.status is Status.FEASIBLE
    assert real.bound_s == plan.bound_s < best.bound_s
    assert real.latency_s >= best.latency_s
    assert problem.violations(real.kept, real.bandwidth_hz) == []


def test_spare_blocks_against_all_splits():
    rng = np.random.default_rng(0)
    for clients, spare in ((1, 5), (2, 6), (3, 5), (4, 4)):
        rises = rng.uniform(size=(clients, spare + 1)) ** 4  # neither convex nor not
        worth = np.cumsum(rises, axis=-1)
        splits = np.array(list(product(range(spare + 1), repeat=clients)))
        splits = splits[np.sum(splits, axis=-1) <= spare]
        most = np.max(np.sum(worth[np.arange(clients), splits], axis=-1))
        given = _best_given(worth, most - 1e-12)
        assert np.sum(given) <= spare
        assert np.sum(worth[np.arange(clients), given]) == pytest.approx(most)
        assert _best_given(worth, most + 1e-12) is None

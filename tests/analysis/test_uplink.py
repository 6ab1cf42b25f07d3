from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from helpers import make_problem, with_cell
from variants import NOISES, random_variant

from trimwave.analysis import share_uplink
from trimwave.analysis.uplink import tails_s, with_tails
from trimwave.base.errors import InfeasibleError, InputError
from trimwave.problem.solution import Status, solve
from trimwave.solvers import Exact

BOTH = pytest.mark.parametrize("noise", NOISES)


def draw(seed, num_clients, noise="fixed", **limits):
    rng = np.random.default_rng(seed)
    drawn = {"speed_factor": (0.2, 2.5), "path_loss_db": rng.uniform(60, 105)}
    drawn |= {"beta_bar": rng.uniform(0.3, 0.7), "noise": noise, **limits}
    return make_problem(seed, num_clients=num_clients, **drawn)


def ends_s(problem, order, kept, share_hz):
    """Play a round: when the last upload ends, and each begin, [K] [s]."""
    latency, band = problem.latency, problem.cell.total_bandwidth_hz
    downloaded = latency.down_bits(kept) / latency.down.rate_bps(share_hz)
    ready = downloaded + latency.compute_s(kept)
    whole_rate = latency.up.rate_bps(np.full(kept.size, band))
    now, begins = float(np.max(downloaded)), np.empty(kept.size)
    for client in order:
        begins[client] = max(now, ready[client])
        now = begins[client] + latency.up_bits[client] / whole_rate[client]
    return now, begins


def assert_is_a_round(problem, found):
    """Expect a schedule that can be played, and honest claims about it."""
    one = found.solution
    assert sorted(found.order.tolist()) == list(range(problem.cell.num_clients))
    assert problem.violations(one.kept, one.bandwidth_hz) == []
    slack = 1e-9 * one.latency_s
    downloaded = problem.latency.down_s(one.kept, one.bandwidth_hz)
    ready = downloaded + problem.latency.compute_s(one.kept)
    begins, ends = found.begins_s, found.begins_s + found.upload_s
    assert np.min(begins) >= np.max(downloaded) - slack  # the band is free by then
    assert np.all(begins >= ready - slack)
    in_turn = begins[found.order][1:] - ends[found.order][:-1]
    assert np.all(in_turn >= -slack)  # never two at once
    assert np.max(ends) == pytest.approx(one.latency_s, rel=1e-12)
    played, soonest = ends_s(problem, found.order, one.kept, one.bandwidth_hz)
    assert played == pytest.approx(one.latency_s, rel=1e-9)
    assert np.all(soonest <= begins + slack)
    whole_hz = np.full(problem.cell.num_clients, problem.cell.total_bandwidth_hz)
    assert np.array_equal(found.upload_s, problem.latency.up_s(whole_hz))
    static = solve(problem, Exact())
    assert found.static.latency_s == static.latency_s
    assert found.saved_s == static.latency_s - one.latency_s
    assert one.bound_s <= one.latency_s
    assert (one.status is Status.OPTIMAL) == (one.gap <= 1e-9)


@BOTH
@pytest.mark.parametrize("kind", ["base", "held", "table", "weights", "damage"])
def test_uploads_take_turns_after_the_last_download(noise, kind):
    for seed in range(5 if noise == "fixed" else 1):
        many = 7 if noise == "fixed" else 4
        problem = random_variant(seed, noise, kind, num_clients=many)
        assert_is_a_round(problem, share_uplink(problem))


def test_least_shares_of_the_download_are_kept():
    for seed in range(4):
        least_hz = np.zeros(5)
        least_hz[seed] = 60e6
        problem = with_cell(draw(seed, 5), bandwidth_min_hz=least_hz)
        found = share_uplink(problem)
        assert_is_a_round(problem, found)
        assert found.solution.bandwidth_hz[seed] >= 60e6 * (1 - 1e-12)


@BOTH
def test_one_client_by_hand(noise):
    problem = draw(2, 1, noise, beta_bar=0.4)
    found, work, cell = share_uplink(problem), problem.workload, problem.cell
    flops = 30 * (work.adapter_flops + 0.6 * work.emulator_flops)
    down_bps = 100e6 * np.log2(1 + cell.snr_down[0])
    up_bps = 100e6 * np.log2(1 + cell.snr_up[0])
    down_s = (work.adapter_bits + 0.6 * work.emulator_bits) / down_bps
    upload_s = work.update_bits / up_bps
    expected = flops / cell.speed_flops_per_s[0] + down_s + upload_s
    assert found.solution.latency_s == pytest.approx(expected, rel=1e-9)
    assert found.upload_s[0] == pytest.approx(upload_s, rel=1e-12)
    assert found.begins_s[0] == pytest.approx(expected - upload_s, rel=1e-9)
    assert found.order.tolist() == [0]
    assert found.saved_s == pytest.approx(0, abs=1e-9 * expected)
    assert found.solution.status is Status.OPTIMAL
    assert_is_a_round(problem, found)


@pytest.mark.slow
@BOTH
def test_the_bound_is_below_every_order(noise):
    ratios, clients = [], 4 if noise == "fixed" else 3
    for seed in range(4 if noise == "fixed" else 2):
        problem = draw(seed, clients, noise)
        found, best = share_uplink(problem), np.inf
        for order in permutations(range(clients)):
            tail_s = tails_s(found.upload_s, np.array(order))
            given = with_tails(problem, tail_s, float(np.sum(found.upload_s)))
            best = min(best, Exact().solve(given).latency_s)
        assert found.solution.bound_s <= best * (1 + 1e-12)
        ratios.append(found.solution.latency_s / best)
    assert min(ratios) >= 1 - 1e-9
    assert max(ratios) <= 1.06
    assert min(ratios) <= 1 + 1e-9  # sorting finds the best order as a rule


@BOTH
def test_two_clients_against_rounds_played_on_a_grid(noise):
    shares = np.linspace(0.002, 0.998, 499)[:, None] * 1e8
    for seed in range(3):
        problem = draw(seed, 2, noise)
        found, total = share_uplink(problem), 2 * (1 - problem.limits.beta_bar)
        least = max(0.2, total - problem.kept_max[1])
        first = np.linspace(least, min(problem.kept_max[0], total - 0.2), 241)
        latency, kept = problem.latency, np.stack([first, total - first], axis=-1)
        share_hz = np.stack([shares, 1e8 - shares], axis=-1)
        downloaded = latency.down_bits(kept) / latency.down.rate_bps(share_hz)
        ready = downloaded + latency.compute_s(kept)
        best = {}
        for order in permutations(range(2)):
            now = np.max(downloaded, axis=-1)
            for client in order:
                now = np.maximum(now, ready[..., client]) + found.upload_s[client]
            best[order] = float(np.min(now))
        own = best[tuple(found.order.tolist())]
        assert found.solution.bound_s <= min(best.values())
        assert found.solution.latency_s <= own * (1 + 1e-9)
        assert found.solution.latency_s >= own * (1 - 5e-3)  # the grid's resolution


def test_turns_may_help_or_not():
    def saved_s(noise, path_loss_db):
        drawn = {"noise": noise, "path_loss_db": path_loss_db}
        return [share_uplink(draw(seed, 4, **drawn)).saved_s for seed in (0, 4, 8)]

    assert min(saved_s("fixed", 60)) > 0
    # Under a density many narrow uploads at once carry more than a wide one, where
    # power and not band is short.
    assert max(saved_s("psd", 110)) < 0


@pytest.mark.parametrize("kind", ["base", "held", "weights"])
def test_numbering_the_clients_otherwise_permutes_the_turns(kind):
    problem = random_variant(11, "fixed", kind, num_clients=8)
    order = np.random.default_rng(0).permutation(8)
    other = replace(problem, cell=problem.cell.take(order))
    here, there = share_uplink(problem), share_uplink(other)
    assert there.solution.latency_s == pytest.approx(here.solution.latency_s, rel=1e-9)
    assert order[there.order].tolist() == here.order.tolist()
    np.testing.assert_allclose(there.begins_s, here.begins_s[order], rtol=1e-7)


def test_largest_shares_are_refused():
    problem = with_cell(draw(0, 3), bandwidth_max_hz=np.full(3, 5e7))
    with pytest.raises(InputError, match="whole band; set `bandwidth_max_hz` to None"):
        share_uplink(problem)


def test_an_uplink_with_its_own_band_is_refused():
    problem = with_cell(draw(0, 3), up_bandwidth_hz=20e6)
    with pytest.raises(InputError, match="share_uplink takes one band"):
        share_uplink(problem)


def test_constraints_that_exclude_each_other_are_named():
    with pytest.raises(
        InfeasibleError, match="C5: mean pruning must not exceed `beta_bar` = 0.1"
    ):
        share_uplink(draw(0, 3, beta_bar=0.1))

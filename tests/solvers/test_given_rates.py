"""Links whose rate is given: their transfers take time, and nothing of the band."""

import numpy as np
import pytest
from helpers import make_problem, make_situation, with_cell
from variants import NOISES, NOISES_PSD_SLOW, brute_force, random_variant

from trimwave.analysis import prices_of
from trimwave.base.errors import InfeasibleError, InputError
from trimwave.decision.check import check_plan
from trimwave.methods import METHODS, parse_method
from trimwave.problem.latency import RoundLatency
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Status, solve
from trimwave.solvers import get_solver
from trimwave.solvers.integers import realise
from trimwave.solvers.resource_blocks import whole_blocks

EXACT = get_solver("exact")


def with_rates(given, seed, part=1.0):
    """Give some links a rate, between 1 Mbit/s and 1 Gbit/s."""
    rng = np.random.default_rng([seed, 5])
    clients = given.cell.num_clients
    down, up = (
        np.where(rng.random(clients) < part, 10 ** rng.uniform(6, 9, clients), np.nan)
        for _ in range(2)
    )
    return with_cell(given, rate_down_bps=down, rate_up_bps=up)


def by_hand(problem):
    """Return kept fractions and latency where nobody needs any band, by bisection."""
    work, cell = problem.workload, problem.cell
    per_kept_s = work.num_local_steps * work.emulator_flops / cell.speed_flops_per_s
    per_kept_s = per_kept_s + work.emulator_bits / cell.rate_down_bps
    fixed_s = work.num_local_steps * work.adapter_flops / cell.speed_flops_per_s
    fixed_s = fixed_s + work.adapter_bits / cell.rate_down_bps
    fixed_s = fixed_s + work.update_bits / cell.rate_up_bps
    low, high = 1 - problem.limits.beta_max, 1 - problem.limits.beta_min

    def kept_by(deadline_s):
        return np.clip((deadline_s - fixed_s) / per_kept_s, low, high)

    least_s = np.max(fixed_s + low * per_kept_s)
    early, late = least_s, np.max(fixed_s + high * per_kept_s)
    enough = (1 - problem.limits.beta_bar) * cell.num_clients
    if np.sum(kept_by(early)) >= enough:
        return kept_by(early), early
    for _ in range(200):
        middle = (early + late) / 2
        if np.sum(kept_by(middle)) >= enough:
            late = middle
        else:
            early = middle
    return kept_by(late), late


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("clients", [1, 2, 9])
@pytest.mark.parametrize("seed", range(4))
def test_without_any_band_the_optimum_is_known(noise, clients, seed):
    problem = with_rates(make_problem(seed, num_clients=clients, noise=noise), seed)
    found = solve(problem, EXACT)
    kept, latency_s = by_hand(problem)
    assert found.latency_s == pytest.approx(latency_s, rel=1e-9)
    assert found.status is Status.OPTIMAL
    assert found.kkt_residual < 1e-9
    assert np.all(found.bandwidth_hz == 0)
    assert problem.violations(found.kept, found.bandwidth_hz) == []
    latency = problem.latency
    ends_s = latency.total_s(kept, found.bandwidth_hz)
    assert np.max(ends_s) == pytest.approx(latency_s, rel=1e-9)
    # No band is worth anything.
    assert prices_of(problem, found).band_s_per_hz == 0


@pytest.mark.parametrize("noise", NOISES_PSD_SLOW)
@pytest.mark.parametrize("kind", ["base", "all"])
@pytest.mark.parametrize("part", [0.4, 0.8])
def test_no_point_of_two_clients_is_faster(noise, kind, part):
    for seed in range(2):
        drawn = random_variant(seed, noise, kind, num_clients=2)
        problem = with_rates(drawn, seed, part)
        try:
            problem.check()
        except InfeasibleError:
            continue
        found = solve(problem, EXACT)
        assert problem.violations(found.kept, found.bandwidth_hz) == []
        assert found.latency_s <= brute_force(problem) * (1 + 1e-6)
        assert found.gap is not None and found.gap < 1e-9


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("seed", range(3))
def test_a_given_downlink_is_as_slower_computing(noise, seed):
    plain = make_problem(seed, noise=noise)
    rates = np.where(np.arange(8) % 2 == 0, 3e7, np.nan)
    given = with_cell(plain, rate_down_bps=rates)
    bits, own = plain.latency, ~np.isnan(rates)
    s_per_bit = np.where(own, 1 / 3e7, 0.0)
    same = RoundLatency(
        compute_fixed_s=bits.compute_fixed_s + s_per_bit * bits.down_fixed_bits,
        compute_emulator_s=bits.compute_emulator_s
        + s_per_bit * bits.down_emulator_bits,
        down_fixed_bits=np.where(own, 0.0, bits.down_fixed_bits),
        down_emulator_bits=np.where(own, 0.0, bits.down_emulator_bits),
        up_bits=bits.up_bits,
        down=bits.down,
        up=bits.up,
    )
    as_times = Problem(
        cell=plain.cell, workload=plain.workload, limits=plain.limits, times=same
    )
    one, two = solve(given, EXACT), solve(as_times, EXACT)
    assert one.latency_s == pytest.approx(two.latency_s, rel=1e-12)
    np.testing.assert_allclose(one.bandwidth_hz, two.bandwidth_hz, rtol=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_rate_that_the_optimum_gives_leaves_the_optimum(seed):
    # Under noise of fixed power a client may take its share out of the band with it.
    problem = make_problem(seed, num_clients=5)
    best, cell = solve(problem, EXACT), problem.cell
    own = np.arange(5) < 2
    down, up = (
        np.where(own, cell.link(one).rate_bps(best.bandwidth_hz), np.nan)
        for one in ("down", "up")
    )
    rest_hz = float(np.sum(best.bandwidth_hz[~own]))
    without = with_cell(
        problem, rate_down_bps=down, rate_up_bps=up, total_bandwidth_hz=rest_hz
    )
    again = solve(without, EXACT)
    assert again.latency_s == pytest.approx(best.latency_s, rel=1e-9)
    np.testing.assert_allclose(again.kept, best.kept, atol=1e-6)
    assert again.bandwidth_hz[own].tolist() == [0, 0]


@pytest.mark.parametrize("noise", NOISES)
def test_permuting_clients_permutes_the_answer(noise):
    problem = with_rates(make_problem(3, noise=noise), 3, part=0.6)
    order = np.random.default_rng(0).permutation(8)
    moved = Problem(
        cell=problem.cell.take(order), workload=problem.workload, limits=problem.limits
    )
    one, two = solve(problem, EXACT), solve(moved, EXACT)
    assert one.latency_s == pytest.approx(two.latency_s, rel=1e-12)
    np.testing.assert_allclose(one.kept[order], two.kept, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("part", [0.5, 1.0])
def test_every_method_has_a_plan_with_given_rates(method, part):
    situation = with_rates(make_situation(1, num_clients=4), 1, part)
    situation = with_cell(situation, server_speed_flops_per_s=5e13)
    plan = parse_method(method).plan(situation)
    check_plan(situation, plan, method)
    cell, who = situation.cell, plan.scheduled
    own = who & ~np.isnan(cell.rate_up_bps)
    expected_s = plan.up_bits / cell.rate_up_bps
    np.testing.assert_allclose(plan.up_s[own], expected_s[own], rtol=1e-9)
    down = who & ~np.isnan(cell.rate_down_bps)
    expected_s = plan.down_bits / cell.rate_down_bps
    np.testing.assert_allclose(plan.down_s[down], expected_s[down], rtol=1e-7)
    assert 0 <= plan.spectrum_utilisation <= 1
    free = who & own & down
    if method != "deft":  # its groups are matched with even shares
        assert np.all(plan.bandwidth_hz[free] == 0)
    if part == 1.0 and plan.install_bits.any():
        installed_s = plan.install_bits / cell.rate_down_bps
        assert plan.install_s == pytest.approx(np.max(installed_s), rel=1e-9)


def test_whole_blocks_go_to_those_on_the_band():
    problem = with_rates(make_problem(2), 2, part=0.6)
    problem = with_cell(problem, resource_block_hz=1e6)
    shares_hz = whole_blocks(problem, np.full(8, 0.5))
    needs = problem.cell.needs_band
    assert np.all(shares_hz[~needs] == 0) and np.all(shares_hz[needs] >= 1e6)
    assert np.sum(shares_hz) <= 100e6
    free = solve(problem, EXACT)
    real = realise(problem, free)
    assert np.all(real.bandwidth_hz[~needs] == 0)
    np.testing.assert_allclose(real.bandwidth_hz % 1e6, 0, atol=1e-3)
    assert free.latency_s <= real.latency_s <= free.latency_s * 1.05


def test_rates_and_two_bands_do_not_go_together():
    problem = with_rates(make_problem(2), 2)
    with pytest.raises(InputError, match="`rate_down_bps` is for one band"):
        with_cell(problem, up_bandwidth_hz=1e7)
    with pytest.raises(InputError, match="`rate_up_bps` must be positive"):
        with_cell(make_problem(2), rate_up_bps=np.zeros(8))

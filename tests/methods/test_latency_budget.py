import re
from dataclasses import replace

import numpy as np
import pytest
from helpers import make_problem, make_situation, with_cell, with_costs, with_workload

from trimwave.base.errors import InfeasibleError, InputError
from trimwave.methods import Ubfp
from trimwave.methods.latency_budget import LatencyBudget, least_kept, most_kept
from trimwave.problem.limits import Limits
from trimwave.problem.solution import solve
from trimwave.solvers import Exact

BOTH = pytest.mark.parametrize("noise", ["fixed", "psd"])
SEEDS = {"fixed": range(8), "psd": range(1)}


def plan_within(situation, budget_s, **options):
    return LatencyBudget(budget_s=budget_s, **options).plan(situation)


def kept_of(plan):
    """x_k, zero for who was dropped."""
    return np.nan_to_num(1 - plan.prune_rate)


@pytest.mark.parametrize(("seed", "tau_s"), [(0, 10.0), (1, 8.0), (2, 16.0), (3, 22.0)])
def test_the_closed_form_where_everything_scales(seed, tau_s):
    optimize = pytest.importorskip("scipy.optimize")
    problem = make_problem(seed, speed_factor=(0.2, 2.0), path_loss_db=90.0)
    problem = with_workload(problem, adapter_flops=0, adapter_bits=0, update_bits=0)
    work, cell = problem.workload, problem.cell
    # T_k = x_k (c_k + g_k / B_k), as in Liu et al. (TCOM 2022): all of it is pruned.
    c_s = work.num_local_steps * work.emulator_flops / cell.speed_flops_per_s
    g_bits = work.emulator_bits / np.log2(1 + cell.snr_down)
    least, most = (g_bits / (tau_s / x - c_s) for x in (0.2, 0.8))
    most = np.where(tau_s / 0.8 > c_s, most, np.inf)
    assert np.sum(least) < 100e6 < np.sum(most)

    def band_at(log_mu):
        band = (np.sqrt(tau_s * g_bits / np.exp(log_mu)) - g_bits) / c_s
        return np.clip(band, least, most)

    log_mu = optimize.brentq(lambda one: np.sum(band_at(one)) - 100e6, -60, 20)
    share_hz = band_at(log_mu)
    expected = tau_s * share_hz / (c_s * share_hz + g_bits)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(most_kept(problem, tau_s), expected, rtol=1e-9)


@BOTH
def test_a_grid_over_two_clients_finds_nothing_better(noise):
    for seed in range(2):
        situation = make_situation(seed, num_clients=2, noise=noise)
        budget_s = Ubfp().plan(situation).latency_s * 0.9
        plan = plan_within(situation, budget_s)
        latency = situation.problem().latency
        best = 0.0
        for share in np.linspace(0, 100e6, 1001)[1:-1]:
            kept = latency.kept_at(np.array([share, 100e6 - share]), budget_s)
            if np.all(kept >= 0.2):
                best = max(best, float(np.sum(np.minimum(kept, 0.8))))
        assert best > 0.4
        # 100 kHz is the grid's own resolution.
        assert best - 1e-12 <= np.sum(kept_of(plan)) <= best + 2e-3


@BOTH
@pytest.mark.parametrize("trained", ["full", "lora"])
@pytest.mark.parametrize("beta_bar", [0.35, 0.6])
def test_it_is_the_dual_of_p1(noise, trained, beta_bar):
    for seed in SEEDS[noise]:
        situation = make_situation(seed, noise=noise, beta_bar=beta_bar)
        best = solve(situation.problem(trained), Exact())
        plan = plan_within(situation, best.latency_s, adapter=trained)
        assert np.mean(plan.prune_rate) == pytest.approx(beta_bar, abs=1e-9)
        assert plan.latency_s == pytest.approx(best.latency_s, rel=1e-9)
        np.testing.assert_allclose(kept_of(plan), best.kept, atol=1e-6)


@BOTH
def test_more_time_serves_more_and_prunes_less(noise):
    situation = make_situation(0, noise=noise)
    latency = situation.problem().latency
    first_s = np.min(latency.total_s(np.full(8, 0.2), np.full(8, 100e6)))
    budgets = first_s * np.geomspace(1 + 1e-9, 20, 25 if noise == "fixed" else 8)
    plans = [plan_within(situation, budget_s) for budget_s in budgets]
    for plan, budget_s in zip(plans, budgets, strict=True):
        assert plan.latency_s <= budget_s * (1 + 1e-9)
        served = plan.scheduled
        assert np.all(kept_of(plan)[served] >= 0.2 - 1e-12)
        assert np.all(kept_of(plan)[served] <= 0.8 + 1e-12)
        assert np.sum(plan.bandwidth_hz) == pytest.approx(100e6, rel=1e-9)
    numbers = [int(np.sum(plan.scheduled)) for plan in plans]
    assert numbers[0] == 1
    assert numbers[-1] == 8
    assert np.all(np.diff(numbers) >= 0)
    everyone = [np.sum(kept_of(plan)) for plan in plans if plan.scheduled.all()]
    assert np.all(np.diff(everyone) >= -1e-12)
    assert everyone[-1] == pytest.approx(8 * 0.8)
    assert np.ptp(everyone) > 1


@BOTH
def test_a_plan_that_has_time_to_spare_prunes_the_least(noise):
    situation = make_situation(0, noise=noise)
    plan = plan_within(situation, 1e4)
    np.testing.assert_allclose(plan.prune_rate, np.full(8, 0.2), atol=1e-12)
    assert set(plan.binding) == {"beta_min"}
    # The band is used all the same, and everyone ends together.
    assert np.sum(plan.bandwidth_hz) == pytest.approx(100e6)
    assert np.ptp(plan.total_s) < 1e-9 * plan.latency_s < 1


@BOTH
def test_whoever_needs_the_most_band_is_dropped(noise):
    for seed in SEEDS[noise]:
        situation = make_situation(seed, noise=noise)
        latency = situation.problem().latency
        whole_s = latency.total_s(np.full(8, 0.2), np.full(8, 100e6))
        for budget_s in np.quantile(whole_s, [0.1, 0.5, 0.9]) * 1.5:
            plan = plan_within(situation, budget_s)
            need = latency.required_bandwidth_hz(np.full(8, 0.2), budget_s)
            served, dropped = need[plan.scheduled], need[~plan.scheduled]
            assert np.sum(served) <= 100e6
            if dropped.size:
                assert np.max(served) < np.min(dropped)
                assert np.sum(served) + np.min(dropped) > 100e6
            assert np.all(plan.bandwidth_hz[~plan.scheduled] == 0)
            names = np.array(plan.binding)[~plan.scheduled]
            assert set(names.tolist()) <= {"-"}
            # Without the dropped ones the plan is the same.
            part = replace(situation, cell=situation.cell.take(plan.scheduled))
            alone = plan_within(part, budget_s)
            np.testing.assert_allclose(
                alone.prune_rate, plan.prune_rate[plan.scheduled], rtol=1e-12
            )


def test_the_bound_of_two_clients_by_hand():
    situation = with_cell(
        make_situation(0, num_clients=2),
        speed_flops_per_s=np.array([1e12, 1e12]),
        snr_down=np.full(2, 2.0**10 - 1),
        snr_up=np.full(2, 2.0**10 - 1),
    )
    # Equal clients: each has half the band, and T = tau for both.
    block_bits, steps = 12_596_224 * 16, 30
    tau_s = 12.0
    fixed_s = steps * 92_963_602_432 / 1e12 + 4 * block_bits / (50e6 * 10)
    per_kept_s = steps * 147_639_500_800 / 1e12 + 22 * block_bits / (50e6 * 10)
    expected = (tau_s - fixed_s) / per_kept_s
    assert 0.2 < expected < 0.8
    plan = plan_within(situation, tau_s)
    np.testing.assert_allclose(kept_of(plan), np.full(2, expected), rtol=1e-9)
    np.testing.assert_allclose(plan.bandwidth_hz, np.full(2, 50e6), rtol=1e-9)
    np.testing.assert_allclose(plan.total_s, np.full(2, tau_s), rtol=1e-9)


@BOTH
def test_one_client_gets_the_whole_band(noise):
    situation = make_situation(4, num_clients=1, noise=noise)
    latency = situation.problem().latency
    budget_s = float(latency.total_s(np.array([0.63]), np.array([100e6]))[0])
    plan = plan_within(situation, budget_s)
    assert kept_of(plan) == pytest.approx([0.63], rel=1e-9)
    assert plan.bandwidth_hz == pytest.approx([100e6], rel=1e-12)


@BOTH
def test_inside_its_bounds_everyone_pays_the_same_price(noise):
    for seed in SEEDS[noise]:
        situation = make_situation(seed, noise=noise)
        budget_s = 0.8 * Ubfp().plan(situation).latency_s
        plan, latency = plan_within(situation, budget_s), situation.problem().latency
        price_hz = latency.price_hz(plan.bandwidth_hz, budget_s)
        kept = kept_of(plan)
        inside = (kept > 0.2 + 1e-6) & (kept < 0.8 - 1e-6)
        assert np.sum(inside) >= 2
        assert np.ptp(price_hz[inside]) < 1e-6 * np.max(price_hz[inside])
        common_hz = np.min(price_hz[inside])
        assert np.all(price_hz[kept > 0.8 - 1e-6] <= common_hz * 1.001)
        assert np.all(price_hz[kept < 0.2 + 1e-6] >= common_hz * 0.999)


@BOTH
@pytest.mark.parametrize("trained", ["full", "lora"])
def test_by_default_it_takes_no_longer_than_ubfp_and_prunes_less(noise, trained):
    for seed in SEEDS[noise]:
        situation = make_situation(seed, noise=noise, beta_bar=0.45)
        ubfp = Ubfp(adapter=trained).plan(situation)
        plan = LatencyBudget(adapter=trained).plan(situation)
        assert plan.scheduled.all()
        assert plan.latency_s <= ubfp.latency_s * (1 + 1e-9)
        assert np.mean(plan.prune_rate) < 0.45 - 1e-3
        assert plan.submodels[0].trained == trained
        np.testing.assert_array_equal(plan.up_bits, ubfp.up_bits)


@pytest.mark.parametrize("notches", [10, 44, 3_000])
def test_real_sizes_stay_within_the_budget(notches):
    for seed in range(4):
        drawn = make_situation(seed)
        sizes = np.arange(notches // 10, notches + 1) * drawn.costs.emulator_params
        situation = with_costs(drawn, emulator_sizes=sizes // notches)
        budget_s = Ubfp().plan(drawn).latency_s
        plan, any_size = plan_within(situation, budget_s), plan_within(drawn, budget_s)
        assert plan.latency_s <= budget_s * (1 + 1e-9)
        params = {one.emulator_params for one in plan.submodels}
        assert params <= set(situation.costs.emulator_sizes.tolist())
        lost = kept_of(any_size) - kept_of(plan)
        assert np.all(lost >= -1e-9)
        assert np.all(lost < 1.001 / notches)
        assert np.sum(plan.bandwidth_hz) == pytest.approx(100e6, rel=1e-12)


def test_the_smallest_real_size_decides_who_is_in_time():
    drawn = make_situation(0)
    # Nothing between 0.1 and 0.5 of the emulator: who is served keeps at least half.
    sizes = drawn.costs.emulator_params * np.array([1, 5, 6, 7, 8, 10]) // 10
    situation = with_costs(drawn, emulator_sizes=sizes)
    np.testing.assert_allclose(least_kept(situation.problem()), np.full(8, 0.5))
    need = drawn.problem().latency.required_bandwidth_hz(np.full(8, 0.5), 15.0)
    count = int(np.sum(np.cumsum(np.sort(need)) <= 100e6))
    plan = plan_within(situation, 15.0)
    assert np.sum(plan.scheduled) == count < 8
    assert plan_within(drawn, 15.0).scheduled.all()
    assert plan.latency_s <= 15.0
    assert np.min(kept_of(plan)[plan.scheduled]) == pytest.approx(0.5)


def test_permuting_the_clients_permutes_the_plan():
    order = np.random.default_rng(3).permutation(8)
    for seed, budget_s in ((0, None), (1, None), (0, 9.0), (2, 9.0)):
        situation = make_situation(seed)
        moved = replace(situation, cell=situation.cell.take(order))
        here, there = (plan_within(one, budget_s) for one in (situation, moved))
        assert np.array_equal(here.scheduled[order], there.scheduled)
        np.testing.assert_allclose(kept_of(here)[order], kept_of(there), rtol=1e-9)
        np.testing.assert_allclose(
            here.bandwidth_hz[order], there.bandwidth_hz, rtol=1e-9
        )


def test_c5_is_not_a_constraint():
    situation = make_situation(0, beta_bar=0.21)
    plan = plan_within(situation, 15.0)
    assert np.mean(plan.prune_rate) > 0.3
    other = plan_within(replace(situation, limits=Limits(beta_bar=0.6)), 15.0)
    assert np.array_equal(plan.prune_rate, other.prune_rate)


def test_memory_and_its_lack():
    situation = make_situation(0)
    work = situation.costs.workload()
    memory = situation.cell.memory_bytes.copy()
    memory[3] = work.fixed_memory_bytes + 0.31 * work.emulator_memory_bytes
    plan = plan_within(with_cell(situation, memory_bytes=memory), 30.0)
    assert kept_of(plan)[3] == pytest.approx(0.31, rel=1e-9)
    assert plan.binding[3] == "memory"
    memory[3] = work.fixed_memory_bytes
    with pytest.raises(InfeasibleError, match="C3: client 3"):
        plan_within(with_cell(situation, memory_bytes=memory), 30.0)


@BOTH
def test_a_budget_that_nobody_meets_names_the_smallest_that_works(noise):
    for seed in range(3):
        situation = make_situation(seed, noise=noise)
        with pytest.raises(
            InfeasibleError, match=r"nobody can end within 1 s"
        ) as caught:
            plan_within(situation, 1.0)
        latency = situation.problem().latency
        alone_s = latency.total_s(np.full(8, 0.2), np.full(8, 100e6))
        client, named = re.search(
            r"client (\d) can within (\d+\.\d{3}) s", str(caught.value)
        ).groups()
        assert int(client) == np.argmin(alone_s)
        assert 0 <= float(named) - np.min(alone_s) <= 1e-3
        plan = plan_within(situation, float(named))
        assert np.flatnonzero(plan.scheduled).tolist() == [int(client)]
        with pytest.raises(InfeasibleError, match="nobody can end"):
            plan_within(situation, float(named) - 2e-3)


@pytest.mark.parametrize("budget_s", [0.0, -3.0, float("nan")])
def test_a_budget_is_positive(budget_s):
    with pytest.raises(
        InputError, match=r"option `budget_s` of `latency_budget` must be positive"
    ):
        LatencyBudget(budget_s=budget_s)

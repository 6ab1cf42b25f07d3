from dataclasses import replace

import numpy as np
import pytest
from helpers import make_situation, with_cell, with_costs

from trimwave.base.errors import InfeasibleError, InputError
from trimwave.methods import Ubfp
from trimwave.methods.latency_budget import LatencyBudget
from trimwave.methods.personalised import Personalised
from trimwave.problem.limits import Limits
from trimwave.problem.solution import solve
from trimwave.solvers import Exact

BOTH = pytest.mark.parametrize("noise", ["fixed", "psd"])
SEEDS = {"fixed": range(8), "psd": range(1)}
BLOCK_BITS = 12_596_224 * 16
EVEN_HZ = np.full(8, 12.5e6)


def plan_at(situation, threshold_s, **options):
    return Personalised(threshold_s=threshold_s, **options).plan(situation)


def rule(situation, bandwidth_hz, threshold_s):
    """rho_k = [1 - (t_th - t_fixed,k) / t_emulator,k]+ within C4.

    From the problem of Liu et al. (TSP 2024, arXiv 2309.01816), as `Personalised` says.
    """
    latency = situation.problem().latency
    fixed_s = latency.total_s(np.zeros_like(bandwidth_hz), bandwidth_hz)
    emulator_s = latency.total_s(np.ones_like(bandwidth_hz), bandwidth_hz) - fixed_s
    limits = situation.limits
    rho = 1 - (threshold_s - fixed_s) / emulator_s
    return np.clip(rho, limits.beta_min, limits.beta_max)


@BOTH
def test_with_an_even_band_everyone_follows_the_rule(noise):
    situation = make_situation(0, noise=noise)
    latency = situation.problem().latency
    bounds_s = [latency.total_s(np.full(8, x), EVEN_HZ) for x in (0.2, 0.8)]
    for threshold_s in np.linspace(0.5 * np.min(bounds_s), 1.2 * np.max(bounds_s), 9):
        plan = plan_at(situation, threshold_s, bandwidth="uniform")
        rho = rule(situation, EVEN_HZ, threshold_s)
        np.testing.assert_allclose(plan.prune_rate, rho, atol=1e-12)
        np.testing.assert_array_equal(plan.bandwidth_hz, EVEN_HZ)
        assert plan.scheduled.all()
        late = plan.total_s > threshold_s * (1 + 1e-12)
        assert np.array_equal(late, bounds_s[0] > threshold_s * (1 + 1e-12))
        # Whoever is late prunes the most; whoever prunes less is just in time.
        np.testing.assert_allclose(plan.prune_rate[late], 0.8)
        between = (rho > 0.2 + 1e-9) & (rho < 0.8 - 1e-9)
        np.testing.assert_allclose(plan.total_s[between], threshold_s, rtol=1e-12)


def test_two_clients_by_hand():
    situation = with_cell(
        make_situation(0, num_clients=2),
        speed_flops_per_s=np.array([1e12, 0.4e12]),
        snr_down=np.full(2, 2.0**10 - 1),
        snr_up=np.full(2, 2.0**10 - 1),
    )
    transfer_s = BLOCK_BITS / (50e6 * 10)
    fixed_s = 30 * 92_963_602_432 / 1e12 + 4 * transfer_s
    emulator_s = 30 * 147_639_500_800 / 1e12 + 22 * transfer_s
    plan = plan_at(situation, 12.0, bandwidth="uniform")
    assert plan.prune_rate[0] == pytest.approx(1 - (12.0 - fixed_s) / emulator_s)
    assert 0.3 < plan.prune_rate[0] < 0.7
    # The other would have to prune more than it may, and ends late.
    assert plan.prune_rate[1] == pytest.approx(0.8)
    assert plan.binding == ("-", "beta_max")
    late_s = 30 * (92_963_602_432 + 0.2 * 147_639_500_800) / 0.4e12
    late_s += (4 + 0.2 * 22) * transfer_s
    assert plan.latency_s == plan.total_s[1] == pytest.approx(late_s)
    assert late_s > 12.0
    assert plan.total_s[0] == pytest.approx(12.0)
    # With the band where it helps, both can make it.
    plan = plan_at(situation, 12.0)
    np.testing.assert_allclose(plan.total_s, np.full(2, 12.0), rtol=1e-9)
    assert plan.bandwidth_hz[1] > plan.bandwidth_hz[0]


@BOTH
def test_where_all_can_meet_it_the_split_is_the_latency_budgets(noise):
    for seed in SEEDS[noise]:
        situation = make_situation(seed, noise=noise)
        threshold_s = 0.85 * Ubfp().plan(situation).latency_s
        plan = plan_at(situation, threshold_s)
        peer = LatencyBudget(budget_s=threshold_s).plan(situation)
        assert peer.scheduled.all()
        assert np.array_equal(plan.prune_rate, peer.prune_rate)
        assert np.array_equal(plan.bandwidth_hz, peer.bandwidth_hz)
        # The rule holds at the share that each client has.
        rho = rule(situation, plan.bandwidth_hz, threshold_s)
        np.testing.assert_allclose(plan.prune_rate, rho, atol=1e-9)
        assert plan.latency_s <= threshold_s * (1 + 1e-9)


@BOTH
def test_it_is_the_dual_of_p1(noise):
    for seed in SEEDS[noise]:
        for beta_bar in (0.35, 0.6):
            situation = make_situation(seed, noise=noise, beta_bar=beta_bar)
            best = solve(situation.problem(), Exact())
            plan = plan_at(situation, best.latency_s)
            assert np.mean(plan.prune_rate) == pytest.approx(beta_bar, abs=1e-9)


@BOTH
def test_no_split_on_a_grid_prunes_two_clients_less(noise):
    situation = make_situation(1, num_clients=2, noise=noise, speed_factor=(0.3, 2))
    threshold_s = 0.9 * Ubfp().plan(situation).latency_s
    best, latency = np.inf, situation.problem().latency
    for share in np.linspace(0, 100e6, 1001)[1:-1]:
        bandwidth_hz = np.array([share, 100e6 - share])
        rho = rule(situation, bandwidth_hz, threshold_s)
        if np.max(latency.total_s(1 - rho, bandwidth_hz)) <= threshold_s * (1 + 1e-12):
            best = min(best, float(np.sum(rho)))
    plan = plan_at(situation, threshold_s)
    # 100 kHz is the grid's own resolution.
    assert best - 5e-3 <= np.sum(plan.prune_rate) <= best + 1e-9
    even = plan_at(situation, threshold_s, bandwidth="uniform")
    assert np.sum(plan.prune_rate) < np.sum(even.prune_rate) - 1e-3


@BOTH
def test_where_somebody_cannot_meet_it_the_band_is_even(noise):
    for seed in SEEDS[noise]:
        situation = make_situation(seed, noise=noise)
        latency = situation.problem().latency
        need = latency.required_bandwidth_hz(np.full(8, 0.2), 5.0)
        assert np.sum(need) > 100e6
        here = plan_at(situation, 5.0)
        there = plan_at(situation, 5.0, bandwidth="uniform")
        assert here.record() == there.record()
        assert here.scheduled.all()
        assert here.latency_s > 5.0


@pytest.mark.parametrize("bandwidth", ["kkt", "uniform"])
def test_more_time_prunes_less(bandwidth):
    situation = make_situation(2)
    thresholds_s = np.linspace(9, 40, 30)
    plans = [plan_at(situation, one, bandwidth=bandwidth) for one in thresholds_s]
    sums = np.array([np.sum(plan.prune_rate) for plan in plans])
    assert np.all(np.diff(sums) <= 1e-12)
    assert sums[0] > 4
    assert sums[-1] == pytest.approx(1.6)


@pytest.mark.parametrize("bandwidth", ["kkt", "uniform"])
@pytest.mark.parametrize("trained", ["full", "lora"])
def test_by_default_the_threshold_is_ubfps_time(bandwidth, trained):
    for seed in range(4):
        situation = make_situation(seed, beta_bar=0.45)
        ubfp = Ubfp(adapter=trained).plan(situation)
        plan = Personalised(bandwidth=bandwidth, adapter=trained).plan(situation)
        assert plan.latency_s <= ubfp.latency_s * (1 + 1e-9)
        assert np.mean(plan.prune_rate) < 0.45
        if bandwidth == "uniform":  # then nobody prunes more than there
            assert np.all(plan.prune_rate <= ubfp.prune_rate + 1e-9)
            straggler = plan.prune_rate[ubfp.straggler]
            assert straggler == pytest.approx(0.45, abs=1e-9)
        assert {one.trained for one in plan.submodels} == {trained}


@pytest.mark.parametrize("bandwidth", ["kkt", "uniform"])
@pytest.mark.parametrize("notches", [10, 44, 3_000])
def test_real_sizes_are_in_time(bandwidth, notches):
    for seed in range(3):
        drawn = make_situation(seed)
        sizes = np.arange(notches // 10, notches + 1) * drawn.costs.emulator_params
        situation = with_costs(drawn, emulator_sizes=sizes // notches)
        threshold_s = Ubfp().plan(drawn).latency_s
        plan = plan_at(situation, threshold_s, bandwidth=bandwidth)
        any_size = plan_at(drawn, threshold_s, bandwidth=bandwidth)
        params = {one.emulator_params for one in plan.submodels}
        assert params <= set(situation.costs.emulator_sizes.tolist())
        assert plan.latency_s <= threshold_s * (1 + 1e-9)
        more = plan.prune_rate - any_size.prune_rate
        assert np.all(more >= -1e-9)
        assert np.all(more < 1.001 / notches)
        if bandwidth == "kkt":
            assert np.ptp(plan.total_s) < 1e-9 * plan.latency_s
        else:
            np.testing.assert_array_equal(plan.bandwidth_hz, EVEN_HZ)


@pytest.mark.parametrize("bandwidth", ["kkt", "uniform"])
def test_permuting_the_clients_permutes_the_plan(bandwidth):
    order = np.random.default_rng(3).permutation(8)
    for seed, threshold_s in ((0, None), (1, 5.0), (2, 15.0)):
        situation = make_situation(seed)
        moved = replace(situation, cell=situation.cell.take(order))
        here, there = (
            plan_at(one, threshold_s, bandwidth=bandwidth) for one in (situation, moved)
        )
        for name in ("prune_rate", "bandwidth_hz"):
            expected = getattr(here, name)[order]
            np.testing.assert_allclose(expected, getattr(there, name), rtol=1e-9)


@BOTH
@pytest.mark.parametrize("bandwidth", ["kkt", "uniform"])
def test_one_client_has_the_whole_band(noise, bandwidth):
    situation = make_situation(4, num_clients=1, noise=noise)
    latency = situation.problem().latency
    threshold_s = float(latency.total_s(np.array([0.63]), np.array([100e6]))[0])
    plan = plan_at(situation, threshold_s, bandwidth=bandwidth)
    assert plan.prune_rate == pytest.approx([0.37], rel=1e-9)
    assert plan.bandwidth_hz == pytest.approx([100e6], rel=1e-12)


@pytest.mark.parametrize("bandwidth", ["kkt", "uniform"])
def test_memory_and_its_lack(bandwidth):
    situation = make_situation(0)
    work = situation.costs.workload()
    memory = situation.cell.memory_bytes.copy()
    memory[3] = work.fixed_memory_bytes + 0.31 * work.emulator_memory_bytes
    plan = plan_at(with_cell(situation, memory_bytes=memory), 30.0, bandwidth=bandwidth)
    assert plan.prune_rate[3] == pytest.approx(0.69, rel=1e-9)
    assert plan.binding[3] == "memory"
    memory[3] = work.fixed_memory_bytes
    with pytest.raises(InfeasibleError, match="C3: client 3"):
        plan_at(with_cell(situation, memory_bytes=memory), 30.0, bandwidth=bandwidth)


def test_c5_is_not_a_constraint():
    situation = make_situation(0, beta_bar=0.21)
    plan = plan_at(situation, 15.0)
    assert np.mean(plan.prune_rate) > 0.3
    other = plan_at(replace(situation, limits=Limits(beta_bar=0.6)), 15.0)
    assert np.array_equal(plan.prune_rate, other.prune_rate)


@pytest.mark.parametrize("threshold_s", [0.0, -3.0, float("nan")])
def test_a_threshold_is_positive(threshold_s):
    with pytest.raises(
        InputError, match=r"option `threshold_s` of `personalised` must be positive"
    ):
        Personalised(threshold_s=threshold_s)


@pytest.mark.parametrize(
    ("method", "label"),
    [(Personalised, "personalised"), (LatencyBudget, "budget pruning")],
)
def test_label_and_scheme(method, label):
    situation = make_situation(0, beta_bar=0.4)
    given = method(adapter="lora")
    assert given.label == label
    scheme = given.scheme(situation.costs, situation.limits)
    assert scheme == Ubfp(adapter="lora").scheme(situation.costs, situation.limits)

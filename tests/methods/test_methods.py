import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import make_situation, with_cell, with_costs

from trimwave.base.errors import InfeasibleError
from trimwave.methods import Jcpba, Ubfp, parse_method
from trimwave.problem.limits import Limits
from trimwave.problem.solution import solve
from trimwave.solvers import Exact

METHOD_TEXTS = (
    "jcpba",
    "jcpba:solver=bcd",
    "jcpba:adapter=lora",
    "ubfp",
    "ubfp:adapter=lora",
)


def trained_in(text):
    return "lora" if "adapter=lora" in text else "full"


def on_grid(situation, notches):
    """Allow the sizes i / notches of the emulator from a tenth of it on."""
    steps = np.arange(max(1, notches // 10), notches + 1)
    sizes = steps * situation.costs.emulator_params // notches
    return with_costs(situation, emulator_sizes=sizes)


@pytest.mark.parametrize("text", METHOD_TEXTS)
@pytest.mark.parametrize("notches", [10, 44, 3_000])
@pytest.mark.parametrize("noise", ["fixed", "psd"])
def test_real_sizes_keep_every_constraint(text, notches, noise):
    for seed in range(4 if noise == "fixed" else 1):
        drawn = make_situation(seed, noise=noise, beta_bar=0.47)
        situation = on_grid(drawn, notches)
        plan = parse_method(text).plan(situation)
        problem, kept = situation.problem(trained_in(text)), 1 - plan.prune_rate
        assert problem.violations(kept, plan.bandwidth_hz) == []
        sizes = set(situation.costs.emulator_sizes.tolist())
        assert {one.emulator_params for one in plan.submodels} <= sizes
        assert -1e-9 <= np.mean(kept) - 0.53 <= 1 / notches + 1e-9
        assert np.sum(plan.bandwidth_hz) == pytest.approx(100e6, rel=1e-12)


def test_rounding_spends_what_c5_asks_for_and_no_more():
    situation = on_grid(make_situation(0, beta_bar=0.47), 100)
    problem = situation.problem()
    kept = 1 - parse_method("jcpba").plan(situation).prune_rate
    least = np.min(np.diff(problem.workload.emulator_sizes))
    notch = least / problem.workload.emulator_params
    assert float(problem.avoided(kept)[0]) - problem.avoid_min < 1.01 * notch


def test_rounding_raises_the_client_that_ends_first():
    situation = make_situation(0, beta_bar=0.45)
    cell = situation.cell
    names = ("memory_bytes", "snr_down", "snr_up")
    equal = {name: np.full(8, getattr(cell, name)[0]) for name in names}
    speed = np.full(8, 1e12)
    speed[3] = 1e13
    situation = on_grid(with_cell(situation, speed_flops_per_s=speed, **equal), 10)
    # Everyone keeps 0.55: down to 0.5, and 8 x 0.05 = 4 notches to spend. Client 3 ends
    # first up to its bound of 0.8; among equals the next is the lowest number.
    kept = 1 - Ubfp().plan(situation).prune_rate
    expected = [0.6, 0.5, 0.5, 0.8, 0.5, 0.5, 0.5, 0.5]
    np.testing.assert_allclose(kept, expected, atol=1e-7)


@pytest.mark.parametrize("text", METHOD_TEXTS)
def test_rounding_spends_on_nobody_whose_memory_is_full(text):
    situation = make_situation(0, beta_bar=0.45)
    fast = int(np.argmax(situation.cell.speed_flops_per_s))
    memory = situation.cell.memory_bytes.copy()
    work = situation.costs.workload(trained_in(text))
    memory[fast] = work.fixed_memory_bytes + 0.37 * work.emulator_memory_bytes
    situation = on_grid(with_cell(situation, memory_bytes=memory), 10)
    plan = parse_method(text).plan(situation)
    kept = 1 - plan.prune_rate
    problem = situation.problem(trained_in(text))
    assert problem.violations(kept, plan.bandwidth_hz) == []
    assert kept[fast] == pytest.approx(0.3, abs=1e-6)


def test_jcpba_splits_the_band_again_for_the_real_sizes():
    for text in ("jcpba", "jcpba:solver=bcd"):
        plan = parse_method(text).plan(on_grid(make_situation(0), 10))
        assert np.ptp(plan.total_s) < 1e-9 * plan.latency_s
        assert np.ptp(plan.bandwidth_hz - plan.solution.bandwidth_hz) > 1e5


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("jcpba", "ubfp"),
        ("jcpba:solver=bcd", "ubfp"),
        ("jcpba:adapter=lora", "ubfp:adapter=lora"),
    ],
)
@pytest.mark.parametrize("notches", [None, 3_000])
def test_jcpba_is_faster_than_ubfp_at_the_same_mean_pruning(text, peer, notches):
    for seed in range(10):
        situation = make_situation(seed)
        situation = situation if notches is None else on_grid(situation, notches)
        ours = parse_method(text).plan(situation)
        theirs = parse_method(peer).plan(situation)
        assert ours.latency_s < theirs.latency_s
        difference = np.mean(ours.prune_rate) - np.mean(theirs.prune_rate)
        assert abs(difference) <= 1e-9 + (0 if notches is None else 1 / notches)


def test_without_sizes_the_plan_is_the_solvers_own():
    situation = make_situation(3)
    plan, solution = Jcpba().plan(situation), solve(situation.problem(), Exact())
    np.testing.assert_allclose(1 - plan.prune_rate, solution.kept, rtol=1e-12)
    assert np.array_equal(plan.bandwidth_hz, solution.bandwidth_hz)
    assert plan.latency_s == pytest.approx(solution.latency_s, rel=1e-14)


def test_ubfp_gives_everyone_the_same():
    plan = Ubfp().plan(make_situation(0, beta_bar=0.4))
    np.testing.assert_allclose(plan.prune_rate, np.full(8, 0.4), rtol=1e-12)
    np.testing.assert_allclose(plan.bandwidth_hz, np.full(8, 12.5e6), rtol=1e-12)


@pytest.mark.parametrize("trained", ["full", "lora"])
def test_a_plan_adds_up(trained):
    situation = on_grid(make_situation(0), 44)
    plan = Jcpba(adapter=trained).plan(situation)
    problem = situation.problem(trained)
    work, latency, kept = problem.workload, problem.latency, 1 - plan.prune_rate
    np.testing.assert_allclose(
        plan.total_s, latency.total_s(kept, plan.bandwidth_hz), rtol=1e-14
    )
    assert plan.latency_s == plan.total_s[plan.straggler] == np.max(plan.total_s)
    params = np.array([one.emulator_params for one in plan.submodels])
    assert np.array_equal(plan.down_bits, params * 16 + work.adapter_bits)
    assert np.array_equal(plan.up_bits, np.full(8, work.update_bits))
    np.testing.assert_allclose(
        plan.flops, plan.compute_s * situation.cell.speed_flops_per_s, rtol=1e-12
    )
    assert plan.num_clients == 8
    assert plan.scheduled.all()
    busy = np.sum((plan.down_s + plan.up_s) * plan.bandwidth_hz)
    assert plan.spectrum_utilisation == pytest.approx(busy / (plan.latency_s * 100e6))
    assert 0 < plan.spectrum_utilisation < 1


def test_overheads_are_charged():
    situation = make_situation(0)
    more = with_costs(situation, overhead_down_bits=10**9, overhead_up_bits=10**8)
    here, there = Ubfp().plan(situation), Ubfp().plan(more)
    assert np.all(there.down_bits - here.down_bits == 10**9)
    assert np.all(there.up_bits - here.up_bits == 10**8)
    extra_s = 10**9 / situation.problem().latency.down.rate_bps(here.bandwidth_hz)
    np.testing.assert_allclose(there.down_s - here.down_s, extra_s, rtol=1e-9)


def test_binding_names_the_bound():
    situation = make_situation(0, beta_min=0.45, beta_max=0.55)
    memory = situation.cell.memory_bytes.copy()
    work = situation.costs.workload()
    memory[0] = work.fixed_memory_bytes + 0.5 * work.emulator_memory_bytes
    plan = Jcpba().plan(with_cell(situation, memory_bytes=memory))
    names = {0.45: "beta_max", 0.5: "memory", 0.55: "beta_min"}
    for k, kept in enumerate(1 - plan.prune_rate):
        expected = names.get(round(kept, 6), "-")
        assert plan.binding[k] == ("-" if expected == "memory" and k else expected)
    assert plan.binding[0] == "memory"
    assert {"beta_max", "beta_min"} <= set(plan.binding)


@pytest.mark.parametrize("text", METHOD_TEXTS)
def test_a_plan_is_pure_and_plain(text):
    situation = on_grid(make_situation(0), 44)
    cell = situation.cell
    before = {name: np.copy(value) for name, value in vars(cell).items()}
    first = parse_method(text).plan(situation).record()
    again = parse_method(text).plan(situation).record()
    fresh = parse_method(text).plan(on_grid(make_situation(0), 44)).record()
    assert first == again == fresh
    for name, value in before.items():
        assert np.array_equal(getattr(cell, name), value)
    assert json.loads(json.dumps(first)) == first


def test_no_size_between_the_bounds_is_named():
    situation = make_situation(0, beta_min=0.42, beta_max=0.48, beta_bar=0.45)
    message = r"C4: no real sub-model keeps between 0\.5200 and 0\.5800 .*client 0"
    for text in METHOD_TEXTS:
        with pytest.raises(InfeasibleError, match=message):
            parse_method(text).plan(on_grid(situation, 10))


def test_c5_beyond_the_largest_size_is_named():
    situation = on_grid(make_situation(0, beta_min=0.25, beta_bar=0.26), 10)
    message = r"C5: .* prune 0\.3000 on average, over `beta_bar` = 0\.26 by 0\.0400"
    for text in METHOD_TEXTS:
        with pytest.raises(InfeasibleError, match=message):
            parse_method(text).plan(situation)


@pytest.mark.parametrize("text", METHOD_TEXTS)
def test_an_infeasible_problem_is_refused_before_solving(text):
    situation = replace(make_situation(0), limits=Limits(beta_bar=0.1))
    with pytest.raises(InfeasibleError, match="C5"):
        parse_method(text).plan(situation)


@pytest.mark.parametrize("method", [Jcpba, Ubfp])
@pytest.mark.parametrize("trained", ["full", "lora"])
def test_the_pruning_methods_test_on_the_emulator_at_beta_bar(method, trained):
    situation = make_situation(0, beta_bar=0.37)
    scheme = method(adapter=trained).scheme(situation.costs, situation.limits)
    assert scheme.submodel == situation.costs.pruned(0.63, trained)
    assert scheme.submodel.trained_blocks == (22, 23)
    assert scheme.align is None


def test_lora_moves_fewer_bits_up_and_needs_less_memory():
    situation = make_situation(0)
    full, lora = (Ubfp(adapter=one).plan(situation) for one in ("full", "lora"))
    assert {one.trained for one in full.submodels} == {"full"}
    assert {one.trained for one in lora.submodels} == {"lora"}
    ratio = full.up_bits / lora.up_bits
    np.testing.assert_allclose(ratio, 12_596_224 / 32_768, rtol=1e-12)
    assert np.all(lora.memory_bytes < full.memory_bytes)
    assert np.all(lora.flops < full.flops)

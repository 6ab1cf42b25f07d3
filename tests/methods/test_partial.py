import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import LETTER_COSTS, with_cell

from trimwave.base.errors import InfeasibleError, InputError
from trimwave.cell.cell import Cell
from trimwave.decision.plan import Situation
from trimwave.methods.partial import Partial
from trimwave.methods.ubfp import Ubfp
from trimwave.problem.limits import Limits

BAND = 100e6
# By hand, GPT-2 Medium, N = 1, s = 256, M = 30: half of 22 blocks and the adapter's 2.
BLOCK_PARAMS = 12_596_224
BLOCK_FORWARD = 24 * 1024**2 * 256 + 4 * 1024 * 256**2
FLOPS = 30 * ((11 + 3 * 2) * BLOCK_FORWARD + 2 * (2 * 1024 * 50_257 * 256))
DOWN_BITS = 16 * 13 * BLOCK_PARAMS
UP_BITS = 16 * 2 * BLOCK_PARAMS


def situation_of(seed, num_clients, *, noise="fixed", samples=None, **carried):
    """Draw a cell whose links and devices differ widely."""
    rng = np.random.default_rng(seed)
    drawn = 10 ** rng.uniform(0, 1.5, num_clients)
    cell = Cell(
        speed_flops_per_s=1e12 * rng.uniform(0.2, 2.0, num_clients),
        memory_bytes=rng.uniform(4e9, 8e9, num_clients),
        snr_down=10 ** rng.uniform(0, 5, num_clients),
        snr_up=10 ** rng.uniform(0, 5, num_clients),
        num_samples=drawn if samples is None else samples,
        total_bandwidth_hz=BAND,
        noise=noise,
    )
    return Situation(cell=cell, costs=LETTER_COSTS, carried=carried)


def subsets_of(num_clients):
    """All non-empty subsets, [2^K - 1, K] of bool."""
    numbers = np.arange(1, 2**num_clients)[:, None]
    return (numbers >> np.arange(num_clients)) % 2 == 1


def brute_objective(situation, v):
    """Q tau - V data of every subset, by plain bisection."""
    cell, subsets = situation.cell, subsets_of(situation.cell.num_clients)
    compute_s = FLOPS / cell.speed_flops_per_s
    bits_per_hz_s = DOWN_BITS / np.log2(1 + cell.snr_down)
    bits_per_hz_s = bits_per_hz_s + UP_BITS / np.log2(1 + cell.snr_up)
    low = np.max(np.where(subsets, compute_s, 0), axis=1)
    high = low + 1e4
    for _ in range(70):
        middle = (low + high) / 2
        slack_s = np.where(subsets, middle[:, None] - compute_s, 1.0)
        fits = np.sum(np.where(subsets, bits_per_hz_s / slack_s, 0), axis=1) <= BAND
        low, high = np.where(fits, low, middle), np.where(fits, middle, high)
    data = subsets @ cell.num_samples / np.sum(cell.num_samples)
    return situation.carried["queue_s"] * high - v * data


@pytest.mark.slow
def test_set_expansion_against_all_subsets():
    rng = np.random.default_rng(0)
    optimal, counts = 0, set()
    for seed in range(200):
        num_clients = 1 + seed % 7
        queue, ratio = 10 ** rng.uniform(-2, 1), 10 ** rng.uniform(0, 3)
        situation, v = situation_of(seed, num_clients, queue_s=queue), ratio * queue
        plan = Partial(v=v).plan(situation)
        data = np.sum(situation.cell.num_samples[plan.scheduled])
        ours = queue * plan.latency_s - v * data / np.sum(situation.cell.num_samples)
        objective = brute_objective(situation, v)
        sizes = np.sum(subsets_of(num_clients), axis=1)
        slack = 1e-9 * (queue * plan.latency_s + v)
        assert np.min(objective) - slack <= ours
        assert ours <= np.min(objective[sizes == 1]) + slack
        assert ours <= objective[-1] + slack  # everyone
        optimal += ours <= np.min(objective) + slack
        if num_clients == 7:
            counts.add(int(np.sum(plan.scheduled)))
    assert len(counts) >= 5  # the cases are not all alike
    assert optimal == 199  # growth is a heuristic; this is how good it is


def alike(num_clients, **changes):
    """Return a situation of equal clients: 1 TFLOP/s and 10 bit/s/Hz both ways."""
    situation = situation_of(0, num_clients, samples=np.ones(num_clients), queue_s=1.0)
    ones = np.ones(num_clients)
    equal = {"speed_flops_per_s": 1e12 * ones, "memory_bytes": 8e9 * ones}
    equal |= {"snr_down": 1023 * ones, "snr_up": 1023 * ones}
    return with_cell(situation, **{**equal, **changes})


ONE_CLIENT_S = FLOPS / 1e12 + (DOWN_BITS + UP_BITS) / (10 * BAND)
"""8.027 s: device 5.003, link 3.023."""


def test_one_client_has_the_band_to_itself():
    assert pytest.approx(8.027, abs=1e-3) == ONE_CLIENT_S
    for queue in (0.0, 1e-3, 1e6):
        situation = replace(alike(1), carried={"queue_s": queue})
        plan = Partial(v=1e-6).plan(situation)
        assert plan.scheduled.tolist() == [True]
        assert plan.bandwidth_hz[0] == pytest.approx(BAND, rel=1e-12)
        assert plan.latency_s == pytest.approx(ONE_CLIENT_S, rel=1e-12)


def test_equal_clients_by_hand():
    # Each client adds 3.023 s of link time and a fifth of the data.
    link_s = (DOWN_BITS + UP_BITS) / (10 * BAND)
    for v, expected in ((4.99 * link_s, 1), (5.01 * link_s, 5)):
        plan = Partial(v=v).plan(alike(5))
        assert np.sum(plan.scheduled) == expected
    # Ten times the data of the others is worth a client's time, a tenth is not.
    samples = np.array([1.0, 10.0, 1.0, 10.0, 10.0])
    plan = Partial(v=32 / 10 * 1.5 * link_s).plan(alike(5, num_samples=samples))
    assert plan.scheduled.tolist() == [False, True, False, True, True]


def test_everyone_is_tried_too():
    # One client is fast, nine are slow, and the link is free. A slow one costs 5.0 s
    # for a tenth of the data, so growth stops at the fast one; but all nine cost it
    # once, for nine tenths.
    speed = np.full(10, 1e12)
    speed[0] = 1e18
    situation = alike(10, speed_flops_per_s=speed, total_bandwidth_hz=1e13)
    slow_s = FLOPS / 1e12
    for worth_s, expected in ((1.1 * slow_s, 1), (1.12 * slow_s, 10), (9 * slow_s, 10)):
        assert np.sum(Partial(v=worth_s).plan(situation).scheduled) == expected


@pytest.mark.parametrize(("noise", "v"), [("fixed", 40.0), ("psd", 20.0)])
def test_those_scheduled_end_together_and_use_the_band(noise, v):
    situation = situation_of(1, 6, noise=noise, queue_s=1.0)
    plan = Partial(v=v).plan(situation)
    chosen = plan.scheduled
    assert 1 < np.sum(chosen) < 6
    assert np.ptp(plan.total_s[chosen]) < 1e-9 * plan.latency_s
    assert np.all(plan.bandwidth_hz[chosen] > 0)
    for name in ("bandwidth_hz", "total_s", "down_bits", "up_bits", "flops"):
        assert not np.any(getattr(plan, name)[~chosen])
    assert np.sum(plan.bandwidth_hz) == pytest.approx(BAND, rel=1e-12)
    assert np.all(plan.flops[chosen] == FLOPS)
    assert np.all(plan.down_bits[chosen] == DOWN_BITS)
    assert np.all(plan.up_bits[chosen] == UP_BITS)


def test_the_queue_by_hand_over_three_rounds():
    method, situation = Partial(tau_bar_s=7.0), replace(alike(1), carried={})
    queues = []
    for speed in (1e12, 0.5e12, 1e15):
        plan = method.plan(with_cell(situation, speed_flops_per_s=np.array([speed])))
        situation = replace(situation, carried=plan.carry)
        queues.append(plan.carry["queue_s"])
    over = ONE_CLIENT_S - 7.0
    assert queues[0] == pytest.approx(over, rel=1e-9)
    assert queues[1] == pytest.approx(2 * over + FLOPS / 1e12, rel=1e-9)
    fast = ONE_CLIENT_S - FLOPS / 1e12 + FLOPS / 1e15
    assert queues[2] == pytest.approx(queues[1] + fast - 7.0, rel=1e-9)
    assert Partial(tau_bar_s=99.0).plan(situation).carry == {"queue_s": 0.0}


def test_without_a_queue_everyone_is_scheduled():
    for carried in ({}, {"queue_s": 0.0}):
        plan = Partial(v=1e-9).plan(situation_of(0, 8, **carried))
        assert np.all(plan.scheduled)
        ubfp = Ubfp().plan(situation_of(0, 8))
        assert np.array_equal(plan.prune_rate, ubfp.prune_rate)
        assert plan.latency_s < ubfp.latency_s
        assert plan.carry["everyone_s"] == [pytest.approx(plan.latency_s)]


def test_a_large_v_schedules_everyone_and_a_large_queue_fewer():
    assert np.all(Partial(v=1e9).plan(situation_of(2, 8, queue_s=1.0)).scheduled)
    shares = []
    for queue in (1e-3, 1.0, 3.0, 10.0, 1e3):
        situation = situation_of(2, 8, queue_s=queue)
        chosen = Partial(v=100.0).plan(situation).scheduled
        samples = situation.cell.num_samples
        shares.append(np.sum(samples[chosen]) / np.sum(samples))
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 1.0
    assert len(set(shares)) > 2
    assert np.sum(chosen) == 1


def test_only_shares_of_the_data_matter():
    situation = situation_of(1, 6, queue_s=1.0)
    more = with_cell(situation, num_samples=1e3 * situation.cell.num_samples)
    here, there = (Partial(v=40.0).plan(one) for one in (situation, more))
    assert np.array_equal(here.bandwidth_hz, there.bandwidth_hz)


@pytest.mark.parametrize("noise", ["fixed", "psd"])
def test_permuting_clients_permutes_the_plan(noise):
    situation = situation_of(1, 7, noise=noise, queue_s=1.0)
    order = np.random.default_rng(0).permutation(7)
    here = Partial(v=40.0).plan(situation)
    there = Partial(v=40.0).plan(replace(situation, cell=situation.cell.take(order)))
    assert 1 < np.sum(here.scheduled) < 7
    assert np.array_equal(here.scheduled[order], there.scheduled)
    np.testing.assert_allclose(here.bandwidth_hz[order], there.bandwidth_hz, rtol=1e-9)


def test_the_carry_is_plain_json():
    situation = situation_of(0, 5)
    for _ in range(3):
        plan = Partial().plan(situation)
        back = json.loads(json.dumps(plan.carry))
        assert back == plan.carry
        here = Partial().plan(replace(situation, carried=plan.carry))
        there = Partial().plan(replace(situation, carried=back))
        assert here.record() == there.record()
        situation = replace(situation, carried=back)
    assert len(back["everyone_s"]) == 3


def test_lora_adapters_are_priced_and_planned():
    plan = Partial(adapter="lora").plan(situation_of(0, 4))
    assert np.all(plan.up_bits == 16 * 2 * 8 * (1024 + 3072))
    assert all(one.trained == "lora" for one in plan.submodels)


def test_real_sizes_and_tight_memory_as_ubfp():
    sizes = np.arange(1, 11) * LETTER_COSTS.emulator_params // 10
    situation = situation_of(0, 6, queue_s=1.0)
    situation = replace(
        situation,
        costs=replace(LETTER_COSTS, emulator_sizes=sizes),
        limits=Limits(beta_bar=0.45),
    )
    work = situation.problem().workload
    memory = situation.cell.memory_bytes.copy()
    memory[2] = work.fixed_memory_bytes + 0.35 * work.emulator_memory_bytes
    situation = with_cell(situation, memory_bytes=memory)
    plan, ubfp = Partial(v=1e9).plan(situation), Ubfp().plan(situation)
    assert np.array_equal(plan.prune_rate, ubfp.prune_rate)
    assert plan.prune_rate[2] == pytest.approx(0.7, abs=1e-6)


def test_an_infeasible_cell_is_named():
    situation = with_cell(situation_of(0, 2), memory_bytes=np.array([8e9, 1e8]))
    with pytest.raises(InfeasibleError, match="C3: client 1"):
        Partial().plan(situation)


def test_the_scheme_is_ubfps():
    limits = Limits(beta_bar=0.4)
    assert Partial().scheme(LETTER_COSTS, limits) == Ubfp().scheme(LETTER_COSTS, limits)
    assert Partial().scheme(LETTER_COSTS, limits).submodel.kept_fraction == 0.6


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", ["v", "tau_bar_s"])
def test_options_out_of_range(name, value):
    with pytest.raises(InputError, match=f"option `{name}` of `partial` must be"):
        Partial(**{name: value})

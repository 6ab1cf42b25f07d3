import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import LETTER_COSTS, with_cell

from trimwave.base.errors import InfeasibleError, InputError
from trimwave.cell.cell import Cell
from trimwave.decision.plan import Situation
from trimwave.methods.lyapunov import next_carry
from trimwave.methods.split_lora import SplitLora

BAND = 100e6
# By hand, GPT-2 Medium, N = 1, s = 256, M = 30, LoRA r = 8.
HEAD_LORA = 8 * (1024 + 50_257)
FEATURES = 256 * 1024
DOWN_BITS = 16 * (30 * FEATURES + HEAD_LORA)
UP_BITS = 16 * (60 * FEATURES + HEAD_LORA)
HEAD_FORWARD = 2 * 1024 * 50_257 * 256
BLOCK_FORWARD = 24 * 1024**2 * 256 + 4 * 1024 * 256**2
DEVICE_FLOPS = 30 * (2 * HEAD_FORWARD + 6 * HEAD_LORA * 256)
SERVER_FLOPS = 30 * (2 * 24 * BLOCK_FORWARD + 6 * 24 * 8 * (1024 + 3072) * 256)


def situation_of(seed, num_clients, *, server=50e12, noise="fixed", **carried):
    """Draw a cell whose links and devices differ by orders of magnitude."""
    rng = np.random.default_rng(seed)
    cell = Cell(
        speed_flops_per_s=1e12 * rng.uniform(0.2, 2.0, num_clients),
        memory_bytes=rng.uniform(4e9, 8e9, num_clients),
        snr_down=10 ** rng.uniform(-1, 5, num_clients),
        snr_up=10 ** rng.uniform(-1, 5, num_clients),
        num_samples=rng.uniform(1, 5, num_clients),
        total_bandwidth_hz=BAND,
        noise=noise,
        server_speed_flops_per_s=server,
    )
    return Situation(cell=cell, costs=LETTER_COSTS, carried=carried)


def one_client():
    """Return a client at 1 TFLOP/s with 10 bit/s/Hz both ways."""
    known = {"speed_flops_per_s": 1e12, "snr_down": 1023.0, "snr_up": 1023.0}
    return with_cell(
        situation_of(0, 1), **{name: np.array([value]) for name, value in known.items()}
    )


ONE_CLIENT_S = (
    DEVICE_FLOPS / 1e12 + SERVER_FLOPS / 50e12 + (DOWN_BITS + UP_BITS) / (10 * BAND)
)
"""2.184 s: device 1.600, server 0.194, link 0.391."""


def subsets_of(num_clients):
    """All non-empty subsets, [2^K - 1, K] of bool."""
    numbers = np.arange(1, 2**num_clients)[:, None]
    return (numbers >> np.arange(num_clients)) % 2 == 1


def brute_times(situation, subsets):
    """When every subset ends with its best split of the band, by plain bisection."""
    cell = situation.cell
    served = np.sum(subsets, axis=1, keepdims=True)
    compute_s = DEVICE_FLOPS / cell.speed_flops_per_s
    compute_s = compute_s + SERVER_FLOPS * served / cell.server_speed_flops_per_s

    def transfer_s(hz):
        scale = BAND / hz if cell.noise == "psd" else np.ones_like(hz)
        down_bps = hz * np.log2(1 + cell.snr_down * scale)
        up_bps = hz * np.log2(1 + cell.snr_up * scale)
        return DOWN_BITS / down_bps + UP_BITS / up_bps

    def needs_hz(slack_s):
        if cell.noise == "fixed":  # the rate is linear in the share
            return transfer_s(np.ones(1)) / slack_s
        low, high = np.full(slack_s.shape, 1e-3), np.full(slack_s.shape, 4 * BAND)
        for _ in range(60):
            middle = np.sqrt(low * high)
            enough = transfer_s(middle) <= slack_s
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        return high

    low = np.max(np.where(subsets, compute_s, 0), axis=1)
    high = low + 1e4
    for _ in range(70):
        middle = (low + high) / 2
        slack_s = np.where(subsets, middle[:, None] - compute_s, 1.0)
        fits = np.sum(np.where(subsets, needs_hz(slack_s), 0), axis=1) <= BAND
        low, high = np.where(fits, low, middle), np.where(fits, middle, high)
    return high


def compare_with_brute_force(situation, v):
    """Return who is best by brute force and by the planner, and the two objectives."""
    queue = situation.carried["queue_s"]
    subsets = subsets_of(situation.cell.num_clients)
    objective = v / np.sum(subsets, axis=1) + queue * brute_times(situation, subsets)
    plan = SplitLora(v=v).plan(situation)
    ours = v / np.sum(plan.scheduled) + queue * plan.latency_s
    best = subsets[np.argmin(objective)]
    return best, plan.scheduled, float(np.min(objective)), ours


@pytest.mark.slow
def test_scheduling_equals_brute_force_over_all_subsets():
    rng = np.random.default_rng(0)
    counts, differences = set(), 0
    for seed in range(200):
        num_clients = 1 + seed % 7
        queue, ratio = 10 ** rng.uniform(-2, 1), 10 ** rng.uniform(-1, 4)
        server = 10 ** rng.uniform(12, 14)
        situation = situation_of(seed, num_clients, server=server, queue_s=queue)
        best, chosen, least, ours = compare_with_brute_force(situation, ratio * queue)
        differences += not np.array_equal(best, chosen) or abs(ours / least - 1) > 1e-9
        if num_clients == 7:
            counts.add(int(np.sum(chosen)))
    assert differences == 0
    assert counts == {1, 2, 3, 4, 5, 6, 7}  # the cases are not all alike


def test_the_brute_force_itself():
    # Two equal clients share band and server evenly; a subset of one has it all.
    pair = replace(one_client(), cell=one_client().cell.take(np.array([0, 0])))
    alone, _, together = brute_times(pair, subsets_of(2))
    assert alone == pytest.approx(ONE_CLIENT_S, rel=1e-12)
    shared_s = SERVER_FLOPS / 50e12 + (DOWN_BITS + UP_BITS) / (10 * BAND)
    assert together == pytest.approx(ONE_CLIENT_S + shared_s, rel=1e-12)


def test_scheduling_equals_brute_force_with_a_noise_density():
    counts = []
    for seed, ratio in enumerate([1.0, 10.0, 20.0, 30.0, 60.0, 1e4]):
        situation = situation_of(seed, 5, noise="psd", queue_s=1.0)
        best, chosen, least, ours = compare_with_brute_force(situation, ratio)
        assert np.array_equal(best, chosen)
        assert ours == pytest.approx(least, rel=1e-9)
        counts.append(int(np.sum(chosen)))
    assert counts == [1, 3, 4, 5, 4, 5]


def test_the_servers_share_depends_on_who_else_is_served():
    # Alone, the server takes 1 s; the links and devices are all alike and fast.
    equal = {name: np.full(4, 1e9) for name in ("snr_down", "snr_up")}
    situation = with_cell(
        situation_of(0, 4, server=SERVER_FLOPS, queue_s=1.0),
        speed_flops_per_s=np.full(4, 1e18),
        total_bandwidth_hz=1e12,
        **equal,
    )
    for v, expected in ((1.9, 1), (2.1, 2), (5.9, 2), (6.1, 3), (11.9, 3), (12.1, 4)):
        # n is better than n - 1 once V (1 / (n - 1) - 1 / n) > Q 1 s.
        plan = SplitLora(v=v).plan(situation)
        assert np.sum(plan.scheduled) == expected
        assert plan.latency_s == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("noise", ["fixed", "psd"])
def test_those_scheduled_end_together_and_use_the_band(noise):
    plan = SplitLora(v=10.0).plan(situation_of(1, 6, noise=noise, queue_s=1.0))
    chosen = plan.scheduled
    assert 1 < np.sum(chosen) < 6
    assert np.ptp(plan.total_s[chosen]) < 1e-9 * plan.latency_s
    assert np.all(plan.bandwidth_hz[chosen] > 0)
    for name in ("bandwidth_hz", "total_s", "down_bits", "up_bits", "flops"):
        assert not np.any(getattr(plan, name)[~chosen])
    assert np.sum(plan.bandwidth_hz) == pytest.approx(BAND, rel=1e-12)


def test_bytes_and_flops_of_gpt2_medium():
    plan = SplitLora().plan(situation_of(0, 3))
    assert HEAD_LORA == 410_248
    assert np.all(plan.up_bits == 8 * (30 * 2**20 + 2 * 410_248))
    assert np.all(plan.down_bits == 8 * (15 * 2**20 + 2 * 410_248))
    # Two heads' forwards are 52.7 GFLOP, the factors on it 0.6.
    assert np.all(plan.flops == 30 * 53_328_424_960)
    assert DEVICE_FLOPS == 30 * 53_328_424_960
    # 24 blocks forward and back to the input 322.1 GFLOP, the factors in them 1.2.
    (submodel, *_) = plan.submodels
    assert (
        LETTER_COSTS.bill(submodel).server_step_flops == 322_122_547_200 + 1_207_959_552
    )


def test_one_client_has_the_band_and_the_server_to_itself():
    assert pytest.approx(2.1845, abs=1e-4) == ONE_CLIENT_S
    for queue in (0.0, 1e-3, 1e6):
        situation = replace(one_client(), carried={"queue_s": queue})
        plan = SplitLora(v=1e-6).plan(situation)
        assert plan.scheduled.tolist() == [True]
        assert plan.bandwidth_hz[0] == pytest.approx(BAND, rel=1e-12)
        assert plan.latency_s == pytest.approx(ONE_CLIENT_S, rel=1e-12)


def test_the_queue_by_hand():
    method, situation = SplitLora(tau_bar_s=2.0), one_client()
    # Over the target by 0.184 s; then the device is twice as slow, 1.600 s more; then
    # so fast that two rounds, each 1.414 s under the target, empty the queue.
    queues = []
    for speed in (1e12, 0.5e12, 1e15, 1e15):
        plan = method.plan(with_cell(situation, speed_flops_per_s=np.array([speed])))
        situation = replace(situation, carried=plan.carry)
        queues.append(plan.carry["queue_s"])
    over = ONE_CLIENT_S - 2.0
    fast = ONE_CLIENT_S - DEVICE_FLOPS / 1e12 + DEVICE_FLOPS / 1e15
    slow_queue = 2 * over + DEVICE_FLOPS / 1e12
    expected = [over, slow_queue, slow_queue + fast - 2.0, 0.0]
    assert queues == pytest.approx(expected, rel=1e-9)
    assert plan.carry == {"queue_s": 0.0}  # a given target needs no memory


def test_the_target_is_the_median_so_far():
    carried = {"queue_s": 10.0, "everyone_s": [1.0, 7.0]}
    situation = replace(one_client(), carried=carried)
    carry = next_carry(situation, 2.0, 4.0, None)
    assert carry["everyone_s"] == [1.0, 7.0, 4.0]
    assert carry["queue_s"] == pytest.approx(10.0 + 2.0 - 1.2 * 4.0)
    assert carried["everyone_s"] == [1.0, 7.0]


def test_the_target_takes_the_time_of_everyone_not_of_those_chosen():
    situation = situation_of(0, 6, queue_s=1e6)
    everyone = SplitLora(scheduling="everyone").plan(situation)
    chosen = SplitLora().plan(situation)
    assert (np.sum(everyone.scheduled), np.sum(chosen.scheduled)) == (6, 1)
    assert chosen.carry["everyone_s"] == everyone.carry["everyone_s"]
    assert chosen.carry["everyone_s"] == [pytest.approx(everyone.latency_s)]


def test_without_a_queue_everyone_is_scheduled():
    for carried in ({}, {"queue_s": 0.0}):
        assert np.all(SplitLora(v=1e-9).plan(situation_of(0, 8, **carried)).scheduled)


def test_a_large_v_schedules_everyone_and_a_large_queue_fewer():
    assert np.all(SplitLora(v=1e9).plan(situation_of(0, 8, queue_s=1.0)).scheduled)
    counts = [
        int(np.sum(SplitLora(v=100.0).plan(situation_of(0, 8, queue_s=q)).scheduled))
        for q in (1e-3, 0.1, 1.0, 3.0, 10.0, 1e3)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == 8
    assert counts[-1] == 1
    assert len(set(counts)) > 2


def test_only_the_ratio_of_v_and_queue_matters():
    here = SplitLora(v=60.0).plan(situation_of(1, 6, queue_s=1.0))
    there = SplitLora(v=240.0).plan(situation_of(1, 6, queue_s=4.0))
    assert np.array_equal(here.bandwidth_hz, there.bandwidth_hz)


@pytest.mark.parametrize("noise", ["fixed", "psd"])
def test_permuting_clients_permutes_the_plan(noise):
    situation = situation_of(1, 7, noise=noise, queue_s=1.0)
    order = np.random.default_rng(0).permutation(7)
    here = SplitLora(v=10.0).plan(situation)
    there = SplitLora(v=10.0).plan(replace(situation, cell=situation.cell.take(order)))
    assert 1 < np.sum(here.scheduled) < 7
    assert np.array_equal(here.scheduled[order], there.scheduled)
    np.testing.assert_allclose(here.bandwidth_hz[order], there.bandwidth_hz, rtol=1e-9)


def test_the_long_run_keeps_the_target():
    free, held = SplitLora(scheduling="everyone"), SplitLora(tau_bar_s=12.0, v=1000.0)
    free_s, held_s, carried = [], [], {}
    for seed in range(60):
        situation = situation_of(seed, 6)
        free_s.append(free.plan(situation).latency_s)
        plan = held.plan(replace(situation, carried=carried))
        carried = plan.carry
        held_s.append(plan.latency_s)
        assert carried["queue_s"] >= 0
    assert np.mean(free_s) > 20.0
    assert np.mean(held_s) <= 12.0 + carried["queue_s"] / 60
    assert 11.0 < np.mean(held_s) < 12.5  # and wastes little of it


def test_the_carry_is_plain_json():
    situation = situation_of(0, 5)
    for _ in range(3):
        plan = SplitLora().plan(situation)
        back = json.loads(json.dumps(plan.carry))
        assert back == plan.carry
        here = SplitLora().plan(replace(situation, carried=plan.carry))
        there = SplitLora().plan(replace(situation, carried=back))
        assert here.record() == there.record()
        situation = replace(situation, carried=back)
    assert len(back["everyone_s"]) == 3


def test_a_server_of_unknown_speed_is_named():
    for queue in (0.0, 1.0):
        with pytest.raises(InputError, match=r"`cell\.server_speed_flops_per_s`"):
            SplitLora().plan(situation_of(0, 3, server=None, queue_s=queue))


def test_a_client_without_the_memory_is_left_out():
    need = LETTER_COSTS.bill(
        SplitLora().plan(situation_of(0, 1)).submodels[0]
    ).memory_bytes
    memory = np.array([8e9, 0.99 * need, need, 0.5 * need])
    situation = with_cell(situation_of(0, 4), memory_bytes=memory)
    for method in (SplitLora(), SplitLora(scheduling="everyone")):
        assert method.plan(situation).scheduled.tolist() == [True, False, True, False]
    # Whoever does not fit takes nothing of the server either.
    fitting = replace(situation, cell=situation.cell.take(np.array([0, 2])))
    for queue in (0.0, 1.0):
        carried = {"queue_s": queue}
        here = SplitLora(v=60.0).plan(replace(situation, carried=carried))
        there = SplitLora(v=60.0).plan(replace(fitting, carried=carried))
        np.testing.assert_allclose(here.total_s[[0, 2]], there.total_s, rtol=1e-12)


def test_no_client_with_the_memory_is_infeasible():
    situation = with_cell(situation_of(0, 2), memory_bytes=np.array([1e8, 2e8]))
    message = r"C3: no client holds .* client 1 has the most, 0\.200 GB"
    with pytest.raises(InfeasibleError, match=message):
        SplitLora().plan(situation)


def test_the_scheme_is_the_whole_model():
    scheme = SplitLora().scheme(LETTER_COSTS, situation_of(0, 1).limits)
    submodel = scheme.submodel
    assert (submodel.runs, submodel.trained) == ("split", "lora")
    assert submodel.trains_head
    assert submodel.trained_blocks == submodel.shared_blocks == tuple(range(24))
    assert submodel.kept_fraction == 1.0
    assert submodel == SplitLora().plan(situation_of(0, 1)).submodels[0]
    assert scheme.align is None


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
@pytest.mark.parametrize("name", ["v", "tau_bar_s"])
def test_options_out_of_range(name, value):
    with pytest.raises(InputError, match=f"option `{name}` of `split_lora` must be"):
        SplitLora(**{name: value})

from dataclasses import replace

import numpy as np
import pytest
from deft_by_hand import (
    BAND_HZ,
    BLOCK_ACTIVATION_BYTES,
    BLOCK_FLOPS,
    BLOCK_PARAMS,
    EMBEDDING_PARAMS,
    HEAD_FLOPS,
    LOGIT_BYTES,
    best_split_s,
    even_by_brute_force,
    injections,
    joint_by_brute_force,
    owners_of,
    psd_by_brute_force,
    random_case,
    situation_of,
    sizes_by_hand,
    take,
)
from helpers import LETTER_COSTS

from trimwave.base.errors import InfeasibleError
from trimwave.decision.plan import Situation
from trimwave.methods.deft import Deft
from trimwave.methods.matching import (
    joint_matching,
    threshold_matching,
    unmatched_group,
)


def test_threshold_matching_is_optimal_by_brute_force():
    impossible = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        num_clients = int(rng.integers(1, 7))
        num_groups = int(rng.integers(1, num_clients + 1))
        steps = rng.exponential(size=(num_clients, num_groups))
        if seed % 2:  # ties
            steps = np.ceil(2 * steps)
        times = np.cumsum(steps, axis=1) * rng.uniform(0.5, 2, (num_clients, 1))
        holds = rng.integers(0 if seed % 3 else num_groups, num_groups + 1, num_clients)
        times[np.arange(num_groups) >= holds[:, None]] = np.inf
        every = injections(num_clients, num_groups)
        best = np.min(np.max(times[every, np.arange(num_groups)], axis=1))
        possible = unmatched_group(holds, num_groups) is None
        assert possible == np.isfinite(best)
        if possible:
            owners = threshold_matching(times)
            assert len(set(owners.tolist())) == num_groups
            assert np.max(times[owners, np.arange(num_groups)]) == best
        impossible += not possible
    assert 20 < impossible < 180


def test_threshold_matching_by_hand():
    # Only device 2 reaches the last group; 0 and 1 tie on the second.
    times = np.array([[1.0, 5.0, 9.0], [2.0, 4.0, 9.0], [3.0, 3.5, 6.0]])
    assert threshold_matching(times).tolist() == [0, 1, 2]
    # Without device 0's memory for two groups the order is forced.
    times[0, 1:] = np.inf
    assert threshold_matching(times[[2, 0, 1]]).tolist() == [1, 2, 0]


def test_hall_count_names_the_deepest_group_that_fails():
    assert unmatched_group(np.array([3, 2, 1]), 3) is None
    assert unmatched_group(np.array([2, 2, 2]), 3) == 2
    assert unmatched_group(np.array([1, 1, 1]), 3) == 2  # group 1 fails too
    assert unmatched_group(np.array([3, 1, 1]), 3) == 1
    assert unmatched_group(np.array([3, 3, 0]), 3) == 0


def test_uniform_is_optimal_by_brute_force():
    infeasible = 0
    for seed in range(200):
        situation, num_groups = random_case(seed)
        best = even_by_brute_force(situation, num_groups)
        method = Deft(groups=num_groups, bandwidth="uniform")
        if np.isinf(best):
            infeasible += 1
            with pytest.raises(InfeasibleError, match="C3"):
                method.plan(situation)
        else:
            assert method.plan(situation).latency_s == pytest.approx(best, rel=1e-12)
    assert 20 < infeasible < 100


def test_joint_is_optimal_by_brute_force():
    other_matching = 0
    for seed in range(200):
        situation, num_groups = random_case(seed)
        best = joint_by_brute_force(situation, num_groups)
        method = Deft(groups=num_groups)
        if np.isinf(best):
            with pytest.raises(InfeasibleError, match="C3"):
                method.plan(situation)
            continue
        plan = method.plan(situation)
        assert plan.latency_s == pytest.approx(best, rel=1e-9)
        even = replace(method, bandwidth="uniform").plan(situation)
        other_matching += owners_of(plan) != owners_of(even)
    assert other_matching > 20


def test_joint_matching_is_optimal_for_costs_without_order():
    """What devices pay need not grow with depth here, so that more steps are needed."""
    steps = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        num_clients = int(rng.integers(2, 7))
        num_groups = int(rng.integers(1, num_clients + 1))
        shape, groups = (num_clients, num_groups), np.arange(num_groups)
        compute_s = rng.exponential(10.0, shape)
        hz_s = BAND_HZ * rng.exponential(3.0, shape) ** 2
        fits = rng.random(shape) < 0.8
        every = injections(num_clients, num_groups)
        every = every[np.all(fits[every, groups], axis=1)]
        if not every.size:
            continue
        times = best_split_s(compute_s[every, groups], hz_s[every, groups])
        asked = []

        def need_hz(limit_s, compute_s=compute_s, hz_s=hz_s, fits=fits, asked=asked):
            asked.append(limit_s)
            slack = np.where(fits, limit_s - compute_s, -1.0)
            return np.where(slack > 0, hz_s / np.where(slack > 0, slack, 1), np.inf)

        def latency_s(owners, every=every, times=times):
            return float(times[np.all(every == owners, axis=1)][0])

        start = every[np.argmax(times)]
        owners = joint_matching(start, BAND_HZ, need_hz, latency_s)
        assert latency_s(owners) == pytest.approx(np.min(times), rel=1e-12)
        steps.append(len(asked))
    assert len(steps) > 150
    assert 3 <= max(steps) <= 8


def test_joint_is_optimal_under_noise_density():
    for seed in range(8):
        situation, num_groups = random_case(seed, noise="psd", tight=False)
        best = psd_by_brute_force(situation, num_groups)
        latency_s = Deft(groups=num_groups).plan(situation).latency_s
        assert latency_s == pytest.approx(best, rel=1e-9)


@pytest.mark.parametrize("noise", ["fixed", "psd"])
def test_joint_ends_together_and_is_never_slower(noise):
    for seed in range(10 if noise == "fixed" else 3):
        situation = situation_of(seed, noise=noise)
        joint = Deft().plan(situation)
        even = Deft(bandwidth="uniform").plan(situation)
        assert joint.latency_s <= even.latency_s
        assert np.ptp(joint.total_s) < 1e-9 * joint.latency_s
        assert np.sum(joint.bandwidth_hz) == pytest.approx(BAND_HZ, rel=1e-12)
        np.testing.assert_allclose(even.bandwidth_hz, BAND_HZ / 8, rtol=1e-12)


@pytest.mark.parametrize("bandwidth", ["joint", "uniform"])
@pytest.mark.parametrize(("groups", "num_groups"), [(0, 8), (5, 5), (1, 1)])
def test_every_group_has_one_owner(bandwidth, groups, num_groups):
    plan = Deft(groups=groups, bandwidth=bandwidth).plan(situation_of(1))
    used = [one for one in plan.submodels if one]
    assert len(used) == num_groups
    assert sorted(block for one in used for block in one.trained_blocks) == [*range(24)]
    by_depth = sorted((one.trained_blocks for one in used), reverse=True)
    assert [len(blocks) for blocks in by_depth] == sizes_by_hand(num_groups)
    assert all(blocks == (*range(blocks[0], blocks[-1] + 1),) for blocks in by_depth)
    idle = ~plan.scheduled
    assert np.sum(idle) == 8 - num_groups
    for name in ("bandwidth_hz", "total_s", "down_bits", "up_bits", "flops"):
        assert np.all(getattr(plan, name)[idle] == 0)
        assert np.all(getattr(plan, name)[~idle] > 0)
    if bandwidth == "uniform":  # among those who take part
        share_hz = plan.bandwidth_hz[~idle]
        np.testing.assert_allclose(share_hz, BAND_HZ / num_groups, rtol=1e-12)


def test_more_clients_than_blocks_leave_some_idle():
    plan = Deft().plan(situation_of(2, num_clients=27))
    assert np.sum(plan.scheduled) == 24
    assert {len(one.trained_blocks) for one in plan.submodels if one} == {1}


def test_the_fast_device_takes_the_deep_group():
    situation = take(situation_of(0), [0, 0])
    cell = replace(situation.cell, speed_flops_per_s=np.array([2e12, 1e12]))
    for bandwidth in ("joint", "uniform"):
        plan = Deft(bandwidth=bandwidth).plan(replace(situation, cell=cell))
        assert owners_of(plan) == [1, 0]
        # 24 forward, 12 or 24 input gradients, 12 weight gradients, the head twice
        shallow, deep = (
            30 * (blocks * BLOCK_FLOPS + 2 * HEAD_FLOPS) for blocks in (48, 60)
        )
        assert plan.flops.tolist() == [deep, shallow]
        np.testing.assert_allclose(
            plan.compute_s, [deep / 2e12, shallow / 1e12], rtol=1e-12
        )


@pytest.mark.parametrize("method", [Deft(), Deft(bandwidth="uniform"), Deft(groups=5)])
@pytest.mark.parametrize("noise", ["fixed", "psd"])
def test_permuting_clients_permutes_the_plan(method, noise):
    situation = situation_of(4, noise=noise)
    order = np.random.default_rng(0).permutation(8)
    plan, moved = method.plan(situation), method.plan(take(situation, order))
    assert moved.submodels == tuple(plan.submodels[k] for k in order)
    np.testing.assert_allclose(moved.bandwidth_hz, plan.bandwidth_hz[order], rtol=1e-9)
    assert moved.latency_s == pytest.approx(plan.latency_s, rel=1e-12)


@pytest.mark.parametrize("bandwidth", ["joint", "uniform"])
@pytest.mark.parametrize("noise", ["fixed", "psd"])
def test_one_client_trains_everything_with_the_whole_band(bandwidth, noise):
    memory = np.array([8e9])
    situation = situation_of(0, 1, memory, noise=noise)
    plan = Deft(bandwidth=bandwidth).plan(situation)
    assert plan.submodels[0].trained_blocks == tuple(range(24))
    assert plan.bandwidth_hz == pytest.approx([BAND_HZ])
    snr_up = situation.cell.snr_up[0]
    up_s = 16 * 24 * BLOCK_PARAMS / (BAND_HZ * np.log2(1 + snr_up))
    assert plan.up_s[0] == pytest.approx(up_s, rel=1e-12)


@pytest.mark.parametrize("noise", ["fixed", "psd"])
def test_one_group_goes_to_the_fastest_whose_memory_holds_it(noise):
    situation = situation_of(0, memory_bytes=np.full(8, 8e9), noise=noise)
    order = []
    for _ in range(8):
        for bandwidth in ("joint", "uniform"):
            plan = Deft(groups=1, bandwidth=bandwidth).plan(situation)
        (owner,) = owners_of(plan)
        order.append((plan.latency_s, owner))
        memory = situation.cell.memory_bytes.copy()
        memory[owner] = 2e9  # 24 blocks train: 5.9 GB
        cell = replace(situation.cell, memory_bytes=memory)
        situation = replace(situation, cell=cell)
    assert order == sorted(order)
    assert {owner for _, owner in order} == set(range(8))
    with pytest.raises(InfeasibleError, match="0 of 8 clients"):
        Deft(groups=1).plan(situation)


@pytest.mark.parametrize("bandwidth", ["joint", "uniform"])
def test_memory_forbids_the_deep_group(bandwidth):
    cell = take(situation_of(0), [0, 0, 0]).cell
    need = 2 * (24 * BLOCK_PARAMS + EMBEDDING_PARAMS) + 16 * 8 * BLOCK_PARAMS
    need = need + 24 * BLOCK_ACTIVATION_BYTES + LOGIT_BYTES

    def owner_of_the_deepest(memory_bytes):
        changed = replace(
            cell,
            speed_flops_per_s=np.array([4e12, 1e12, 1.1e12]),
            memory_bytes=np.array(memory_bytes),
        )
        plan = Deft(bandwidth=bandwidth).plan(
            Situation(cell=changed, costs=LETTER_COSTS)
        )
        owner = owners_of(plan)[2]
        assert plan.memory_bytes[owner] == need
        return owner

    assert owner_of_the_deepest([need, need, need]) == 0
    assert owner_of_the_deepest([need - 10, need, need]) == 2
    assert owner_of_the_deepest([need - 10, need, need - 10]) == 1

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from helpers import LETTER_COSTS, make_problem

from trimwave.base.errors import InfeasibleError, InputError
from trimwave.methods.deft import Deft
from trimwave.methods.matching import (
    joint_matching,
    threshold_matching,
    unmatched_group,
)
from trimwave.plan.plan import Situation
from trimwave.problem.limits import Limits

BAND_HZ = 100e6
MIB_BITS = 8 * 2**20

# GPT-2 Medium by hand: methods.md 1, 256 tokens.
BLOCK_PARAMS = 12_596_224
EMBEDDING_PARAMS = 52_513_792
BLOCK_FLOPS = 256 * (24 * 1024**2 + 4 * 1024 * 256)
HEAD_FLOPS = 2 * 1024 * 50_257 * 256
BLOCK_ACTIVATION_BYTES = 256 * (34 * 1024 + 5 * 16 * 256)
LOGIT_BYTES = 12 * 256 * 50_257


def situation_of(seed, num_clients=8, memory_bytes=None, **changes):
    """Return a factory of the letter's cell with GPT-2 Medium."""
    cell = make_problem(seed, num_clients, **changes).cell
    if memory_bytes is not None:
        cell = replace(cell, memory_bytes=memory_bytes)
    return Situation(cell=cell, costs=LETTER_COSTS)


def take(situation, order):
    return replace(situation, cell=situation.cell.take(np.array(order)))


def owners_of(plan):
    """Client by its group's lowest block, nearest the output first."""
    lowest = {one.trained_blocks[0]: k for k, one in enumerate(plan.submodels) if one}
    return [lowest[block] for block in sorted(lowest, reverse=True)]


# The same by brute force: no code of the solver's, every injection of groups to devices


def injections(num_clients, num_groups):
    return np.array(list(permutations(range(num_clients), num_groups)))


def sizes_by_hand(num_groups):
    """Blocks in each group, nearest the output first."""
    small, larger = divmod(24, num_groups)
    return [small] * (num_groups - larger) + [small + 1] * larger


def pairs_by_hand(situation, num_groups):
    """[K, L] seconds of computing, bits up, and whether the memory suffices."""
    cell = situation.cell
    sizes = np.array(sizes_by_hand(num_groups))
    reached = np.cumsum(sizes)
    flops = (24 + reached + sizes) * BLOCK_FLOPS + 2 * HEAD_FLOPS
    compute_s = 30 * flops / cell.speed_flops_per_s[:, None]
    need = 2 * (24 * BLOCK_PARAMS + EMBEDDING_PARAMS) + 16 * sizes * BLOCK_PARAMS
    need = need + reached * BLOCK_ACTIVATION_BYTES + LOGIT_BYTES
    return compute_s, 16 * sizes * BLOCK_PARAMS, need <= cell.memory_bytes[:, None]


DOWN_BITS = 16 * 24 * BLOCK_PARAMS


def even_by_brute_force(situation, num_groups):
    """Least latency over all injections, everyone with B / L; inf if none fits."""
    cell = situation.cell
    compute_s, up_bits, fits = pairs_by_hand(situation, num_groups)
    down_rate = BAND_HZ / num_groups * np.log2(1 + cell.snr_down)[:, None]
    up_rate = BAND_HZ / num_groups * np.log2(1 + cell.snr_up)[:, None]
    times = compute_s + DOWN_BITS / down_rate + up_bits / up_rate
    times = np.where(fits, times, np.inf)
    every = injections(cell.num_clients, num_groups)
    return np.min(np.max(times[every, np.arange(num_groups)], axis=1))


def joint_by_brute_force(situation, num_groups):
    """Least latency over all injections, each with its own best split of the band."""
    cell = situation.cell
    compute_s, up_bits, fits = pairs_by_hand(situation, num_groups)
    hz_s = DOWN_BITS / np.log2(1 + cell.snr_down)[:, None]
    hz_s = hz_s + up_bits / np.log2(1 + cell.snr_up)[:, None]
    every, groups = injections(cell.num_clients, num_groups), np.arange(num_groups)
    every = every[np.all(fits[every, groups], axis=1)]
    if not every.size:
        return np.inf
    return np.min(best_split_s(compute_s[every, groups], hz_s[every, groups]))


def best_split_s(compute_s, hz_s):
    """[P] Latency of each matching, [P, L], with its best split: plain bisection."""
    low = np.max(compute_s, axis=1)
    high = low + np.sum(hz_s, axis=1) / BAND_HZ
    for _ in range(60):
        middle = (low + high) / 2
        fast = np.sum(hz_s / (middle[:, None] - compute_s), axis=1) <= BAND_HZ
        low, high = np.where(fast, low, middle), np.where(fast, middle, high)
    return high


def psd_by_brute_force(situation, num_groups):
    """Bisect the deadline: some injection's needs of band must fit, all are tried."""
    cell = situation.cell
    compute_s, up_bits, fits = pairs_by_hand(situation, num_groups)
    every = injections(cell.num_clients, num_groups)

    def seconds(share):
        down = share * BAND_HZ * np.log2(1 + cell.snr_down[:, None] / share)
        up = share * BAND_HZ * np.log2(1 + cell.snr_up[:, None] / share)
        return compute_s + DOWN_BITS / down + up_bits / up

    def feasible(deadline_s):
        low, high = np.full(fits.shape, 1e-9), np.ones(fits.shape)
        for _ in range(50):
            middle = np.sqrt(low * high)
            fast = seconds(middle) <= deadline_s
            low, high = np.where(fast, low, middle), np.where(fast, middle, high)
        share = np.where(fits & (seconds(high) <= deadline_s), high, np.inf)
        return np.min(np.sum(share[every, np.arange(num_groups)], axis=1)) <= 1

    low, high = 0.0, 2.0 * np.max(seconds(np.full(fits.shape, 1 / num_groups)))
    assert feasible(high)
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if feasible(middle) else (middle, high)
    return high


def random_case(seed, noise="fixed", tight=True):
    """Two to six clients in a random cell, one in two with hardly enough memory."""
    rng = np.random.default_rng([seed, 7])
    num_clients = int(rng.integers(2, 7))
    num_groups = int(rng.integers(1, num_clients + 1))
    memory = np.full(num_clients, 8e9)
    if tight and rng.random() < 0.5:
        memory = rng.uniform(2.2e9, 3.6e9, num_clients)
    situation = situation_of(
        seed,
        num_clients,
        memory,
        path_loss_db=float(rng.uniform(60, 110)),
        speed_factor=(0.2, 2.5),
        noise=noise,
    )
    return situation, num_groups


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


def test_bytes_of_the_letters_setting():
    plan = Deft().plan(situation_of(0))
    assert np.all(plan.down_bits == 16 * 24 * BLOCK_PARAMS)
    assert np.all(plan.up_bits == 16 * 3 * BLOCK_PARAMS)
    total_mib = (plan.down_bits + plan.up_bits) / MIB_BITS
    np.testing.assert_allclose(total_mib, 648.69, atol=0.005)
    assert np.all(plan.install_bits == 16 * EMBEDDING_PARAMS)


def test_bytes_of_the_other_settings():
    situation, lora_params = situation_of(0), 8 * (1024 + 3 * 1024)
    everything = 24 * BLOCK_PARAMS + EMBEDDING_PARAMS
    plan = Deft(download="delta").plan(situation)
    assert np.all(plan.down_bits == 16 * 24 * BLOCK_PARAMS)
    assert np.all(plan.install_bits == 16 * everything)
    plan = Deft(download="delta", adapter="lora").plan(situation)
    assert np.all(plan.down_bits == 16 * 24 * lora_params)
    assert np.all(plan.up_bits == 16 * 3 * lora_params)
    assert np.all(plan.install_bits == 16 * everything)
    plan = Deft(adapter="lora").plan(situation)
    assert np.all(plan.down_bits == 16 * 24 * (BLOCK_PARAMS + lora_params))
    idle = ~Deft(groups=5).plan(situation).scheduled
    # Whoever is idle now may have a group in the next round.
    assert np.all(Deft(groups=5).plan(situation).install_bits[idle] > 0)


def test_flops_of_the_proper_accounting():
    plan = Deft().plan(situation_of(0))
    step_flops = plan.flops[owners_of(plan)] / 30
    # 24 forward, 3 j input gradients, 3 weight gradients, the head twice
    expected = [(24 + 3 * j + 3) * BLOCK_FLOPS + 2 * HEAD_FLOPS for j in range(1, 9)]
    assert step_flops.tolist() == expected
    assert np.mean(step_flops) == 40.5 * BLOCK_FLOPS + 2 * HEAD_FLOPS


def test_flops_of_the_accounting_of_fig_3():
    plan = Deft(accounting="fig3").plan(situation_of(0))
    step_flops = plan.flops[owners_of(plan)] / 30
    expected = [(24 + 6 * j) * BLOCK_FLOPS + 2 * HEAD_FLOPS for j in range(1, 9)]
    assert step_flops.tolist() == expected
    assert np.mean(step_flops) == 394_953_490_432
    compute_s = plan.flops / situation_of(0).cell.speed_flops_per_s
    np.testing.assert_allclose(plan.compute_s, compute_s, rtol=1e-12)


def test_fig_3_fits_at_the_letters_tokens_without_the_attention_term():
    situation = replace(situation_of(0), costs=replace(LETTER_COSTS, seq_len=237))
    plan = Deft(accounting="fig3").plan(situation)
    attention = (24 + 2 * 13.5) * 4 * 1024 * 237**2
    giga = np.mean(plan.flops) / 30 - attention
    assert giga == pytest.approx(351.3e9, rel=0.005)


def test_fig_3_counts_the_head_twice_whatever_the_costs_say():
    situation = situation_of(0)
    once = replace(situation, costs=replace(LETTER_COSTS, head_passes=1))
    method = Deft(accounting="fig3")
    assert np.array_equal(method.plan(situation).flops, method.plan(once).flops)
    less = Deft().plan(situation).flops - Deft().plan(once).flops
    assert np.all(less == 30 * HEAD_FLOPS)


def test_one_local_step_is_one_gradient():
    many, one = Deft().plan(situation_of(0)), Deft(local_steps=1).plan(situation_of(0))
    assert {part.num_local_steps for part in one.submodels} == {1}
    assert {part.num_local_steps for part in many.submodels} == {None}
    assert np.sum(many.flops) == 30 * np.sum(one.flops)
    assert np.array_equal(many.up_bits, one.up_bits)
    assert one.latency_s < many.latency_s


def test_the_scheme_is_the_whole_model():
    scheme = Deft(adapter="lora", download="delta", local_steps=2).scheme(
        LETTER_COSTS, Limits()
    )
    part = scheme.submodel
    assert part.trained_blocks == part.shared_blocks == tuple(range(24))
    assert (part.kept_fraction, part.trained) == (1.0, "lora")
    assert not part.sends_frozen
    assert Deft().scheme(LETTER_COSTS, Limits()).submodel.sends_frozen
    assert Deft().label == "DEFT"


def test_fewer_devices_than_groups_is_refused():
    message = r"fewer devices than block groups: .* is 8, .* has 6; set it to 6 or less"
    with pytest.raises(InputError, match=message):
        Deft(groups=8).plan(situation_of(0, num_clients=6))


def test_more_groups_than_blocks_is_refused():
    message = "`groups` of `deft` must be at most the 24 blocks of gpt2-medium, got 25"
    with pytest.raises(InputError, match=message):
        Deft(groups=25).plan(situation_of(0, num_clients=30))
    with pytest.raises(InputError, match=message):
        Deft(groups=25).scheme(LETTER_COSTS, Limits())


@pytest.mark.parametrize("option", ["groups", "local_steps"])
def test_negative_options_are_refused(option):
    message = f"option `{option}` of `deft` must be at least 0, got -1"
    with pytest.raises(InputError, match=message):
        Deft(**{option: -1})


def test_too_little_memory_names_the_deepest_group_and_a_remedy():
    plan = Deft().plan(situation_of(0, memory_bytes=np.full(8, 8e9)))
    need = plan.memory_bytes[owners_of(plan)].astype(float)
    memory = np.full(8, need[7] - 1000)
    message = (
        r"^infeasible: C3: block group 8 of 8 \(training blocks 0 to 2\) takes "
        r"1\.808 GB, which 0 of 8 clients have; groups this deep need 1; lower the "
        r"batch size or `train\.seq_len`, set option `adapter` of `deft` to lora, or "
        r"add clients with more memory\.$"
    )
    for bandwidth in ("joint", "uniform"):
        with pytest.raises(InfeasibleError, match=message):
            Deft(bandwidth=bandwidth).plan(situation_of(0, memory_bytes=memory))


def test_too_little_memory_for_two_deep_groups_counts_the_devices():
    plan = Deft().plan(situation_of(0, memory_bytes=np.full(8, 8e9)))
    need = plan.memory_bytes[owners_of(plan)].astype(float)
    memory = np.full(8, need[5] + 1000)
    memory[3] = 8e9
    message = r"group 7 of 8 \(training blocks 3 to 5\) .* 1 of 8 .* this deep need 2;"
    with pytest.raises(InfeasibleError, match=message):
        Deft().plan(situation_of(0, memory_bytes=memory))


def test_the_remedy_fits_the_options():
    memory = np.full(8, 2e9)
    with pytest.raises(InfeasibleError, match="to lora, raise option `groups`"):
        Deft(groups=2).plan(situation_of(0, memory_bytes=memory))
    assert Deft(groups=2, adapter="lora").plan(situation_of(0, memory_bytes=memory))
    with pytest.raises(InfeasibleError, match="`train.seq_len`, or add clients"):
        Deft(adapter="lora").plan(situation_of(0, memory_bytes=memory / 2))

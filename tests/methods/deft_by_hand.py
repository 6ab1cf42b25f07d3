"""DEFT by hand and by brute force, with no code of the solver's."""

from dataclasses import replace
from itertools import permutations

import numpy as np
from helpers import LETTER_COSTS, make_problem

from trimwave.decision.plan import Situation

BAND_HZ = 100e6
MIB_BITS = 8 * 2**20
# GPT-2 Medium by hand, 256 tokens.
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

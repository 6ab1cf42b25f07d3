from dataclasses import replace

import numpy as np
import pytest
from variants import (
    DAMAGE_POINTS,
    NOISES_PSD_SLOW,
    TABLE_POINTS,
    VARIANTS,
    brute_force,
    convex_table,
    random_variant,
)

from trimwave.base.curve import PiecewiseLinear
from trimwave.base.errors import InfeasibleError
from trimwave.problem.solution import Status, solve
from trimwave.solvers import Exact
from trimwave.solvers.certificate import price_rises

EVERY = pytest.mark.parametrize("kind", VARIANTS)
BOTH = pytest.mark.parametrize("noise", NOISES_PSD_SLOW)
ARRAYS = ("speed_flops_per_s", "memory_bytes", "snr_down", "snr_up", "num_samples")


def assert_certified(problem):
    found = solve(problem, Exact())
    total_s = problem.latency.total_s(found.kept, found.bandwidth_hz)
    assert found.latency_s == np.max(total_s)
    assert problem.violations(found.kept, found.bandwidth_hz) == []
    assert found.bound_s is None or found.bound_s <= found.latency_s
    if price_rises(problem, np.array([found.latency_s])):
        assert found.status is Status.OPTIMAL
        assert found.gap <= 1e-9
        assert found.kkt_residual <= 1e-8
    else:  # not quasi-convex
        assert problem.cell.noise == "psd"
    return found


@BOTH
@EVERY
def test_each_variant_is_certified(noise, kind):
    proven = 0
    seeds = range(40) if noise == "fixed" else range(100, 108)
    for seed in seeds:
        found = assert_certified(random_variant(seed, noise, kind))
        proven += found.status is Status.OPTIMAL
    assert proven >= 0.8 * len(seeds)


@pytest.mark.slow
@BOTH
@EVERY
def test_each_variant_is_certified_a_thousand_times(noise, kind):
    for seed in range(1000, 2000 if noise == "fixed" else 1100):
        assert_certified(random_variant(seed, noise, kind))


@BOTH
@EVERY
def test_brute_force_over_two_clients(noise, kind):
    for seed in range(3 if noise == "fixed" else 2):
        problem = random_variant(seed, noise, kind, num_clients=2)
        best_s = brute_force(problem)
        exact_s = assert_certified(problem).latency_s
        assert exact_s <= best_s * (1 + 1e-9)
        assert best_s <= exact_s * (1 + 1e-6)  # the grid's own resolution


def with_(problem, limits=None, workload=None, **cell):
    return replace(
        problem,
        cell=replace(problem.cell, **cell),
        limits=replace(problem.limits, **(limits or {})),
        workload=replace(problem.workload, **(workload or {})),
    )


def assert_same(one, other, order=slice(None), band=1.0, rtol=1e-7):
    """Expect the same optimum, clients in another order or band in another unit."""
    here, there = solve(one, Exact()), solve(other, Exact())
    assert there.latency_s == pytest.approx(here.latency_s, rel=1e-11)
    np.testing.assert_allclose(there.kept, here.kept[order], rtol=rtol)
    shares = band * here.bandwidth_hz[order]
    np.testing.assert_allclose(there.bandwidth_hz, shares, rtol=rtol)


@BOTH
@EVERY
def test_numbering_the_clients_otherwise_permutes_the_answer(noise, kind):
    problem = random_variant(1, noise, kind, num_clients=9)
    order = np.random.default_rng(0).permutation(9)
    assert_same(problem, replace(problem, cell=problem.cell.take(order)), order)


@BOTH
@EVERY
def test_units_do_not_matter(noise, kind):
    factor = 1 / 7
    problem = random_variant(2, noise, kind, num_clients=7)
    work, cell = problem.workload, problem.cell

    def times(*names):
        return {name: getattr(work, name) * factor for name in names}

    bounds = {
        name: factor * getattr(cell, name)
        for name in ("bandwidth_min_hz", "bandwidth_max_hz")
        if getattr(cell, name) is not None
    }
    bits = times("adapter_bits", "update_bits", "emulator_params")
    band = factor * cell.total_bandwidth_hz
    wider = with_(problem, workload=bits, total_bandwidth_hz=band, **bounds)
    assert_same(problem, wider, band=factor)
    flops = times("adapter_flops", "emulator_flops")
    speed = factor * cell.speed_flops_per_s
    assert_same(problem, with_(problem, workload=flops, speed_flops_per_s=speed))


@BOTH
def test_a_table_with_a_piece_split_in_two_is_the_same(noise):
    problem = random_variant(3, noise, "table", num_clients=6)
    table = problem.cell.emulator_time
    points = np.sort([*TABLE_POINTS, 0.4, 0.62])
    values = np.stack(
        [np.interp(points, TABLE_POINTS, one) for one in table.values.T], axis=1
    )
    split = PiecewiseLinear(points, values)
    assert_same(problem, with_(problem, emulator_time=split))


@BOTH
def test_a_damage_with_a_piece_split_in_two_is_the_same(noise):
    problem = random_variant(4, noise, "damage", num_clients=6)
    damage = problem.limits.damage
    points = np.sort([*DAMAGE_POINTS, 0.3, 0.55])
    split = PiecewiseLinear(points, np.interp(points, DAMAGE_POINTS, damage.values))
    assert_same(problem, with_(problem, {"damage": split}))


@BOTH
def test_one_table_for_all_is_the_same_as_one_for_each(noise):
    problem = random_variant(5, noise, "base", num_clients=6)
    table = convex_table(np.random.default_rng(0))
    each = PiecewiseLinear(table.points, np.repeat(table.values[:, None], 6, axis=1))
    assert_same(with_(problem, emulator_time=table), with_(problem, emulator_time=each))


@BOTH
def test_a_variant_that_says_nothing_changes_nothing(noise):
    problem = random_variant(0, noise, "base", num_clients=6)
    band, ends = problem.cell.total_bandwidth_hz, np.array([0.0, 1.0])
    bent = np.array([0.0, 0.3, 0.45, 1.0])
    trivial = (
        {"held": np.zeros(6)},
        {"emulator_time": PiecewiseLinear(ends, ends)},
        {"emulator_time": PiecewiseLinear(bent, bent)},
        {"limits": {"weighted": True}, "num_samples": np.full(6, 17.0)},
        {"limits": {"damage": PiecewiseLinear(ends, ends)}},
        {"limits": {"damage": PiecewiseLinear(bent, 3 * bent + 2)}},
        {"bandwidth_max_hz": np.full(6, band)},
        {"bandwidth_max_hz": np.full(6, np.inf)},
        {"bandwidth_min_hz": np.zeros(6)},
    )
    for changes in trivial:
        assert_same(problem, with_(problem, **changes))


@BOTH
@pytest.mark.parametrize("kind", ["held", "table", "weights", "damage", "bounds"])
def test_a_variant_that_says_something_changes_the_answer(noise, kind):
    plain = random_variant(14, noise, "base", num_clients=8)
    varied = random_variant(14, noise, kind, num_clients=8)
    here_s, there_s = (solve(one, Exact()).latency_s for one in (plain, varied))
    if kind in ("held", "table"):
        assert there_s < here_s  # less to send, or less to compute
    if kind == "bounds":
        assert there_s > here_s
    assert abs(there_s / here_s - 1) > 1e-4


@BOTH
def test_all_held_leaves_only_the_adapter_to_send(noise):
    problem = random_variant(7, noise, "base", num_clients=5)
    held = with_(problem, held=np.ones(5))
    nothing = with_(problem, workload={"emulator_params": 0})
    assert_same(nothing, held)


@BOTH
def test_weights_move_the_keeping_to_those_with_most_samples(noise):
    problem = random_variant(8, noise, "base", num_clients=4)
    cell = problem.cell.take(np.zeros(4, dtype=int))  # four times the same client
    cell = replace(cell, num_samples=np.array([1.0, 2.0, 3.0, 4.0]))
    cell = replace(cell, memory_bytes=np.full(4, 1e12))
    limits = replace(
        problem.limits, weighted=True, beta_min=0.0, beta_max=0.9, beta_bar=0.5
    )
    found = assert_certified(replace(problem, cell=cell, limits=limits))
    assert np.all(np.diff(found.kept) >= 0) and np.ptp(found.kept) > 0.1
    weighted = np.average(1 - found.kept, weights=cell.num_samples)
    assert weighted == pytest.approx(0.5, abs=1e-12)


@BOTH
def test_c5_with_damage_is_used_up(noise):
    problem = random_variant(9, noise, "damage", num_clients=6)
    found, limits = assert_certified(problem), problem.limits
    mean = np.mean(limits.damage(1 - found.kept))
    allowed = limits.damage(np.array([limits.beta_bar]))[0]
    assert mean == pytest.approx(allowed, rel=1e-11)
    assert found.price_hz > 0


@BOTH
def test_a_client_at_its_largest_share_keeps_less(noise):
    problem = random_variant(10, noise, "base", num_clients=6)
    problem = with_(problem, {"beta_min": 0.1, "beta_max": 0.9, "beta_bar": 0.5})
    free = solve(problem, Exact())
    widest = int(np.argmax(free.bandwidth_hz))
    most_hz = np.full(6, np.inf)
    most_hz[widest] = 0.7 * free.bandwidth_hz[widest]
    found = assert_certified(with_(problem, bandwidth_max_hz=most_hz))
    assert found.bandwidth_hz[widest] == pytest.approx(most_hz[widest], rel=1e-9)
    assert found.kept[widest] < free.kept[widest]
    assert found.latency_s > free.latency_s
    assert np.sum(found.kept) == pytest.approx(np.sum(free.kept), rel=1e-9)


@BOTH
def test_where_radios_are_too_narrow_some_of_the_band_is_left(noise):
    problem = random_variant(11, noise, "base", num_clients=5)
    band = problem.cell.total_bandwidth_hz
    narrow = np.full(5, band / 50)
    found = assert_certified(with_(problem, bandwidth_max_hz=narrow))
    # The slowest client is alone with its largest share, at the least that C5 allows.
    assert np.sum(found.bandwidth_hz) <= 0.1 * band * (1 + 1e-12)
    total_s = problem.latency.total_s(found.kept, narrow)
    assert found.latency_s == pytest.approx(np.max(total_s), rel=1e-12)


@BOTH
def test_a_client_with_a_generous_least_share_ends_early(noise):
    problem = random_variant(12, noise, "base", num_clients=4)
    free = solve(problem, Exact())
    least_hz = np.zeros(4)
    fast = int(np.argmin(free.bandwidth_hz))
    least_hz[fast] = 0.6 * problem.cell.total_bandwidth_hz
    bound = with_(problem, bandwidth_min_hz=least_hz)
    found = assert_certified(bound)
    assert found.bandwidth_hz[fast] == pytest.approx(least_hz[fast], rel=1e-9)
    total_s = problem.latency.total_s(found.kept, found.bandwidth_hz)
    assert total_s[fast] < found.latency_s * (1 - 1e-3)
    assert found.latency_s > free.latency_s


@BOTH
def test_least_shares_that_use_the_whole_band_leave_only_the_pruning(noise):
    for seed in range(4):
        problem = random_variant(seed, noise, "base", num_clients=5)
        shares = np.random.default_rng(seed).dirichlet(np.ones(5))
        shares *= problem.cell.total_bandwidth_hz
        found = assert_certified(with_(problem, bandwidth_min_hz=shares))
        np.testing.assert_allclose(found.bandwidth_hz, shares, rtol=1e-9)


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"bandwidth_min_hz": [0.6, 0.6, 0.1]}, "C1: the least shares exceed the band"),
        (
            {"bandwidth_min_hz": [0.2, 0.3, 0.1], "bandwidth_max_hz": [0.5, 0.2, 1.0]},
            "C2: client 1's least share 3e[+]07 Hz exceeds its largest, 2e[+]07 Hz",
        ),
        ({"bandwidth_min_hz": [0.0, 1.1, 0.0]}, "C2: client 1's least share"),
    ],
)
def test_least_shares_that_cannot_be_are_refused(bounds, message):
    problem = random_variant(0, "fixed", "base", num_clients=3)
    shares = {name: 1e8 * np.array(value) for name, value in bounds.items()}
    with pytest.raises(InfeasibleError, match=message):
        solve(with_(problem, **shares), Exact())


@BOTH
def test_more_of_anything_helps(noise):
    problem = random_variant(13, noise, "all", num_clients=6)
    cell, here_s = problem.cell, solve(problem, Exact()).latency_s
    easier = (
        {"held": np.minimum(cell.held + 0.3, 1)},
        {"bandwidth_min_hz": 0.5 * cell.bandwidth_min_hz},
        {"bandwidth_max_hz": 2 * cell.bandwidth_max_hz},
        {"speed_flops_per_s": 2 * cell.speed_flops_per_s},
        {"limits": {"beta_bar": problem.limits.beta_bar + 0.05}},
    )
    gains = [solve(with_(problem, **one), Exact()).latency_s / here_s for one in easier]
    assert max(gains) <= 1 + 1e-10
    assert sorted(gains)[2] < 1 - 1e-4  # three of them at least do something

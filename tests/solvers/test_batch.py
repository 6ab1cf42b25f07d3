from dataclasses import replace

import numpy as np
import pytest
from variants import NOISES, NOISES_PSD_SLOW, VARIANTS, random_variant

from trimwave.problem.solution import Solution, Status, solve
from trimwave.solvers import Exact
from trimwave.solvers.kkt import kkt_residual

BOTH = pytest.mark.parametrize("noise", NOISES)
ARRAYS = ("speed_flops_per_s", "memory_bytes", "snr_down", "snr_up", "num_samples")
BOUNDS = ("held", "bandwidth_min_hz", "bandwidth_max_hz")


def many(problem, shape, seed=0, fading=("snr_down", "snr_up")):
    """Let some arrays of the cell fade in many draws, and leave the others as is."""
    rng = np.random.default_rng(seed)
    drawn = {
        name: getattr(problem.cell, name)
        * rng.exponential(size=(*shape, problem.cell.num_clients))
        for name in fading
    }
    return replace(problem, cell=replace(problem.cell, **drawn))


def one_of(problem, draw):
    """Return the P1 of one draw."""
    names = [
        name for name in ARRAYS + BOUNDS if getattr(problem.cell, name) is not None
    ]
    taken = {name: getattr(problem.cell, name)[draw] for name in names}
    return replace(problem, cell=replace(problem.cell, **taken))


def assert_same(one: Solution, other: Solution):
    assert one.status is other.status
    assert one.latency_s == pytest.approx(other.latency_s, rel=1e-12)
    np.testing.assert_allclose(one.kept, other.kept, rtol=1e-8)
    np.testing.assert_allclose(one.bandwidth_hz, other.bandwidth_hz, rtol=1e-8)
    assert one.gap == pytest.approx(other.gap, abs=1e-9)


@pytest.mark.parametrize("noise", NOISES_PSD_SLOW)
@pytest.mark.parametrize(
    ("kind", "shape"),
    [("all", (2, 2)), ("base", (2, 3)), *((k, (3,)) for k in VARIANTS)],
)
def test_many_draws_are_solved_as_one_by_one(noise, kind, shape):
    problem = random_variant(21, noise, kind, num_clients=6)
    drawn = many(problem, shape)
    found = Exact().solve_batch(drawn)
    assert found.kept.shape == found.bandwidth_hz.shape == (*shape, 6)
    for values in (found.status, found.latency_s, found.bound_s, found.price_hz):
        assert values.shape == (*shape, 1)
    latencies = []
    for draw in np.ndindex(shape):
        alone = one_of(drawn, draw)
        single = solve(alone, Exact())
        assert_same(found[draw], single)
        assert alone.violations(found[draw].kept, found[draw].bandwidth_hz) == []
        latencies.append(single.latency_s)
    assert np.ptp(latencies) > 0.01 * np.max(latencies)  # they are different draws


@BOTH
def test_a_batch_of_a_single_draw_and_of_none_is_the_problem(noise):
    problem = random_variant(22, noise, "base", num_clients=5)
    single = solve(problem, Exact())
    plain = Exact().solve_batch(problem)
    assert plain.kept.shape == (5,) and plain.latency_s.shape == (1,)
    assert_same(plain[0], single)
    drawn = {name: getattr(problem.cell, name)[None] for name in ARRAYS}
    batch = Exact().solve_batch(replace(problem, cell=replace(problem.cell, **drawn)))
    assert_same(batch[0], single)
    assert_same(batch[-1], single)


@BOTH
@pytest.mark.parametrize("fading", [ARRAYS, ("speed_flops_per_s",), ("num_samples",)])
def test_any_array_of_the_cell_may_be_drawn(noise, fading):
    problem = random_variant(23, noise, "weights", num_clients=5)
    roomy = replace(problem.cell, memory_bytes=np.full(5, 1e12))
    drawn = many(replace(problem, cell=roomy), (3,), fading=fading)
    found = Exact().solve_batch(drawn)
    for draw in range(3):
        assert_same(found[draw], solve(one_of(drawn, draw), Exact()))
    assert np.ptp(found.latency_s) > 0


def test_each_draw_may_have_its_own_bounds_of_shares():
    problem = random_variant(24, "fixed", "bounds", num_clients=5)
    bounds = {
        name: getattr(problem.cell, name) * np.array([[1.0], [0.5], [0.0]])
        for name in ("held", "bandwidth_min_hz")
        if getattr(problem.cell, name) is not None
    }
    drawn = replace(problem, cell=replace(problem.cell, **bounds))
    found = Exact().solve_batch(drawn)
    for draw in range(3):
        assert_same(found[draw], solve(one_of(drawn, draw), Exact()))
    assert np.all(np.diff(found.latency_s[:, 0]) <= 1e-9)


@BOTH
@pytest.mark.parametrize("kind", ["base", "bounds", "all"])
def test_a_draw_without_a_solution_leaves_the_others_alone(noise, kind):
    problem = random_variant(25, noise, kind, num_clients=5)
    work = problem.workload
    need = work.fixed_memory_bytes + work.emulator_memory_bytes * problem.kept_min
    drawn = many(problem, (4,))
    memory = np.broadcast_to(problem.cell.memory_bytes, (4, 5)).copy()
    memory[2, 1] = 0.9 * need[1]  # C3
    scarce = replace(drawn, cell=replace(drawn.cell, memory_bytes=memory))
    found, whole = Exact().solve_batch(scarce), Exact().solve_batch(drawn)
    for draw in (0, 1, 3):
        assert_same(found[draw], whole[draw])
    assert found.status[2] == Status.INFEASIBLE
    assert found[2].status is Status.INFEASIBLE
    for name in ("kept", "bandwidth_hz", "latency_s", "bound_s", "price_hz", "gap"):
        values = getattr(found, name)
        assert np.all(np.isnan(values[2])) and not np.any(np.isnan(values[[0, 1, 3]]))
    assert np.isnan(found.kkt_residual[2])
    assert found[2].bound_s is None and found[2].gap is None


@BOTH
def test_a_draw_may_fail_at_c5_or_at_the_least_shares(noise):
    problem = random_variant(26, noise, "base", num_clients=4)
    work, limits = problem.workload, replace(problem.limits, beta_min=0.1, beta_bar=0.2)
    problem = replace(problem, limits=replace(limits, beta_max=0.8))
    memory = np.full((3, 4), 1e12)  # C5: four that keep 0.3 cannot make 0.8 on average
    memory[0] = work.fixed_memory_bytes + 0.3 * work.emulator_memory_bytes
    least_hz = np.zeros((3, 4))
    least_hz[1] = 0.3 * problem.cell.total_bandwidth_hz
    cell = replace(problem.cell, memory_bytes=memory, bandwidth_min_hz=least_hz)
    found = Exact().solve_batch(replace(problem, cell=cell))
    assert found.status[:, 0].tolist() == ["infeasible", "infeasible", "optimal"]
    assert np.isnan(found.latency_s[:2]).all() and np.isfinite(found.latency_s[2])


@BOTH
def test_all_draws_may_fail(noise):
    problem = random_variant(27, noise, "base", num_clients=4)
    none = replace(problem, cell=replace(problem.cell, memory_bytes=np.ones((3, 4))))
    found = Exact().solve_batch(none)
    assert np.all(found.status == Status.INFEASIBLE)
    assert np.isnan(found.latency_s).all()


@BOTH
def test_a_batch_holds_what_it_says(noise):
    drawn = many(random_variant(28, noise, "base", num_clients=7), (2, 3))
    found = Exact().solve_batch(drawn)
    np.testing.assert_array_equal(
        found.gap, (found.latency_s - found.bound_s) / found.latency_s
    )
    total_s = drawn.latency.total_s(found.kept, found.bandwidth_hz)
    np.testing.assert_array_equal(found.latency_s[..., 0], np.max(total_s, axis=-1))
    residual = kkt_residual(drawn, found.kept, found.bandwidth_hz, found.price_hz)
    np.testing.assert_array_equal(found.kkt_residual, residual)
    assert np.max(found.gap) <= 1e-10 and np.max(residual) <= 1e-8
    one = found[1, 2]
    assert one.solver == "exact"
    assert one.latency_s == found.latency_s[1, 2, 0]
    assert one.price_hz == found.price_hz[1, 2, 0]
    assert one.trace == tuple(tried[1, 2, 0] for tried in found.trace)
    np.testing.assert_array_equal(one.kept, found.kept[1, 2])


@BOTH
def test_where_one_draw_is_hard_the_others_are_as_exact(noise):
    """A cell whose draws end the searches at very different steps."""
    problem = random_variant(29, noise, "base", num_clients=6)
    speed = problem.cell.speed_flops_per_s * np.array([[1.0], [1e-6], [1e6], [1.0]])
    speed[3] *= 10.0 ** np.arange(-3, 3)
    snr = problem.cell.snr_down * np.array([[1.0], [1e-3], [1e3], [1.0]])
    drawn = replace(
        problem, cell=replace(problem.cell, speed_flops_per_s=speed, snr_down=snr)
    )
    found = Exact().solve_batch(drawn)
    for draw in range(4):
        single = solve(one_of(drawn, draw), Exact())
        assert found[draw].latency_s == pytest.approx(single.latency_s, rel=1e-12)
        assert found[draw].status is single.status


def test_ten_thousand_draws_at_once():
    problem = random_variant(30, "fixed", "base", num_clients=8)
    found = Exact().solve_batch(many(problem, (10_000,)))
    assert np.all(found.status == Status.OPTIMAL)
    assert np.max(found.gap) <= 1e-11 and np.max(found.kkt_residual) <= 1e-9

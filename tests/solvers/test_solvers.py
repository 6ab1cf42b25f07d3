import runpy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import make_problem, with_cell, with_workload

from trimwave.base.errors import InputError
from trimwave.problem.solution import Status, solve
from trimwave.solvers import BlockDescent, Exact, Uniform, get_solver

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "solvers.py"
BOTH = pytest.mark.parametrize("noise", ["fixed", "psd"])


def random_problem(seed, noise):
    """Draw the cell's size, loss and speeds and the limits too."""
    rng = np.random.default_rng(seed)
    slowest, beta_min = rng.uniform(0.1, 1), rng.uniform(0, 0.4)
    beta_max = rng.uniform(beta_min + 0.1, 0.95)
    return make_problem(
        seed,
        num_clients=int(rng.integers(2, 13)),
        speed_factor=(slowest, slowest * rng.uniform(1, 20)),
        path_loss_db=rng.uniform(50, 110),
        noise=noise,
        beta_min=beta_min,
        beta_max=beta_max,
        beta_bar=rng.uniform(beta_min, beta_max),
    )


def solve_all(problem):
    return SimpleNamespace(
        problem=problem,
        exact=solve(problem, Exact()),
        bcd=solve(problem, BlockDescent()),
        uniform=solve(problem, Uniform()),
    )


@pytest.fixture(scope="module")
def cases():
    """Return 150 random instances under a noise power and 12 under a density."""
    seeds = [(seed, "fixed") for seed in range(150)]
    seeds += [(seed, "psd") for seed in range(150, 162)]
    return [solve_all(random_problem(*seed)) for seed in seeds]


def assert_certified(case):
    exact, problem = case.exact, case.problem
    assert exact.status is Status.OPTIMAL
    assert exact.bound_s <= exact.latency_s
    assert exact.gap <= 1e-11
    assert exact.kkt_residual <= 1e-9
    total_s = problem.latency.total_s(exact.kept, exact.bandwidth_hz)
    assert exact.latency_s == np.max(total_s)
    assert np.ptp(total_s) <= 1e-9 * exact.latency_s
    band = problem.cell.total_bandwidth_hz
    assert np.sum(exact.bandwidth_hz) == pytest.approx(band, rel=1e-12)
    tight = max(
        problem.cell.num_clients * (1 - problem.limits.beta_bar),
        np.sum(problem.kept_min),
    )
    assert np.sum(exact.kept) == pytest.approx(tight, abs=1e-9)
    assert problem.violations(exact.kept, exact.bandwidth_hz) == []


def assert_ordered(case):
    """Each is feasible, and exact <= bcd <= its own start, the uniform point."""
    rounding = 1 + 1e-12
    assert case.exact.latency_s <= case.bcd.latency_s * rounding
    assert case.bcd.latency_s <= case.uniform.latency_s * rounding
    for one in (case.bcd, case.uniform):
        assert case.problem.violations(one.kept, one.bandwidth_hz) == []
        total_s = case.problem.latency.total_s(one.kept, one.bandwidth_hz)
        assert one.latency_s == np.max(total_s)


def test_exact_is_certified(cases):
    for case in cases:
        assert_certified(case)


def test_exact_bcd_uniform_in_this_order(cases):
    for case in cases:
        assert_ordered(case)
    better = [case.exact.latency_s < 0.999 * case.bcd.latency_s for case in cases]
    assert np.mean(better) > 0.5


@pytest.mark.slow
@BOTH
def test_a_thousand_instances(noise):
    for seed in range(1000, 2000 if noise == "fixed" else 1100):
        case = solve_all(random_problem(seed, noise))
        assert_certified(case)
        assert_ordered(case)


@pytest.mark.slow
def test_slsqp_finds_nothing_better():
    pytest.importorskip("scipy")
    slsqp_latency_s = runpy.run_path(str(BENCHMARK))["slsqp_latency_s"]
    for seed in range(10):
        problem = random_problem(seed, "psd" if seed % 5 == 4 else "fixed")
        peer_s = slsqp_latency_s(problem, np.random.default_rng(seed))
        exact_s = solve(problem, Exact()).latency_s
        assert exact_s <= peer_s * (1 + 1e-9)
        assert peer_s <= exact_s * (1 + 1e-6)


@BOTH
def test_brute_force_over_two_clients(noise):
    problem = make_problem(5, num_clients=2, speed_factor=(0.3, 3.0), noise=noise)
    first = np.linspace(0.2, 0.8, 301)  # the second keeps 1 - first: C5 is tight
    share = np.linspace(0, 100e6, 1001)[1:-1]
    best_s = np.inf
    for x in first:
        kept = np.broadcast_to([[x], [1 - x]], (2, share.size))
        bandwidth_hz = np.stack([share, 100e6 - share])
        column = replace(problem.latency, **columns(problem.latency))
        total_s = column.total_s(kept, bandwidth_hz)
        best_s = min(best_s, float(np.min(np.max(total_s, axis=0))))
    exact_s = solve(problem, Exact()).latency_s
    assert exact_s <= best_s * (1 + 1e-12)
    assert best_s <= exact_s * 1.005  # the grid's own resolution


def columns(latency):
    """Return the coefficients as [K, 1], so that one call evaluates a whole grid."""
    found = {
        name: value[:, None]
        for name, value in vars(latency).items()
        if isinstance(value, np.ndarray)
    }
    for name in ("down", "up"):
        link = getattr(latency, name)
        found[name] = replace(link, snr=link.snr[:, None])
    return found


@BOTH
def test_one_client_gets_the_whole_band(noise):
    for seed in range(40 if noise == "fixed" else 10):
        problem = make_problem(seed, num_clients=1, noise=noise, beta_bar=0.37)
        case = solve_all(problem)
        for one in (case.exact, case.bcd, case.uniform):
            np.testing.assert_allclose(one.kept, [0.63], rtol=1e-12)
            np.testing.assert_allclose(one.bandwidth_hz, [100e6], rtol=1e-12)
        assert_certified(case)


@BOTH
def test_equal_clients_get_equal_parts(noise):
    for seed in range(8):
        problem = make_problem(seed, noise=noise)
        cell = problem.cell
        names = ("speed_flops_per_s", "memory_bytes", "snr_down", "snr_up")
        equal = {name: np.full(8, getattr(cell, name)[0]) for name in names}
        case = solve_all(with_cell(problem, **equal))
        assert_certified(case)
        np.testing.assert_allclose(case.exact.kept, np.full(8, 0.5), rtol=1e-9)
        np.testing.assert_allclose(
            case.exact.bandwidth_hz, np.full(8, 12.5e6), rtol=1e-9
        )


@BOTH
@pytest.mark.parametrize("beta_bar", [0.8, 0.9])
def test_where_c5_is_slack_everyone_prunes_the_most(noise, beta_bar):
    case = solve_all(make_problem(0, noise=noise, beta_bar=beta_bar))
    assert_certified(case)
    assert_ordered(case)
    assert case.exact.price_hz == 0
    for one in (case.exact, case.bcd, case.uniform):
        np.testing.assert_allclose(one.kept, np.full(8, 0.2), rtol=1e-9)


@BOTH
def test_where_c5_asks_for_everything_everyone_prunes_the_least(noise):
    case = solve_all(make_problem(0, noise=noise, beta_bar=0.2))
    assert_certified(case)
    for one in (case.exact, case.bcd, case.uniform):
        np.testing.assert_allclose(one.kept, np.full(8, 0.8), rtol=1e-9)


@BOTH
def test_a_client_short_of_memory_sits_at_its_bound(noise):
    problem = make_problem(0, noise=noise)
    work = problem.workload
    fast = int(np.argmax(solve(problem, Exact()).kept))
    memory = problem.cell.memory_bytes.copy()
    memory[fast] = work.fixed_memory_bytes + 0.3 * work.emulator_memory_bytes
    bound = with_cell(problem, memory_bytes=memory)
    case = solve_all(bound)
    assert_certified(case)
    assert_ordered(case)
    for one in (case.exact, case.bcd, case.uniform):
        assert one.kept[fast] == pytest.approx(0.3, rel=1e-9)
    others = np.delete(case.uniform.kept, fast)
    np.testing.assert_allclose(others, np.full(7, 3.7 / 7), rtol=1e-9)


DEGENERATE = (
    {"emulator_flops": 0},
    {"adapter_flops": 0},
    {"emulator_flops": 0, "adapter_flops": 0},
    {"emulator_params": 0},
    {"adapter_bits": 0},
    {"emulator_params": 0, "emulator_flops": 0},
)


@BOTH
@pytest.mark.parametrize("changes", DEGENERATE, ids=lambda one: "+".join(one))
def test_workloads_without_a_part(noise, changes):
    case = solve_all(with_workload(make_problem(0, noise=noise), **changes))
    assert_certified(case)
    assert_ordered(case)


@BOTH
def test_a_nearly_dead_link_is_still_solved(noise):
    problem = make_problem(0, noise=noise)
    faded = np.where(np.arange(8) == 3, 1e-6, 1.0)
    cell = problem.cell
    worse = with_cell(
        problem, snr_down=faded * cell.snr_down, snr_up=faded * cell.snr_up
    )
    case = solve_all(worse)
    assert_certified(case)
    assert_ordered(case)
    assert np.argmax(case.exact.bandwidth_hz) == 3


def test_a_solver_by_name():
    assert get_solver("exact") == Exact()
    with pytest.raises(InputError, match="no solver `exakt`; did you mean `exact`"):
        get_solver("exakt")

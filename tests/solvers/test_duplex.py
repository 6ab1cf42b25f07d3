from dataclasses import replace

import numpy as np
import pytest
from helpers import make_problem, with_cell

from trimwave.base.curve import PiecewiseLinear
from trimwave.base.errors import InputError
from trimwave.problem.solution import Status, solve
from trimwave.solvers import BlockDescent, Exact, Uniform
from trimwave.solvers.duplex import paired_shares, paired_total_s
from trimwave.solvers.split import split_band

UP_HZ = 40e6


def two_bands(seed, up_hz=UP_HZ, cell=None, **drawn):
    problem = make_problem(seed, **drawn)
    return with_cell(problem, up_bandwidth_hz=up_hz, **(cell or {}))


def assert_feasible(problem, found):
    cell = problem.cell
    assert np.sum(found.bandwidth_hz) == pytest.approx(cell.total_bandwidth_hz)
    assert np.sum(found.up_bandwidth_hz) == pytest.approx(cell.up_bandwidth_hz)
    assert problem.violations(found.kept, found.bandwidth_hz) == []
    total_s = paired_total_s(
        problem, found.kept, found.bandwidth_hz, found.up_bandwidth_hz
    )
    assert found.latency_s == np.max(total_s)
    assert np.ptp(total_s) <= 1e-8 * found.latency_s
    assert found.bound_s <= found.latency_s * (1 + 1e-12)
    assert found.kkt_residual is None
    assert (found.status is Status.OPTIMAL) == (found.gap <= 1e-9)


def test_one_client_has_both_bands():
    problem = two_bands(0, num_clients=1, beta_bar=0.37)
    found = solve(problem, Exact())
    latency, kept = problem.latency, np.array([0.63])
    expected = latency.compute_s(kept) + latency.down_s(kept, np.array([100e6]))
    expected = expected + latency.up_s(np.array([UP_HZ]))
    assert found.latency_s == pytest.approx(expected[0], rel=1e-10)
    assert found.bandwidth_hz[0] == pytest.approx(100e6)
    assert found.up_bandwidth_hz[0] == pytest.approx(UP_HZ)
    assert found.gap <= 1e-9


def test_a_clients_split_by_hand():
    # Fixed noise: (sqrt(d) + sqrt(mu g))^2 / slack, shares in the ratio of the roots.
    problem = two_bands(1, num_clients=3)
    latency, kept = problem.latency, np.array([0.3, 0.5, 0.7])
    mu, deadline_s = 2.5, 40.0
    split = split_band(latency, kept, np.array([deadline_s]), np.array([mu]))
    down = latency.down_bits(kept) / latency.down.efficiency
    up = latency.up_bits / latency.up.efficiency
    slack = deadline_s - latency.compute_s(kept)
    expected = (np.sqrt(down) + np.sqrt(mu * up)) ** 2 / slack
    np.testing.assert_allclose(split.need_hz, expected, rtol=1e-13)
    np.testing.assert_allclose(
        split.down_hz + mu * split.up_hz, split.need_hz, rtol=1e-13
    )
    spent = latency.down_s(kept, split.down_hz) + latency.up_s(split.up_hz)
    np.testing.assert_allclose(spent, slack, rtol=1e-12)


@pytest.mark.parametrize("noise", ["fixed", "psd"])
def test_a_clients_split_is_the_cheapest_and_its_slopes_are_slopes(noise):
    problem = two_bands(2, num_clients=4, noise=noise, path_loss_db=90)
    latency, kept = problem.latency, np.array([0.3, 0.4, 0.6, 0.7])
    mu, deadline_s = np.array([1.7]), np.array([60.0])
    found = split_band(latency, kept, deadline_s, mu)
    slack = deadline_s - latency.compute_s(kept)
    spent = latency.down_s(kept, found.down_hz) + latency.up_s(found.up_hz)
    np.testing.assert_allclose(spent, slack, rtol=1e-10)
    for more in (0.9, 0.99, 1.01, 1.1):  # any other split of the slack costs more
        up_hz = found.up_hz * more
        left = slack - latency.up_s(up_hz)
        rate = latency.down_bits(kept) / left
        down_hz = np.array(
            [
                np.interp(rate[k], *sampled_rates(latency.down, k, found.down_hz[k]))
                for k in range(4)
            ]
        )
        assert np.all(down_hz + mu * up_hz >= found.need_hz * (1 - 1e-6))
    step = 1e-5
    above, below = (
        split_band(latency, kept + d, deadline_s, mu) for d in (step, -step)
    )
    np.testing.assert_allclose(
        found.per_kept_hz, (above.need_hz - below.need_hz) / (2 * step), rtol=1e-6
    )
    later, sooner = (
        split_band(latency, kept, deadline_s + d, mu) for d in (step, -step)
    )
    np.testing.assert_allclose(
        found.hz_per_s, (sooner.need_hz - later.need_hz) / (2 * step), rtol=1e-6
    )


def sampled_rates(link, k, around_hz):
    """Rates of one client at shares near one, for interpolation."""
    share = around_hz * np.linspace(0.5, 2, 20_001)
    one = replace(link, snr=link.snr[k])
    return one.rate_bps(share), share


def test_two_clients_against_a_grid():
    for seed in (3, 4):
        problem = two_bands(seed, num_clients=2, speed_factor=(0.3, 3.0))
        found = solve(problem, Exact())
        assert_feasible(problem, found)
        first = np.linspace(0.2, 0.8, 241)  # C5 is tight: the second keeps 1 - first
        kept = np.stack([first, 1 - first], axis=1)
        batch = replace(
            problem,
            cell=replace(
                problem.cell, snr_down=np.broadcast_to(problem.cell.snr_down, (241, 2))
            ),
        )
        total_s = paired_total_s(batch, kept, *paired_shares(batch, kept))
        best_s = float(np.min(np.max(total_s, axis=1)))
        assert found.bound_s <= best_s * (1 + 1e-9)
        assert found.latency_s <= best_s * (1 + 1e-3)


def test_the_shares_of_fixed_kept_fractions_are_the_best():
    problem = two_bands(5, num_clients=2)
    kept = np.array([0.4, 0.6])
    down_hz, up_hz = paired_shares(problem, kept)
    best_s = np.max(paired_total_s(problem, kept, down_hz, up_hz))
    part = np.linspace(0.01, 0.99, 197)
    down, up = np.meshgrid(part, part)
    latency = problem.latency
    total_s = [
        latency.compute_s(kept)[k]
        + latency.down_bits(kept)[k] / (latency.down.efficiency[k] * 100e6 * d)
        + latency.up_bits[k] / (latency.up.efficiency[k] * UP_HZ * u)
        for k, (d, u) in enumerate([(down, up), (1 - down, 1 - up)])
    ]
    grid_s = np.min(np.maximum(*total_s))
    assert best_s <= grid_s * (1 + 1e-12)
    assert grid_s <= best_s * 1.01


@pytest.mark.parametrize("kind", ["held", "table", "damage", "weights"])
def test_the_general_model_under_fdd(kind):
    cell, limits = {}, {}
    if kind == "held":
        cell["held"] = np.array([0.0, 0.4, 0.6])
    if kind == "table":
        points = np.array([0.0, 0.4, 0.7, 1.0])
        cell["emulator_time"] = PiecewiseLinear(points, np.array([0.1, 0.3, 0.6, 1.0]))
    if kind == "damage":
        points = np.array([0.0, 0.3, 0.6, 1.0])
        limits["damage"] = PiecewiseLinear(points, np.array([0.0, 0.1, 0.5, 2.0]))
    if kind == "weights":
        cell["num_samples"], limits["weighted"] = np.array([10.0, 50.0, 200.0]), True
    problem = two_bands(6, num_clients=3, cell=cell)
    problem = replace(problem, limits=replace(problem.limits, **limits))
    found = solve(problem, Exact())
    assert_feasible(problem, found)
    assert found.gap <= 0.02


def test_more_of_either_band_never_hurts():
    problem = two_bands(7, num_clients=4)
    before = solve(problem, Exact())
    for more in ({"total_bandwidth_hz": 120e6}, {"up_bandwidth_hz": 60e6}):
        after = solve(with_cell(problem, **more), Exact())
        assert after.bound_s < before.latency_s
        assert after.latency_s < before.latency_s


def test_numbering_the_clients_otherwise_permutes_the_answer():
    problem = two_bands(8, num_clients=4)
    here, order = solve(problem, Exact()), np.array([2, 0, 3, 1])
    assert here.gap <= 1e-9  # convex here, so the optimum is one point
    names = ("speed_flops_per_s", "memory_bytes", "snr_down", "snr_up")
    moved = {name: getattr(problem.cell, name)[order] for name in names}
    there = solve(with_cell(problem, **moved), Exact())
    assert there.latency_s == pytest.approx(here.latency_s, rel=1e-9)
    np.testing.assert_allclose(there.kept, here.kept[order], atol=1e-5)


def test_a_batch_is_its_draws():
    problem = two_bands(9, num_clients=3)
    rng = np.random.default_rng(0)
    fading = rng.exponential(size=(4, 3))
    batch = with_cell(problem, snr_down=problem.cell.snr_down * fading)
    together = Exact().solve_batch(batch)
    for draw in range(4):
        alone = with_cell(problem, snr_down=problem.cell.snr_down * fading[draw])
        expected = solve(alone, Exact())
        assert together[draw].latency_s == pytest.approx(expected.latency_s, rel=1e-6)
        assert together[draw].up_bandwidth_hz.shape == (3,)


@pytest.mark.slow
def test_a_noise_density_under_fdd():
    problem = two_bands(0, num_clients=2, noise="psd", path_loss_db=90)
    found = solve(problem, Exact())
    assert_feasible(problem, found)
    assert found.gap <= 0.02


@pytest.mark.parametrize("bound", ["bandwidth_min_hz", "bandwidth_max_hz"])
def test_bounds_of_shares_are_refused(bound):
    problem = two_bands(0, cell={bound: np.full(8, 10e6)})
    with pytest.raises(InputError, match=f"`{bound}` bounds a share that serves both"):
        solve(problem, Exact())


def test_algorithm_1_splits_one_band():
    with pytest.raises(InputError, match="takes one band for both directions"):
        solve(two_bands(0), BlockDescent())


def test_the_even_split_is_of_both_bands():
    problem = two_bands(0)
    even = solve(problem, Uniform())
    clients = problem.cell.num_clients
    assert even.up_bandwidth_hz is not None
    for shares_hz, band_hz in (
        (even.bandwidth_hz, problem.cell.total_bandwidth_hz),
        (even.up_bandwidth_hz, problem.cell.up_bandwidth_hz),
    ):
        np.testing.assert_allclose(shares_hz, band_hz / clients)
    assert even.latency_s >= solve(problem, Exact()).latency_s

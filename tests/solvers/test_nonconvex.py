from dataclasses import replace

import numpy as np
import pytest
from helpers import make_problem
from variants import VARIANTS, brute_force, random_variant, vary

from trimwave.base.curve import PiecewiseLinear
from trimwave.problem.solution import Status, solve
from trimwave.solvers import Exact, nonconvex
from trimwave.solvers.certificate import price_rises
from trimwave.solvers.nonconvex import enclosed_bound_s, least_band_hz


def row(value):
    return np.array([value])


def bound_of(problem, found):
    latency_s, price_hz = row(found.latency_s), row(found.price_hz)
    return float(enclosed_bound_s(problem, latency_s, price_hz)[0])


def weak_uplinks(seed, kind="base", num_clients=2):
    """Draw clients under a noise density, heard far worse than they hear."""
    rng = np.random.default_rng(seed)
    limits = {"beta_min": 0.05, "beta_max": 0.95, "beta_bar": rng.uniform(0.3, 0.7)}
    problem = make_problem(seed, num_clients=num_clients, noise="psd", **limits)
    snr = 10 ** rng.uniform(1, 4, num_clients)
    cell = replace(
        problem.cell,
        snr_down=snr,
        snr_up=snr * 10 ** rng.uniform(-4, -2, num_clients),
        speed_flops_per_s=1e12 * rng.uniform(1, 50, num_clients),
        max_spectral_efficiency=rng.choice([np.inf, 7.4]),
    )
    flops = int(problem.workload.emulator_flops * rng.choice([0, 0.1]))
    work = replace(problem.workload, emulator_flops=flops)
    return vary(replace(problem, cell=cell, workload=work), kind, seed)


@pytest.fixture(scope="module")
def alike():
    """Return two alike clients for whom equal pruning is stationary and not best."""
    problem = make_problem(0, num_clients=2, noise="psd")
    cell = replace(
        problem.cell,
        speed_flops_per_s=np.full(2, 1e12),
        snr_down=np.full(2, 1e3),
        snr_up=np.ones(2),
        max_spectral_efficiency=7.4,
    )
    work = replace(problem.workload, emulator_flops=0)
    return replace(problem, cell=cell, workload=work)


def test_where_the_band_is_convex_the_bound_is_the_certificates():
    for seed, kind in ((0, "base"),):
        problem = random_variant(seed, "psd", kind, num_clients=3)
        found = solve(problem, Exact())
        assert price_rises(problem, row(found.latency_s)).all()
        bound_s = bound_of(problem, found)
        assert bound_s <= found.latency_s
        assert bound_s == pytest.approx(found.bound_s, rel=1e-9)


@pytest.mark.slow
def test_equal_pruning_of_two_alike_is_not_the_best(alike):
    found, best_s = solve(alike, Exact()), brute_force(alike)
    assert not price_rises(alike, row(found.latency_s)).any()
    assert best_s < 14.9250  # by keeping 0.2 and 0.8, against 14.9563 with 0.5 each
    assert found.bound_s <= best_s * (1 + 1e-12)
    assert found.bound_s >= best_s * 0.99
    assert found.latency_s <= 14.9564
    assert found.status is Status.FEASIBLE
    assert found.gap == pytest.approx(1 - found.bound_s / found.latency_s)
    bound_s = bound_of(alike, found)
    assert bound_s == found.bound_s


@pytest.mark.slow
def test_another_price_gives_a_bound_that_holds_too(alike):
    found = solve(alike, Exact())
    price_hz = row(0.8 * found.price_hz)
    bound_s = enclosed_bound_s(alike, row(found.latency_s), price_hz)
    assert bound_s.shape == (1,)
    assert (
        0.9 * found.latency_s <= bound_s[0] <= min(found.bound_s * (1 + 1e-9), 14.9250)
    )


def assert_no_wrong_claim(problem):
    """Compare with brute force; whether the band was not convex."""
    found = solve(problem, Exact())
    assert problem.violations(found.kept, found.bandwidth_hz) == []
    if price_rises(problem, row(found.latency_s)).all():
        return False
    best_s = brute_force(problem, size=41, zooms=4)
    assert found.bound_s <= best_s * (1 + 1e-9)
    assert found.gap <= 0.05
    assert found.latency_s <= best_s * 1.01
    assert (found.status is Status.OPTIMAL) == (found.gap <= 1e-9)
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed", "kind"),
    [(9, "base"), (2, "held"), (11, "bounds"), (9, "all")],
)
def test_weak_uplinks_against_brute_force(seed, kind):
    assert assert_no_wrong_claim(weak_uplinks(seed, kind))


@pytest.mark.slow
@pytest.mark.parametrize("kind", VARIANTS)
def test_weak_uplinks_against_brute_force_many_times(kind):
    problems = (weak_uplinks(seed, kind) for seed in range(12, 20))
    assert sum(assert_no_wrong_claim(one) for one in problems) >= 2


@pytest.mark.slow
def test_radios_that_leave_band_unused_are_no_gap():
    # The optimum is where C5 can just be met within the largest share; however dear
    # C5 is, no band makes an earlier deadline possible.
    problem = weak_uplinks(9, "all")
    found = solve(problem, Exact())
    assert np.sum(found.bandwidth_hz) < 0.95 * problem.cell.total_bandwidth_hz
    assert not price_rises(problem, row(found.latency_s)).all()
    early_s, price_hz = row(found.latency_s * (1 - 1e-6)), row(found.price_hz)
    assert np.isinf(least_band_hz(problem, early_s, price_hz))
    assert found.status is Status.OPTIMAL
    assert found.gap <= 1e-9


def least_by_grid_hz(problem, deadline_s, price_hz, size=4_001):
    """Least of share less what C5 pays, over a fine grid of shares, for each client."""
    latency, most_hz = problem.latency, problem.share_max_hz()
    high = np.minimum(latency.kept_at(most_hz, deadline_s), problem.kept_max)
    ends_hz = [
        np.minimum(latency.required_bandwidth_hz(x, deadline_s), most_hz)
        for x in (problem.kept_min, np.maximum(high, problem.kept_min))
    ]
    if (least_hz := problem.cell.bandwidth_min_hz) is not None:
        ends_hz = [np.maximum(one, least_hz) for one in ends_hz]
    share_hz = np.linspace(*ends_hz, size)
    kept = latency.kept_at(share_hz, deadline_s)
    kept = np.clip(kept, problem.kept_min, np.maximum(high, problem.kept_min))
    net_hz = share_hz - price_hz * problem.avoided_by(kept)
    return float(np.sum(np.min(net_hz, axis=0)) + price_hz * problem.avoid_min)


@pytest.mark.parametrize("kind", ["held", "bounds", "all"])
def test_the_enclosed_minimum_is_that_of_a_fine_grid(kind):
    problem = weak_uplinks(1, kind, num_clients=3)
    found, band = solve(problem, Exact()), problem.cell.total_bandwidth_hz
    for late, dear in ((1.0, 1.0), (1.3, 0.4), (1.0, 0.0)):
        deadline_s, price_hz = late * found.latency_s, dear * found.price_hz
        enclosed_hz = least_band_hz(problem, row(deadline_s), row(price_hz))[0]
        grid_hz = least_by_grid_hz(problem, deadline_s, price_hz)
        assert enclosed_hz <= grid_hz + 1e-12 * band
        assert enclosed_hz == pytest.approx(grid_hz, abs=2e-5 * band)


def test_a_coarse_enclosure_is_from_below_too(monkeypatch):
    problem = random_variant(0, "psd", "base", num_clients=4)
    found, band = solve(problem, Exact()), problem.cell.total_bandwidth_hz
    asked = row(1.2 * found.latency_s), row(0.7 * found.price_hz)
    fine_hz = least_band_hz(problem, *asked)[0]
    monkeypatch.setattr(nonconvex, "CUTS", 5)
    enclosed = []
    for levels in (1, 2, 3):
        monkeypatch.setattr(nonconvex, "LEVELS", levels)
        enclosed.append(least_band_hz(problem, *asked)[0])
    assert enclosed[0] < enclosed[1] < enclosed[2] <= fine_hz + 1e-12 * band
    assert enclosed[0] < fine_hz - 1e-5 * band
    assert enclosed[2] > fine_hz - 1e-4 * band


def test_a_deadline_that_nobody_reaches_needs_an_infinite_band(alike):
    needs_hz = [
        float(least_band_hz(alike, row(deadline_s), row(1e7))[0])
        for deadline_s in (1e-3, 1.0, 40.0, 80.0)
    ]
    assert np.isinf(needs_hz[:2]).all()
    assert 0 < needs_hz[3] < needs_hz[2] < 1e8


@pytest.mark.slow
def test_many_draws_at_once_are_the_same():
    problems = [weak_uplinks(seed, num_clients=3) for seed in (0, 1)]
    cells, first = [one.cell for one in problems], problems[0]
    names = ("speed_flops_per_s", "memory_bytes", "snr_down", "snr_up", "num_samples")
    arrays = {name: np.stack([getattr(c, name) for c in cells]) for name in names}
    many = replace(first, cell=replace(first.cell, **arrays))
    solved = []
    for cell in cells:
        cell = replace(cell, max_spectral_efficiency=first.cell.max_spectral_efficiency)
        one = replace(first, cell=cell)
        found = solve(one, Exact())
        solved.append((found.latency_s, found.price_hz, bound_of(one, found)))
    latency_s, price_hz, bound_s = (
        np.array(values)[:, None] for values in zip(*solved, strict=True)
    )
    found_s = enclosed_bound_s(many, latency_s, price_hz)
    np.testing.assert_allclose(found_s, bound_s, rtol=1e-12)


STEPS = (
    PiecewiseLinear(
        np.array([0.25, 0.5, 0.75, 1.0]), np.array([0.359, 0.614, 0.845, 1.0])
    ),
    PiecewiseLinear(np.linspace(0, 1, 6), np.array([0.0, 0.3, 0.35, 0.7, 0.75, 1.0])),
    PiecewiseLinear(np.linspace(0, 1, 4), np.array([0.1, 0.5, 0.5, 1.0])),
)
"""Measured times by the kept fraction that are not convex: concave, in steps, flat."""


@pytest.mark.parametrize(
    ("noise", "at"), [("fixed", 0), ("fixed", 1), ("fixed", 2), ("psd", 0)]
)
def test_a_table_that_is_not_convex_against_brute_force(noise, at):
    table = STEPS[at]
    assert not table.is_convex
    for seed in range(2 if noise == "fixed" else 1):
        limits = {"beta_min": 0.2, "beta_max": 0.8, "beta_bar": 0.3 + 0.1 * seed}
        problem = make_problem(seed, num_clients=2, noise=noise, **limits)
        cell = replace(problem.cell, emulator_time=table)
        problem = replace(problem, cell=cell)
        found = solve(problem, Exact())
        assert problem.violations(found.kept, found.bandwidth_hz) == []
        best_s = brute_force(problem, size=101, zooms=3)
        assert found.bound_s <= best_s * (1 + 1e-9)
        assert found.latency_s <= best_s * 1.01
        assert found.gap <= 0.05
        assert (found.status is Status.OPTIMAL) == (found.gap <= 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("table", STEPS)
def test_many_clients_hide_that_a_table_is_not_convex(table):
    gaps = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        problem = make_problem(
            seed, num_clients=int(rng.integers(3, 30)), beta_bar=rng.uniform(0.3, 0.7)
        )
        cell = replace(problem.cell, emulator_time=table)
        problem = replace(problem, cell=cell)
        found = solve(problem, Exact())
        assert problem.violations(found.kept, found.bandwidth_hz) == []
        assert 0 <= found.gap
        gaps.append(found.gap)
    assert np.median(gaps) <= 2e-3
    assert max(gaps) <= 0.02

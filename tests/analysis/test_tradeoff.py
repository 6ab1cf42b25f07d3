from dataclasses import replace

import numpy as np
import pytest
from helpers import make_problem
from variants import NOISES, VARIANTS, random_variant

from trimwave.analysis import prices_of, trade_off, what_if
from trimwave.base.curve import PiecewiseLinear
from trimwave.base.errors import InfeasibleError, InputError
from trimwave.problem.solution import solve
from trimwave.solvers import BlockDescent, Exact, Uniform

BOTH = pytest.mark.parametrize("noise", NOISES)


def latency_s(problem):
    return solve(problem, Exact()).latency_s


def with_(problem, limits=None, **cell):
    return replace(
        problem,
        cell=replace(problem.cell, **cell),
        limits=replace(problem.limits, **(limits or {})),
    )


def with_band(problem, band_hz):
    """Widen the band; under a density the noise of the whole band grows with it."""
    cell, louder = problem.cell, 1.0
    if cell.noise == "psd":
        louder = band_hz / cell.total_bandwidth_hz
    return with_(
        problem,
        total_bandwidth_hz=band_hz,
        snr_down=cell.snr_down / louder,
        snr_up=cell.snr_up / louder,
    )


def with_more(problem, name, client, more):
    values = getattr(problem.cell, name).copy()
    values[client] += more
    return with_(problem, **{name: values})


def assert_slope(price, changed, step, here_s):
    """Expect a price between the slopes of the latency to either side."""
    slopes = [
        (latency_s(changed(step)) - here_s) / step,
        (here_s - latency_s(changed(-step))) / step,
    ]
    room = 3e-4 * max(np.abs(slopes)) + 1e-9 * here_s / step
    assert min(slopes) - room <= price <= max(slopes) + room, (price, slopes)
    assert price <= 0


def assert_prices(problem, client, skip=()):
    """Compare all prices with finite differences."""
    found, cell, limits = solve(problem, Exact()), problem.cell, problem.limits
    prices, here_s = prices_of(problem, found), found.latency_s
    nearest = int(np.argmax(found.kept - problem.memory_kept_max))
    by_memory = 1e-6 * problem.workload.emulator_memory_bytes
    by_speed = 1e-6 * cell.speed_flops_per_s[client]
    checks = {
        "band": (
            prices.band_s_per_hz,
            lambda by: with_band(problem, cell.total_bandwidth_hz + by),
            100.0,
        ),
        "beta_bar": (
            prices.beta_bar_s,
            lambda by: with_(problem, {"beta_bar": limits.beta_bar + by}),
            1e-6,
        ),
        "beta_max": (
            np.sum(prices.beta_max_s),
            lambda by: with_(problem, {"beta_max": limits.beta_max + by}),
            1e-6,
        ),
        "memory": (
            prices.memory_s_per_byte[nearest],
            lambda by: with_more(problem, "memory_bytes", nearest, by),
            by_memory,
        ),
        "speed": (
            prices.speed_s_per_flops[client],
            lambda by: with_more(problem, "speed_flops_per_s", client, by),
            by_speed,
        ),
    }
    for name, (price, changed, step) in checks.items():
        if name not in skip:
            assert_slope(price, changed, step, here_s)
    return prices


def short_of_memory(problem, part=0.9):
    """Give the client that keeps most the memory for a part of what it keeps."""
    work, found = problem.workload, solve(problem, Exact())
    client = int(np.argmax(found.kept - problem.kept_min))
    fits = problem.kept_min[client] * (1 - part) + found.kept[client] * part
    memory = problem.cell.memory_bytes.copy()
    memory[client] = work.fixed_memory_bytes + fits * work.emulator_memory_bytes
    return with_(problem, memory_bytes=memory), client


@pytest.mark.parametrize("kind", VARIANTS)
def test_prices_are_slopes_of_the_latency(kind):
    for seed in (1, 4):
        problem = random_variant(seed, "fixed", kind)
        assert_prices(problem, seed % problem.cell.num_clients)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["weights", "damage", "bounds"])
def test_prices_under_a_density_are_slopes_too(kind):
    problem = random_variant(6, "psd", kind, num_clients=3)
    assert_prices(problem, 0)


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("kind", VARIANTS)
def test_prices_are_slopes_of_the_latency_many_times(noise, kind):
    for seed in range(100, 125 if noise == "fixed" else 104):
        problem = random_variant(seed, noise, kind)
        assert_prices(problem, seed % problem.cell.num_clients)


MEMORY = [(kind, "fixed") for kind in ("base", "weights", "damage", "table")]


@pytest.mark.parametrize(("kind", "noise"), [*MEMORY, ("base", "psd")])
def test_the_price_of_memory_is_a_slope(noise, kind):
    for seed in range(2 if noise == "fixed" else 1):
        limits = {"beta_min": 0.1, "beta_max": 0.9, "beta_bar": 0.55}
        drawn = random_variant(seed, noise, kind, num_clients=4, **limits)
        problem, client = short_of_memory(drawn)
        prices = assert_prices(problem, client, skip=("band", "beta_bar"))
        paid = prices.memory_s_per_byte
        assert paid[client] < 0
        assert np.count_nonzero(paid) == 1


def test_radios_that_limit_the_round_have_the_price():
    # Narrow radios leave some of the band: more of it is worth nothing, C5 is.
    problem = make_problem(1, num_clients=4, beta_bar=0.5)
    narrow = with_(problem, bandwidth_max_hz=np.full(4, 2e6))
    prices = assert_prices(narrow, 2)
    assert prices.band_s_per_hz == 0
    assert prices.beta_bar_s < 0
    # One radio so narrow that its client, at `beta_max`, is all that counts.
    most_hz = np.array([1e8, 1e8, 3e5, 1e8])
    prices = assert_prices(with_(problem, bandwidth_max_hz=most_hz), 2)
    assert prices.band_s_per_hz == prices.beta_bar_s == 0
    assert prices.beta_max_s[2] < 0 and prices.speed_s_per_flops[2] < 0
    assert np.count_nonzero(prices.beta_max_s) == 1
    assert np.count_nonzero(prices.speed_s_per_flops) == 1


@pytest.mark.parametrize("kind", ["base", "held", "table", "weights", "damage"])
def test_scaling_band_and_speeds_together_adds_up_the_prices(kind):
    # T(cB, cf) = T / c: by Euler the prices times the resources are the latency.
    for seed in range(6):
        problem = random_variant(seed, "fixed", kind)
        cell, found = problem.cell, solve(problem, Exact())
        prices = prices_of(problem, found)
        total_s = prices.band_s_per_hz * cell.total_bandwidth_hz
        total_s += np.sum(prices.speed_s_per_flops * cell.speed_flops_per_s)
        assert -total_s == pytest.approx(found.latency_s, rel=1e-8)


@BOTH
def test_what_is_slack_costs_nothing(noise):
    problem = make_problem(2, num_clients=5, noise=noise, beta_bar=0.9)
    problem = with_(problem, memory_bytes=np.full(5, 1e12))
    prices = assert_prices(problem, 1, skip=("memory",))
    assert prices.beta_bar_s == 0
    assert np.all(prices.memory_s_per_byte == 0)
    assert np.all(prices.beta_max_s < 0)  # everyone is at it
    assert prices.band_s_per_hz < 0
    # And with C5 tight and nobody at a bound only the bounds are free.
    inside = make_problem(2, num_clients=5, noise=noise, beta_min=0.0, beta_max=0.99)
    prices = prices_of(inside, solve(inside, Exact()))
    assert np.all(prices.beta_max_s == 0)
    assert np.all(prices.speed_s_per_flops < 0)
    assert prices.beta_bar_s < 0


def test_numbering_the_clients_otherwise_permutes_the_prices():
    problem, _ = short_of_memory(make_problem(3))
    order = np.random.default_rng(0).permutation(8)
    other = replace(problem, cell=problem.cell.take(order))
    here, there = (prices_of(one, solve(one, Exact())) for one in (problem, other))
    assert there.band_s_per_hz == pytest.approx(here.band_s_per_hz, rel=1e-7)
    for name in ("memory_s_per_byte", "beta_max_s", "speed_s_per_flops"):
        expected = getattr(here, name)[order]
        np.testing.assert_allclose(getattr(there, name), expected, rtol=1e-6)


@pytest.mark.parametrize("solver", [BlockDescent(), Uniform()])
def test_a_point_without_prices_is_refused(solver):
    problem = make_problem(0)
    found = solve(problem, solver)
    message = f"solver `{solver.name}` gives no prices; use the exact one"
    for ask in (prices_of, what_if):
        with pytest.raises(InputError, match=message):
            ask(problem, found)


def test_an_uplink_with_its_own_band_is_refused():
    problem = with_(make_problem(0, num_clients=3), up_bandwidth_hz=20e6)
    found = solve(problem, Exact())
    for ask in (prices_of, what_if, lambda one, _: trade_off(one)):
        with pytest.raises(InputError, match="takes one band for both directions"):
            ask(problem, found)


CURVES = [(kind, "fixed") for kind in ("base", "weights", "damage")]


@pytest.mark.parametrize(("kind", "noise"), [*CURVES, ("base", "psd")])
def test_the_curve_falls_with_the_slope_it_says(noise, kind):
    problem = random_variant(6, noise, kind, num_clients=3)
    limits = problem.limits
    at = np.linspace(limits.beta_bar, limits.beta_max, 4)[:3]
    curve = trade_off(problem, [*at[::-1]])  # in any order
    assert np.array_equal(curve.beta_bar, at)
    assert np.all(np.diff(curve.latency_s) < 0)
    assert np.all(curve.bound_s <= curve.latency_s)
    assert curve.nearest == 0
    for value, found_s, slope in zip(
        at, curve.latency_s, curve.seconds_per_beta_bar, strict=True
    ):
        asked = with_(problem, {"beta_bar": float(value)})
        assert found_s == latency_s(asked)

        def moved(by, value=value):
            return with_(problem, {"beta_bar": float(value) + by})

        assert_slope(slope, moved, 1e-6, found_s)
    assert np.array_equal(
        curve.damage, at if limits.damage is None else limits.damage(at)
    )


@BOTH
def test_the_curve_goes_from_the_least_pruning_to_the_most(noise):
    problem = make_problem(4, num_clients=4, noise=noise, beta_min=0.1, beta_max=0.7)
    curve = trade_off(problem)
    assert curve.beta_bar.shape == (13,)
    assert (curve.beta_bar[0], curve.beta_bar[-1]) == (0.1, 0.7)
    assert curve.beta_bar[curve.nearest] == pytest.approx(0.5)
    assert np.all(np.diff(curve.latency_s) < 0)
    assert np.all(curve.seconds_per_beta_bar[:-1] < 0)
    assert curve.seconds_per_beta_bar[-1] == 0  # `beta_max` holds all
    assert curve.latency_s[curve.nearest] == pytest.approx(latency_s(problem))
    # A chord of a falling curve is no steeper than its steepest slope.
    chords = np.diff(curve.latency_s) / np.diff(curve.beta_bar)
    assert np.min(chords) >= np.min(curve.seconds_per_beta_bar) * (1 + 1e-9)


def test_where_memory_is_short_the_curve_begins_later():
    problem = make_problem(5, num_clients=4)
    work = problem.workload
    memory = work.fixed_memory_bytes + 0.4 * work.emulator_memory_bytes
    curve = trade_off(with_(problem, memory_bytes=np.array([memory, *[1e12] * 3])))
    # One keeps 0.4 at the most, the others 0.8.
    assert curve.beta_bar[0] == pytest.approx((0.6 + 3 * 0.2) / 4, abs=1e-9)
    assert curve.beta_bar[-1] == 0.8


def test_the_first_point_has_a_plan_whatever_its_digits():
    for seed in range(6):
        problem = make_problem(seed, num_clients=3)
        work, rng = problem.workload, np.random.default_rng(seed)
        fits = rng.uniform(0.3, 0.7, 3) * work.emulator_memory_bytes
        curve = trade_off(with_(problem, memory_bytes=work.fixed_memory_bytes + fits))
        least = 1 - np.mean(fits) / work.emulator_memory_bytes
        assert curve.beta_bar[0] == pytest.approx(least, abs=2e-12)
        assert np.all(np.isfinite(curve.latency_s))
        assert np.all(np.isfinite(curve.bound_s))


def test_a_point_before_that_is_infeasible():
    problem = make_problem(5, num_clients=4)
    with pytest.raises(
        InfeasibleError, match="C5: mean pruning must not exceed `beta_bar` = 0.19"
    ):
        trade_off(problem, [0.5, 0.19])
    tight = with_(problem, memory_bytes=np.full(4, 1e8))
    with pytest.raises(InfeasibleError, match="C3: client 0 has"):
        trade_off(tight)


@pytest.mark.parametrize("nothing", [[], (), np.array([])])
def test_a_curve_of_no_points_is_refused(nothing):
    with pytest.raises(InputError, match="`beta_bars` must name one value or more"):
        trade_off(make_problem(0), nothing)


def test_damage_is_what_c5_counts():
    points, values = np.array([0.0, 0.5, 1.0]), np.array([0.0, 0.1, 1.1])
    damage = PiecewiseLinear(points, values)
    problem = with_(make_problem(6, num_clients=3), {"damage": damage})
    curve = trade_off(problem, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(curve.damage, [0.05, 0.1, 0.6], rtol=1e-12)


@BOTH
def test_what_if_is_solving_again(noise):
    problem, client = short_of_memory(make_problem(7, num_clients=5, noise=noise), 0.7)
    found = solve(problem, Exact())
    wider, pruned, roomier = what_if(problem, found, more_band=0.3, more_beta_bar=0.1)
    assert (wider.constraint, wider.client) == ("C1", None)
    assert wider.change == pytest.approx(0.3e8)
    expected = found.latency_s - latency_s(with_band(problem, 1.3e8))
    assert wider.saved_s == pytest.approx(expected, rel=1e-9)
    assert (pruned.constraint, pruned.client) == ("C5", None)
    assert pruned.change == pytest.approx(0.1)
    expected = found.latency_s - latency_s(with_(problem, {"beta_bar": 0.6}))
    assert pruned.saved_s == pytest.approx(expected, rel=1e-9)
    assert (roomier.constraint, roomier.client) == ("C3", client)
    assert roomier.change == np.inf
    lifted = with_more(problem, "memory_bytes", client, 1e12)
    expected = found.latency_s - latency_s(lifted)
    assert roomier.saved_s == pytest.approx(expected, rel=1e-9)
    assert min(wider.saved_s, pruned.saved_s, roomier.saved_s) > 0


@BOTH
def test_a_small_change_saves_its_price(noise):
    problem = make_problem(8, num_clients=4, noise=noise)
    found = solve(problem, Exact())
    prices = prices_of(problem, found)
    wider, pruned = what_if(problem, found, more_band=1e-5, more_beta_bar=1e-5)
    assert wider.saved_s == pytest.approx(-1e3 * prices.band_s_per_hz, rel=1e-4)
    assert pruned.saved_s == pytest.approx(-1e-5 * prices.beta_bar_s, rel=1e-4)


def test_pruning_is_changed_up_to_beta_max():
    for beta_bar, change in ((0.78, 0.02), (0.8, None), (0.9, None)):
        problem = make_problem(9, beta_bar=beta_bar)
        found = what_if(problem, solve(problem, Exact()))
        of_c5 = [one.change for one in found if one.constraint == "C5"]
        assert of_c5 == ([] if change is None else [pytest.approx(change)])


def test_memory_is_lifted_dearest_first():
    problem = make_problem(10, num_clients=6, beta_bar=0.35)
    work = problem.workload
    memory = np.full(6, 1e12)
    for client, part in ((1, 0.6), (4, 0.4), (5, 0.7)):
        memory[client] = work.fixed_memory_bytes + part * work.emulator_memory_bytes
    problem = with_(problem, memory_bytes=memory)
    found = what_if(problem, solve(problem, Exact()))
    lifted = [one for one in found if one.constraint == "C3"]
    assert len(lifted) >= 2
    saved = [one.saved_s for one in lifted]
    assert saved == sorted(saved, reverse=True)
    assert saved[-1] > 0
    assert {one.client for one in lifted} <= {1, 4, 5}

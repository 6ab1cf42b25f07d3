from dataclasses import replace

import numpy as np
import pytest
from variants import NOISES_PSD_SLOW, VARIANTS, random_variant, second_kept

from trimwave.base.curve import PiecewiseLinear
from trimwave.problem.limits import Limits
from trimwave.problem.solution import solve
from trimwave.solvers import Exact
from trimwave.solvers.deadline import HEADROOM, AtDeadline

EVERY = pytest.mark.parametrize("kind", VARIANTS)
BOTH = pytest.mark.parametrize("noise", NOISES_PSD_SLOW)
STEP = 1e-6
SEEDS = {"fixed": range(3), "psd": range(2)}


def at_deadline(noise, kind, seed=0, num_clients=9, late=1.05):
    """Return the inner problem at a deadline a little later than the best."""
    problem = random_variant(seed, noise, kind, num_clients=num_clients)
    exact = solve(problem, Exact())
    return AtDeadline(problem, np.array([late * exact.latency_s]))


def band_of(inner, kept):
    """Return what B_k(x_k) is by the latency alone, with the least shares, [..., K]."""
    problem = inner.problem
    need = problem.latency.required_bandwidth_hz(
        kept, inner.deadline_s, most_hz=HEADROOM * problem.cell.total_bandwidth_hz
    )
    least_hz = problem.cell.bandwidth_min_hz
    return need if least_hz is None else np.maximum(need, least_hz)


def side_prices(inner, kept):
    """Return dB_k over d(what C5 counts), left and right of x_k, by differences."""
    bands = [band_of(inner, kept + off) for off in (-STEP, 0.0, STEP)]
    counts = [inner.problem.avoided_by(kept + off) for off in (-STEP, 0.0, STEP)]
    with np.errstate(divide="ignore", invalid="ignore"):
        return [np.diff(bands, axis=0)[i] / np.diff(counts, axis=0)[i] for i in (0, 1)]


@BOTH
@EVERY
def test_what_is_kept_at_a_price_costs_that_price(noise, kind):
    inside = 0
    for seed in SEEDS[noise]:
        inner = at_deadline(noise, kind, seed)
        price_hz = inner.cheapest().price_hz[0] or 1e7
        for factor in (0.2, 0.5, 0.8, 1.0, 1.2, 2.0, 5.0):
            wanted = factor * price_hz
            kept = inner.kept(np.array([wanted**-0.5])).kept
            assert np.all((kept >= inner.low) & (kept <= inner.high))
            left, right = side_prices(inner, kept)
            above = kept > inner.low + 2 * STEP  # so that keeping less is possible
            below = kept < inner.high - 2 * STEP
            assert np.all(left[above] <= wanted * (1 + 1e-4))
            assert np.all(right[below] >= wanted * (1 - 1e-4))
            smooth = above & below & (np.abs(right - left) < 1e-3 * np.abs(left))
            np.testing.assert_allclose(left[smooth], wanted, rtol=1e-3)
            inside += int(np.sum(above & below))
    assert inside >= 3


@BOTH
@EVERY
def test_how_fast_it_falls_with_s_is_its_difference(noise, kind):
    compared = 0
    for seed in range(5 if noise == "fixed" else 3):
        inner = at_deadline(noise, kind, seed)
        s = np.array([(inner.cheapest().price_hz[0] or 1e7) ** -0.5])
        here, (less, more) = (
            inner.kept(s),
            (inner.kept(s * (1 + d)) for d in (1e-5, -1e-5)),
        )
        falls = [
            (one.kept - other.kept) / (1e-5 * s)
            for one, other in ((here, less), (more, here))
        ]
        smooth = np.abs(falls[0] - falls[1]) <= 1e-3 * np.abs(falls[0])
        compared += int(np.sum(smooth & (falls[0] > 0)))
        np.testing.assert_allclose(here.fall[smooth], falls[0][smooth], rtol=2e-3)
        if smooth.all():
            lost = inner.problem.avoided(more.kept) - inner.problem.avoided(less.kept)
            np.testing.assert_allclose(here.sum_fall, lost / (2e-5 * s), rtol=2e-3)
    assert compared >= 2


def least_band_by_grid(inner, size=401, zooms=3):
    """Return the least band of two clients, over what the first keeps [Hz]."""
    problem, best = inner.problem, np.inf
    ends, most = (inner.problem.kept_min[0], inner.high[0]), inner.high[1]
    for _ in range(zooms):
        first = np.linspace(*ends, size)
        second = second_kept(problem, first)
        possible = second <= most + 1e-12  # nan where C5 cannot be met
        kept = np.stack([first, np.where(possible, second, most)], axis=-1)
        need = np.where(possible, np.sum(band_of(inner, kept), axis=-1), np.inf)
        at = int(np.argmin(need))
        best = min(best, float(need[at]))
        ends = first[max(at - 2, 0)], first[min(at + 2, size - 1)]
    return best


@BOTH
@EVERY
def test_the_least_band_of_two_clients_is_that_of_a_grid(noise, kind):
    for seed in SEEDS[noise]:
        inner = at_deadline(noise, kind, seed, num_clients=2)
        found, by_grid = inner.cheapest(), least_band_by_grid(inner)
        assert found.need_hz[0] <= by_grid * (1 + 1e-9)
        assert found.need_hz[0] >= by_grid * (1 - 1e-6)  # the grid's own resolution
        assert np.sum(found.bandwidth_hz) == pytest.approx(found.need_hz[0], rel=1e-9)
        np.testing.assert_allclose(
            found.bandwidth_hz, band_of(inner, found.kept), rtol=1e-9
        )
        missing = inner.problem.avoid_min - inner.problem.avoided(found.kept)
        assert missing[0] <= 1e-10
        assert_no_price_proves_more(inner, found, by_grid)


def assert_no_price_proves_more(inner, best, by_grid):
    for factor in (0.0, 1e-3, 0.5, 0.99, 1.0, 1.01, 2.0, 1e3):
        price_hz = factor * np.where(best.price_hz > 0, best.price_hz, 1e7)
        proven = inner.at_price(price_hz).need_hz[0]
        assert proven <= by_grid * (1 + 1e-9)
        if factor == 1.0 and best.price_hz[0] > 0:
            assert proven >= best.need_hz[0] * (1 - 1e-9)


@BOTH
@EVERY
def test_its_slope_is_the_difference_in_the_deadline(noise, kind):
    for seed in SEEDS[noise]:
        inner = at_deadline(noise, kind, seed)
        deadline_s, step_s = inner.deadline_s, 1e-6 * inner.deadline_s
        here, sooner, later = (
            AtDeadline(inner.problem, deadline_s + off).cheapest()
            for off in (0.0, -step_s, step_s)
        )
        sides = [
            (here.need_hz - sooner.need_hz) / step_s,
            (later.need_hz - here.need_hz) / step_s,
        ]
        slope = here.slope_hz_per_s
        assert slope < 0
        assert sooner.need_hz > here.need_hz > later.need_hz
        slack_hz = 1e-4 * np.abs(slope)
        assert sides[0] <= slope + slack_hz or kind in ("bounds", "all")
        assert sides[0] - slack_hz <= slope <= sides[1] + slack_hz


@BOTH
def test_its_slope_counts_what_least_and_largest_shares_let_clients_keep(noise):
    problem = random_variant(3, noise, "base", num_clients=6)
    free, band_hz = solve(problem, Exact()), problem.cell.total_bandwidth_hz
    fast, wide = int(np.argmin(free.bandwidth_hz)), int(np.argmax(free.bandwidth_hz))
    least_hz, most_hz = np.zeros(6), np.full(6, band_hz)
    least_hz[fast] = 1.5 * free.bandwidth_hz[fast]
    most_hz[wide] = 0.9 * free.bandwidth_hz[wide]
    cell = replace(problem.cell, bandwidth_min_hz=least_hz, bandwidth_max_hz=most_hz)
    bound, step = replace(problem, cell=cell), np.array([[-1e-6], [0.0], [1e-6]])
    best_s = solve(bound, Exact()).latency_s
    for late in (1.001, 1.02):
        at = [AtDeadline(bound, best_s * (late + one)) for one in step]
        found = [inner.cheapest() for inner in at]
        kept, inside = (
            found[1].kept,
            (found[1].kept > bound.kept_min) & (found[1].kept < bound.kept_max),
        )
        assert inside[fast] and kept[fast] == at[1].low[fast]
        assert late > 1.01 or (inside[wide] and kept[wide] == at[1].high[wide])
        needs = [one.need_hz[0] for one in found]
        numeric = (needs[2] - needs[0]) / (2e-6 * best_s)
        assert found[1].slope_hz_per_s[0] == pytest.approx(numeric, rel=1e-3)


@BOTH
@EVERY
def test_at_a_price_beyond_all_ends_everyone_is_exactly_there(noise, kind):
    """Though x from a share is rough where time hardly depends on x."""
    problem = random_variant(3, noise, kind, num_clients=6)
    rough = replace(problem.workload, emulator_flops=10, emulator_params=3)
    problem = replace(problem, workload=rough)
    inner = AtDeadline(problem, np.array([2 * solve(problem, Exact()).latency_s]))
    low_s, _, high_s = inner.price_range()
    np.testing.assert_array_equal(inner.kept(0.5 * low_s).kept, inner.high)
    np.testing.assert_allclose(inner.kept(2 * high_s).kept, inner.low, rtol=1e-15)


def test_where_the_price_jumps_at_a_modems_cap_it_does_not_fall():
    problem = random_variant(0, "psd", "base", num_clients=6)
    found, jumps = solve(problem, Exact()), 0
    down = problem.latency.down.spectral_efficiency(found.bandwidth_hz)
    for client in range(6):
        cell = replace(problem.cell, max_spectral_efficiency=down[client])
        inner = AtDeadline(replace(problem, cell=cell), np.array([found.latency_s]))
        s = np.array([found.price_hz**-0.5])
        for near in np.linspace(0.9, 1.1, 9):
            here, less, more = (inner.kept(near * s * f) for f in (1, 1.001, 0.999))
            stays = (less.kept == here.kept) | (np.abs(more.kept - less.kept) < 1e-12)
            stays &= (here.kept > inner.low) & (here.kept < inner.high)
            jumps += int(np.sum(stays))
            np.testing.assert_array_equal(here.fall[stays], 0.0)
    assert jumps >= 3


def test_nothing_is_kept_beyond_what_c5_counts():
    problem = random_variant(3, "fixed", "damage", num_clients=6)
    flat = PiecewiseLinear(np.array([0.0, 0.4, 1.0]), np.array([0.0, 0.0, 1.0]))
    limits = Limits(beta_min=0.1, beta_max=0.9, beta_bar=0.45, damage=flat)
    problem = replace(problem, limits=limits)
    no_work = {"emulator_flops": 0, "emulator_memory_bytes": 0}
    no_bits = {"adapter_bits": 0, "update_bits": 0, "emulator_params": 0}
    for changes in (no_work, no_bits):
        work = replace(problem.workload, **changes)
        for held in (0.0, 0.8):  # what is held costs nothing either
            cell = replace(problem.cell, held=np.full(6, held))
            bound = replace(problem, cell=cell, workload=work)
            inner = AtDeadline(bound, np.array([1e3]))
            np.testing.assert_allclose(inner.high, 0.6, rtol=1e-15)
            found = inner.cheapest()
            assert np.all(found.kept <= 0.6 + 1e-15) and np.isfinite(found.need_hz)


@BOTH
def test_what_a_least_share_buys_needs_no_more_though_rounding_hides_it(noise):
    problem = random_variant(3, noise, "base", num_clients=6)
    bits = {"adapter_bits": 10, "update_bits": 10, "emulator_params": 1}
    work = replace(problem.workload, emulator_flops=10**24, **bits)
    least_hz = np.linspace(1e6, 1e7, 6)
    cell = replace(problem.cell, bandwidth_min_hz=least_hz)
    problem = replace(problem, cell=cell, workload=work)
    slowest_s = np.max(problem.latency.compute_s(problem.kept_min))
    for late in np.linspace(1.01, 1.5, 50):
        inner = AtDeadline(problem, np.array([late * slowest_s]))
        np.testing.assert_array_equal(inner.required_hz(inner.low), least_hz)


@BOTH
@EVERY
def test_an_answer_near_by_changes_only_the_way(noise, kind):
    inner = at_deadline(noise, kind)
    near = AtDeadline(inner.problem, 1.3 * inner.deadline_s).cheapest()
    found = AtDeadline(inner.problem, inner.deadline_s, near).cheapest()
    alone = inner.cheapest()
    assert found.need_hz == pytest.approx(alone.need_hz, rel=1e-11)
    assert found.price_hz == pytest.approx(alone.price_hz, rel=1e-8)
    np.testing.assert_allclose(found.kept, alone.kept, rtol=1e-8)


def with_c5(problem, avoided):
    """Let C5 ask for exactly so much, [1]."""
    limits, each = problem.limits, float(avoided[0]) / problem.cell.num_clients
    beta_bar = limits.beta_max - each
    if limits.damage is not None:
        most = limits.damage(np.array([limits.beta_max])) - each
        beta_bar = float(limits.damage.inverse(most)[0])
    return replace(problem, limits=replace(limits, beta_bar=beta_bar))


@BOTH
@EVERY
def test_the_most_within_a_band_and_the_least_band_are_duals(noise, kind):
    bought = 0
    for seed in SEEDS[noise]:
        inner = at_deadline(noise, kind, seed)
        least_hz, most_hz = (
            float(np.sum(inner.required_hz(x))) for x in (inner.low, inner.high)
        )
        for share in (0.001, 0.3, 0.9):
            band_hz = least_hz + share * (most_hz - least_hz)
            kept = inner.most_within(band_hz)
            assert np.all((kept >= inner.low) & (kept <= inner.high))
            needs_hz = np.sum(band_of(inner, kept))
            assert needs_hz == pytest.approx(band_hz, rel=1e-9)
            avoided = inner.problem.avoided(kept)
            asked = with_c5(inner.problem, avoided)
            again = AtDeadline(asked, inner.deadline_s).cheapest()
            assert again.need_hz[0] == pytest.approx(band_hz, rel=1e-8)
            bought += avoided[0] > inner.problem.avoided(inner.low)[0] + 1e-6
        assert np.array_equal(inner.most_within(most_hz * 1.01), inner.high)
    assert bought == 3 * len(SEEDS[noise])


@BOTH
def test_the_most_within_a_band_of_two_clients_is_that_of_a_grid(noise):
    for kind in VARIANTS:
        inner = at_deadline(noise, kind, seed=2, num_clients=2)
        ends_hz = [np.sum(inner.required_hz(x)) for x in (inner.low, inner.high)]
        band_hz = float(np.mean(ends_hz))
        found = inner.problem.avoided(inner.most_within(band_hz))[0]
        axes = [np.linspace(inner.low[k], inner.high[k], 121) for k in (0, 1)]
        kept = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
        fits = np.sum(band_of(inner, kept), axis=-1) <= band_hz * (1 + 1e-9)
        by_grid = np.max(inner.problem.avoided(kept[fits]))
        assert by_grid <= found + 1e-9
        assert found <= by_grid + 0.03  # the grid's own resolution


@BOTH
def test_a_deadline_that_cannot_be_met_needs_an_infinite_band(noise):
    problem = random_variant(0, noise, "base", num_clients=5)
    soon_s = np.max(problem.latency.compute_s(problem.kept_min)) * np.ones(1)
    for deadline_s in (soon_s, 0.5 * soon_s):
        found = AtDeadline(problem, deadline_s).cheapest()
        assert np.isinf(found.need_hz[0])
        assert np.isinf(AtDeadline(problem, deadline_s).at_price(np.ones(1)).need_hz[0])


@BOTH
def test_many_deadlines_at_once_are_the_same_as_one_by_one(noise):
    for kind in VARIANTS:
        inner = at_deadline(noise, kind)
        cell, late = inner.problem.cell, np.array([[0.2], [0.99], [1.0], [2.0], [50.0]])
        spread = np.broadcast_to(cell.snr_down, (5, cell.num_clients))
        many = replace(inner.problem, cell=replace(cell, snr_down=spread))
        together = AtDeadline(many, inner.deadline_s * late).cheapest()
        for at, deadline_s in enumerate(inner.deadline_s * late):
            alone = AtDeadline(inner.problem, deadline_s).cheapest()
            assert together.need_hz[at] == pytest.approx(alone.need_hz, rel=1e-11)
            if np.isfinite(alone.need_hz):
                np.testing.assert_allclose(together.kept[at], alone.kept, rtol=1e-7)

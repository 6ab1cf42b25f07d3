import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimwave.base.roots import (
    MAX_ITERATIONS,
    bracket_root,
    newton_root,
    newton_root_aux,
)


def assert_tight_around(roots, low, high, rtol=1e-13):
    assert np.all(low <= roots * (1 + np.sign(roots) * 1e-15))
    assert np.all(roots <= high * (1 + np.sign(high) * 1e-15))
    assert np.all(high - low <= rtol * np.maximum(np.abs(low), np.abs(high)))


def test_known_roots_elementwise():
    target = np.array([1e-9, 0.3, 1.0, 8.0, 1e6])
    low, high = bracket_root(lambda x: x**3 - target, 0.0, np.full(5, 200.0))
    assert_tight_around(np.cbrt(target), low, high)


@pytest.mark.parametrize(
    ("function", "root"),
    [
        (lambda x: np.exp(x) - 2, np.log(2)),
        (lambda x: np.arctan(x - 0.1), 0.1),
        (lambda x: 1 - 1 / x**5, 1.0),
        (lambda x: (x - 0.5) ** 9, 0.5),
        (lambda x: np.where(x < 0.7, -1.0, 1.0), 0.7),
        (lambda x: np.where(x < 0.7, -1e300, 1e-300), 0.7),
        (lambda x: np.where(x < 0.25, -np.inf, x - 0.75), 0.75),
        (lambda x: np.where(x > 0.25, np.inf, x - 0.125), 0.125),
        (lambda x: np.where(x < 0.625, -np.inf, np.inf), 0.625),
    ],
)
def test_shapes_that_mislead_interpolation(function, root):
    calls = 0

    def counted(x):
        nonlocal calls
        calls += 1
        return function(x)

    low, high = bracket_root(counted, np.array([1e-3]), np.array([3.0]))
    assert_tight_around(np.array([root]), low, high)
    assert function(high)[0] >= 0
    assert calls < 160  # never much slower than the 50 or so steps of bisection


def test_smooth_functions_take_few_steps():
    calls = 0

    def counted(x):
        nonlocal calls
        calls += 1
        return np.exp(x) - 2

    bracket_root(counted, np.array([0.0]), np.array([5.0]))
    assert calls < 30


def test_an_end_on_the_wrong_side_comes_back_twice():
    shift = np.array([-5.0, 0.5, 5.0])  # below the bracket, inside, above
    low, high = bracket_root(lambda x: x - shift, 0.25, np.ones(3))
    assert (low[0], high[0]) == (0.25, 0.25)
    assert_tight_around(shift[1:2], low[1:2], high[1:2])
    assert (low[2], high[2]) == (1.0, 1.0)


def test_a_root_at_an_end_is_found():
    for root in (1.0, 2.0):
        low, high = bracket_root(lambda x, root=root: x - root, [1.0], [2.0])
        assert_tight_around(np.array([root]), low, high)


def test_a_coarser_tolerance_leaves_a_wider_bracket_around_the_truth():
    low, high = bracket_root(lambda x: x**2 - 2, [0.0], [2.0], rtol=1e-3)
    assert low[0] <= np.sqrt(2) <= high[0]
    assert high[0] - low[0] <= 2e-3


@settings(max_examples=60)
@given(
    root=st.floats(0.01, 100),
    power=st.integers(-30, 30),
    shift=st.floats(-50, 50),
    sharpness=st.floats(0.1, 5),
)
def test_scale_and_shift(root, power, shift, sharpness):
    def function(x):
        return (x / root) ** sharpness - 1

    low, high = bracket_root(function, [0.001], [150.0])
    assert_tight_around(np.array([root]), low, high)
    # Powers of two change no rounding: the same steps, scaled.
    unit = 2.0**power
    scaled = bracket_root(
        lambda x: unit * function(x / unit), [0.001 * unit], [150.0 * unit]
    )
    assert scaled[0][0] == low[0] * unit
    assert scaled[1][0] == high[0] * unit
    moved = bracket_root(lambda x: function(x - shift), [0.001 + shift], [150 + shift])
    assert moved[1][0] - shift == pytest.approx(root, abs=1e-11)


def test_the_arguments_are_left_alone():
    low, high = np.array([0.0, 0.0]), np.array([2.0, 2.0])
    bracket_root(lambda x: x - 1, low, high)
    assert low.tolist() == [0.0, 0.0]
    assert high.tolist() == [2.0, 2.0]


def newton(function, lower, upper, start, **options):
    """Call `newton_root`, and check what it promises whatever the function."""
    points, values = [], []

    def watched(x):
        value, slope = function(x)
        points.append(np.copy(x))
        values.append(np.copy(value))
        return value, slope

    low, point, high = newton_root(watched, lower, upper, start, **options)
    assert len(points) <= MAX_ITERATIONS
    np.testing.assert_array_equal(points[-1], point)
    assert np.all((low <= point) & (point <= high))
    assert np.all((np.asarray(lower) <= low) & (high <= np.asarray(upper)))
    for x, value in zip(points, values, strict=True):  # all of them on their sides
        assert np.all((value <= 0) | (x >= high))
        assert np.all((value >= 0) | (x <= low))
    return low, point, high, len(points)


def assert_newton_finds(roots, found, rtol=4e-15):
    low, point, high, _ = found
    np.testing.assert_allclose(point, roots, rtol=rtol, atol=0)
    slip = rtol * np.abs(roots)
    assert np.all((low <= roots + slip) & (roots - slip <= high))


def test_newton_finds_known_roots_elementwise():
    target = np.array([1e-9, 0.3, 1.0, 8.0, 1e6])
    found = newton(
        lambda x: (x**3 - target, 3 * x**2), 1e-6, np.full(5, 200.0), np.full(5, 5.0)
    )
    assert_newton_finds(np.cbrt(target), found)
    assert found[-1] < 30


def test_newton_takes_few_steps_where_it_is_smooth():
    found = newton(lambda x: (np.exp(x) - 2, np.exp(x)), [0.0], [5.0], [1.0])
    assert_newton_finds(np.log([2.0]), found)
    assert found[-1] <= 7


def step_at(root, left=-1.0, right=1.0):
    return lambda x: (np.where(x < root, left, right), np.zeros_like(x))


NO_SLOPES = (0.0, -1.0, np.nan, np.inf, -np.inf)

MISLEADING = (
    (step_at(0.7), 0.7),
    (step_at(0.7, -1e300, 1e-300), 0.7),
    (step_at(0.625, -np.inf, np.inf), 0.625),
    (lambda x: (np.where(x < 0.25, -np.inf, x - 0.75), np.ones_like(x)), 0.75),
    (lambda x: (np.where(x > 0.25, np.inf, x - 0.125), np.ones_like(x)), 0.125),
    (lambda x: (1 - x**-5.0, 5 * x**-6.0), 1.0),
    (lambda x: (np.arctan(50 * (x - 0.1)), 50 / (1 + 2500 * (x - 0.1) ** 2)), 0.1),
    (lambda x: (x - 0.3, np.full_like(x, 1e-3)), 0.3),  # a slope far too flat
    *(
        (lambda x, slope=slope: (x**3 - 2, np.full_like(x, slope)), np.cbrt(2.0))
        for slope in NO_SLOPES
    ),
)


@pytest.mark.parametrize("start", [1e-3, 0.6, 3.0])
@pytest.mark.parametrize(("function", "root"), MISLEADING)
def test_newton_where_slopes_mislead(function, root, start):
    found = newton(function, np.array([1e-3]), np.array([3.0]), np.array([start]))
    assert_newton_finds(np.array([root]), found)
    assert found[-1] <= 120


def test_newton_is_as_wrong_as_its_slope_is_too_steep():
    found = newton(lambda x: (x - 0.3, np.full_like(x, 1e3)), [1e-3], [3.0], [1.0])
    assert_newton_finds(np.array([0.3]), found, rtol=1e-12)
    assert found[-1] <= 120


def test_newton_across_magnitudes_bisects_logarithms():
    roots = 10.0 ** np.arange(-200, 201, 40)
    ends = np.full(11, 1e-250), np.full(11, 1e250)
    found = newton(step_at(roots), *ends, np.ones(11))
    assert_newton_finds(roots, found)
    assert found[-1] < 100


def test_newton_closes_in_where_it_halves_the_function_for_ever():
    # At a ninth-order root each step takes off a ninth of the distance, and most of
    # the value.
    low, point, high, _ = newton(
        lambda x: ((x - 0.5) ** 9, 9 * (x - 0.5) ** 8), [1e-3], [3.0], [1.0]
    )
    assert point[0] == pytest.approx(0.5, rel=1e-14)
    assert high[0] - low[0] <= 1e-14


def test_newton_from_a_slope_beyond_all_numbers():
    # At the end of sqrt the slope is infinite: no step, but no root either.
    def function(x):
        with np.errstate(divide="ignore"):
            return np.sqrt(x) - 1, 0.5 / np.sqrt(x)

    assert_newton_finds(np.ones(1), newton(function, [0.0], [3.0], [0.0]))


@pytest.mark.parametrize("root", [1.0, 2.0])
@pytest.mark.parametrize("start", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("slope", [1.0, 0.0, np.nan])
def test_newton_finds_a_root_at_an_end(root, start, slope):
    found = newton(lambda x: (x - root, np.full_like(x, slope)), [1.0], [2.0], [start])
    assert_newton_finds(np.array([root]), found)


@pytest.mark.parametrize("slope", [1.0, 0.0, np.nan])
@pytest.mark.parametrize(("shift", "end"), [(-9.0, 1.0), (9.0, 2.0), (np.inf, 2.0)])
def test_newton_without_a_root_ends_at_the_nearer_end(shift, end, slope):
    found = newton(lambda x: (x - shift, np.full_like(x, slope)), [1.0], [2.0], [1.5])
    assert found[1][0] == pytest.approx(end, rel=4e-15)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_newton_stops_at_a_tolerance_for_each(tolerance):
    limits = np.array([tolerance, 0.0])
    *_, steps = newton(
        lambda x: (x**9 - 2, 9 * x**8),
        np.ones(2),
        np.full(2, 9.0),
        np.full(2, 9.0),
        tolerance=limits,
    )
    low, point, _, few = newton(
        lambda x: (x**9 - 2, 9 * x**8), [1.0], [9.0], [9.0], tolerance=tolerance
    )
    assert 0 < point[0] ** 9 - 2 <= tolerance
    assert low[0] == 1.0
    assert few < steps


@pytest.mark.parametrize("shape", [(3, 1), (2, 3, 1), (2, 5), ()])
def test_newton_takes_any_shape_and_treats_each_alone(shape):
    roots = np.random.default_rng(0).uniform(0.1, 9, shape)
    low, upper = np.full(shape, 0.05), np.full(shape, 10.0)

    def function(x):
        return x**3 - roots**3, 3 * x**2

    found = newton(function, low, upper, upper)
    assert found[1].shape == shape
    assert_newton_finds(roots, found)
    for at in np.ndindex(shape):
        alone = newton(
            lambda x, at=at: (x**3 - roots[at] ** 3, 3 * x**2), 0.05, 10.0, 10.0
        )
        assert alone[1] == found[1][at]


@settings(max_examples=150)
@given(
    root=st.floats(-1e3, 1e3),
    width=st.floats(1e-6, 1e6),
    off=st.floats(0, 1),
    start=st.floats(0, 1),
    kinds=st.lists(st.sampled_from(["right", "flat", "nan", "lie"]), min_size=1),
    jump=st.floats(0, 1),
)
def test_newton_always_ends_around_the_root(root, width, off, start, kinds, jump):
    """Whatever it is told of the slopes of a monotone function with a jump."""
    lower, calls = root - off * width, 0

    def function(x):
        nonlocal calls
        kind = kinds[calls % len(kinds)]
        calls += 1
        value = np.cbrt(x - root) + np.where(x < root, -jump, jump)
        slopes = {"right": np.abs(x - root) ** (2 / 3), "flat": np.inf}
        slopes |= {"nan": np.nan, "lie": 1e-3 * (1 + x**2)}
        with np.errstate(divide="ignore"):
            return value, 1 / (3 * np.full_like(x, slopes[kind]))

    low, point, high, _ = newton(
        function, [lower], [lower + width], [lower + start * width]
    )
    inside = np.clip(root, lower, lower + width)
    near = 1e-14 * max(abs(inside), abs(lower)) + 1e-20 * width
    assert abs(point[0] - inside) <= near
    assert low[0] - near <= inside <= high[0] + near


def test_newton_leaves_its_arguments_alone():
    given_ = np.array([0.5, 0.5]), np.array([2.0, 2.0]), np.array([1.5, 0.7])
    newton_root(lambda x: (x - 1, np.ones_like(x)), *given_)
    assert [one.tolist() for one in given_] == [[0.5, 0.5], [2.0, 2.0], [1.5, 0.7]]


def test_what_a_function_computes_on_the_way_is_that_of_the_last_point():
    target = np.array([2.0, 1e-3, 7.0])  # found after different numbers of steps
    low, point, high, aux = newton_root_aux(
        lambda x: (x**3 - target, 3 * x**2, {"x": x.copy()}), 1e-9, [9.0] * 3, [5.0] * 3
    )
    np.testing.assert_array_equal(aux["x"], point)
    found = newton_root(lambda x: (x**3 - target, 3 * x**2), 1e-9, [9.0] * 3, [5.0] * 3)
    np.testing.assert_array_equal(found, (low, point, high))


@pytest.mark.parametrize("start", [1.0, 2.999999, 3.000001, 4.0])
def test_steep_slopes_beside_a_jump_do_not_leave_it_on_one_side(start):
    def function(x):
        return np.where(x < 3, -1.0, 1.0), np.full_like(x, 1e18), None

    def ends(over_jumps):
        low, _, high, _ = newton_root_aux(
            function, [0.5], [9.0], [start], over_jumps=over_jumps
        )
        return low[0], high[0]

    low, high = ends(over_jumps=True)
    assert low < 3 <= high
    assert high - low <= 1e-14 * 3
    low, high = ends(over_jumps=False)
    assert high - low > 1e-3  # each step is below rounding, and so the last one

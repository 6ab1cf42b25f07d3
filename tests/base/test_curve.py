import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimwave.base.curve import PiecewiseLinear
from trimwave.base.errors import InputError

POINTS = np.array([0.1, 0.3, 0.35, 0.8, 1.0])
VALUES = np.array([2.0, -1.0, 0.5, 0.5, 4.0])


@pytest.fixture
def curve():
    return PiecewiseLinear(POINTS, VALUES)


@pytest.fixture
def curves():
    """Return three curves, one a client, on the same points."""
    return PiecewiseLinear(POINTS, np.stack([VALUES, VALUES**2, -3 * VALUES], axis=1))


def test_between_its_points_it_interpolates(curve):
    at = np.linspace(0.1, 1.0, 901)
    np.testing.assert_allclose(curve(at), np.interp(at, POINTS, VALUES), atol=1e-14)


def test_outside_it_goes_on_with_the_nearest_slope(curve):
    # -15 per unit before 0.3, 17.5 after 0.8.
    np.testing.assert_allclose(curve(np.array([0.0, -1.1])), [3.5, 20.0])
    np.testing.assert_allclose(curve(np.array([1.2, 3.0])), [7.5, 39.0])


def test_the_slope_is_the_right_one_at_a_bend(curve):
    inside = np.array([-5.0, 0.2, 0.31, 0.5, 0.9, 7.0])
    expected = [-15.0, -15.0, 30.0, 0.0, 17.5, 17.5]
    np.testing.assert_allclose(curve.slope(inside), expected, atol=1e-12)
    at_bends = curve.slope(POINTS)
    np.testing.assert_allclose(at_bends, [-15.0, 30.0, 0.0, 17.5, 17.5], atol=1e-12)
    step = (curve(inside + 1e-6) - curve(inside - 1e-6)) / 2e-6
    np.testing.assert_allclose(step, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (4, 3), (2, 4, 3)])
def test_each_client_has_its_own_curve(curves, shape):
    at = np.random.default_rng(0).uniform(-0.5, 1.5, shape)
    values, slopes = curves(at), curves.slope(at)
    assert values.shape == slopes.shape == shape
    for k in range(3):
        alone = PiecewiseLinear(POINTS, curves.values[:, k])
        np.testing.assert_allclose(values[..., k], alone(at[..., k]), rtol=1e-13)
        np.testing.assert_allclose(slopes[..., k], alone.slope(at[..., k]), atol=1e-12)


def test_one_curve_serves_any_shape(curve):
    at = np.random.default_rng(1).uniform(-0.5, 1.5, (2, 4, 7))
    np.testing.assert_array_equal(curve(at)[1, 2], curve(at[1, 2]))
    np.testing.assert_array_equal(curve.slope(at)[1, 2], curve.slope(at[1, 2]))


def test_it_knows_whether_it_rises_and_bends_upwards():
    def line(*values):
        return PiecewiseLinear(np.arange(len(values)), np.array(values, dtype=float))

    assert line(0, 1, 1, 2).rises and not line(0, 1, 0.99, 2).rises
    assert line(3, 1, 0, 0, 4).is_convex and not line(0, 1, 1.9).is_convex
    assert line(0.1, 0.2, 0.3, 0.4).is_convex  # 0.3 - 0.2 < 0.2 - 0.1, by rounding
    assert not line(0, 1, 2 - 1e-9).is_convex
    both = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 1.9]])
    assert not PiecewiseLinear(np.arange(3), both).is_convex  # one of two is not
    assert not PiecewiseLinear(np.arange(3), -both).rises


def largest_convex_below(points, values):
    """Return the least of all chords over each point: the definition of the hull."""
    found = values.copy()
    for a, b in itertools.combinations(range(points.size), 2):
        for at in range(a, b + 1):
            share = (points[at] - points[a]) / (points[b] - points[a])
            found[at] = min(found[at], (1 - share) * values[a] + share * values[b])
    return found


@settings(max_examples=100)
@given(
    gaps=st.lists(st.floats(0.01, 10), min_size=1, max_size=8),
    seed=st.integers(0, 10**6),
    clients=st.integers(0, 3),
)
def test_the_minorant_is_the_largest_convex_curve_below(gaps, seed, clients):
    points = np.cumsum([-1.0, *gaps])
    shape = (points.size, clients) if clients else points.shape
    values = np.random.default_rng(seed).normal(size=shape)
    curve = PiecewiseLinear(points, values)
    hull = curve.convex_minorant()
    assert hull.is_convex
    assert np.all(hull.values <= values + 1e-12)
    np.testing.assert_array_equal(hull.points, points)
    columns = values.reshape(points.size, -1).T
    expected = np.stack([largest_convex_below(points, one) for one in columns], axis=1)
    np.testing.assert_allclose(hull.values, expected.reshape(shape), atol=1e-12)
    again = hull.convex_minorant()
    np.testing.assert_allclose(again.values, hull.values, atol=1e-12)


def test_a_convex_curve_is_its_own_minorant():
    points = np.array([0.0, 0.2, 0.25, 0.9, 1.0])
    convex = PiecewiseLinear(points, points**2)
    np.testing.assert_array_equal(convex.convex_minorant().values, convex.values)


def test_the_inverse_is_where_a_value_is_first_taken():
    flat = PiecewiseLinear(np.arange(5.0), np.array([1.0, 2.0, 2.0, 2.0, 5.0]))
    values = np.array([-1.0, 1.0, 1.5, 2.0, 2.3, 5.0, 11.0])
    expected = [-2.0, 0.0, 0.5, 1.0, 3.1, 4.0, 6.0]
    np.testing.assert_allclose(flat.inverse(values), expected, atol=1e-14)
    ends = PiecewiseLinear(np.arange(4.0), np.array([0.0, 0.0, 1.0, 1.0]))
    assert ends.inverse(np.array([-0.1, 0.0, 1.0])).tolist() == [-np.inf, -np.inf, 2.0]
    assert ends.inverse(np.array([1.1])).tolist() == [np.inf]


def test_the_inverse_of_each_clients_own_curve():
    values = np.cumsum(np.random.default_rng(2).uniform(0.1, 1, (5, 3)), axis=0)
    curves = PiecewiseLinear(POINTS, values)
    at = np.random.default_rng(3).uniform(-0.5, 1.5, (4, 3))
    np.testing.assert_allclose(curves.inverse(curves(at)), at, atol=1e-13)


def test_taking_some_clients_takes_their_curves(curve, curves):
    some = np.array([2, 0])
    assert curve.take(some) is curve
    taken = curves.take(some)
    np.testing.assert_array_equal(taken.values, curves.values[:, [2, 0]])
    at = np.array([0.2, 0.7, -1.0])
    np.testing.assert_array_equal(taken(at[some]), curves(at)[some])


@pytest.mark.parametrize(
    ("points", "values", "message"),
    [
        ([0.0], [1.0], "two points or more"),
        ([0.0, 1.0], [1.0], "a value at each"),
        ([0.0, 1.0], [1.0, 2.0, 3.0], "a value at each"),
        ([[0.0, 1.0]], [1.0, 2.0], "two points or more"),
        ([0.0, 1.0], np.zeros((2, 3, 4)), r"\[N\] or \[N, K\], got shape \(2, 3, 4\)"),
        ([0.0, 0.5, 0.5], [1.0, 2.0, 3.0], r"ascend, got \[0.0, 0.5, 0.5\]"),
        ([1.0, 0.0], [1.0, 2.0], "finite and ascend"),
        ([0.0, np.inf], [1.0, 2.0], "finite and ascend"),
        ([np.nan, 1.0], [1.0, 2.0], "finite and ascend"),
        ([0.0, 1.0], [1.0, np.nan], "values must be finite"),
        ([0.0, 1.0], [[1.0, 2.0], [np.inf, 3.0]], "values must be finite"),
    ],
)
def test_what_is_no_curve_is_refused(points, values, message):
    with pytest.raises(InputError, match=message):
        PiecewiseLinear(np.array(points), np.array(values))


def test_lists_of_integers_are_taken_as_numbers():
    assert PiecewiseLinear([0, 2], [1, 2])(np.array([1])).tolist() == [1.5]

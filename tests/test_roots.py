import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimwave.roots import bracket_root


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


@settings(derandomize=True, deadline=None, max_examples=60)
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

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimwave.base.quantity import Quantity, plain

LENGTH = Quantity(
    unit="m",
    least=1.0,
    too_low="nothing is shorter",
    most=1000.0,
    too_high="nothing is longer",
    usual=(10.0, 500.0),
    others={"in km": lambda value: 1000 * value, "in cm": lambda value: value / 100},
    none_is=0.0,
    has_markers=True,
)


def test_a_value_that_cannot_be_is_told_with_what_was_meant():
    assert LENGTH.fault(0.3) == (
        "must be in m, got 0.3: nothing is shorter; if it is in km, write 300"
    )
    assert LENGTH.fault(2000.0) == (
        "must be in m, got 2000: nothing is longer; if it is in cm, write 20"
    )
    assert LENGTH.fault(-5.0) == "must be in m, got -5: nothing is shorter"
    assert LENGTH.fault(2147483647.0) == (
        "must be in m, got 2147483647: devices write that where they have no "
        "measurement"
    )


def test_a_value_that_is_odd_is_doubted():
    assert LENGTH.doubt(600.0) == "is 600, unusual in m"
    assert LENGTH.doubt(5.0) == "is 5, unusual in m"
    assert LENGTH.doubt(255.0) == (
        "is 255 m, which devices write where they have no measurement"
    )


@pytest.mark.parametrize("value", [10.0, 100.0, 500.0, 0.0])
def test_a_usual_value_is_neither(value):
    assert LENGTH.fault(value) is None
    assert LENGTH.doubt(value) is None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_cannot_be(value):
    assert LENGTH.fault(value) is not None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4e9, "4e9"),
        (0.5, "0.5"),
        (2147483647.0, "2147483647"),
        (-1e12, "-1e12"),
        (1e-9, "1e-9"),
        (89.6, "89.6"),
        (100.0, "100"),
        (8048576000.0, "8048576000"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_written_plainly(value, text):
    assert plain(value) == text


@given(st.floats(-1e300, 1e300))
def test_a_plain_number_is_the_number(value):
    assert float(plain(value)) == pytest.approx(value, rel=1e-9)

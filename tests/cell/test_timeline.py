"""Samples that repeat on a clock, against small time steps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimwave.cell.timeline import Timeline

LINE = Timeline(starts_s=np.array([0.0, 1.0, 2.5]), period_s=4.0)
STEP_S = 1e-3


def by_steps(per_s, clock_s, amount):
    """Take small steps until enough is done."""
    done, steps = 0.0, 0
    while done < amount:
        within_s = (clock_s + (steps + 0.5) * STEP_S) % 4
        done += per_s[0 if within_s < 1 else 1 if within_s < 2.5 else 2] * STEP_S
        steps += 1
    return steps * STEP_S


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.5]), min_size=3, max_size=3).filter(any),
    st.floats(0, 9),
    st.floats(1e-2, 15),
)
def test_what_is_done_by_when(per_s, clock_s, amount):
    found_s = LINE.elapsed_s(np.array(per_s), clock_s, amount)
    after_s = by_steps(per_s, clock_s, amount * (1 + 1e-9) + 1e-9)
    before_s = by_steps(per_s, clock_s, amount - max(per_s) * 2 * STEP_S)
    assert before_s - 1e-9 <= found_s <= after_s + 2 * STEP_S


def test_by_hand():
    half = np.array([0.0, 2.0, 0.0])  # 3 in each cycle, from 1.0 to 2.5
    assert LINE.elapsed_s(half, 0.0, 3.0) == 2.5
    assert LINE.elapsed_s(half, 0.0, 6.0) == 6.5
    assert LINE.elapsed_s(half, 2.0, 1.0) == 0.5
    assert LINE.elapsed_s(half, 2.0, 1.5) == 3.25  # 0.5 are left, in the next cycle
    assert LINE.elapsed_s(half, 3.0, 300.0) == 399 + 0.5
    assert LINE.elapsed_s(half, 3.0, 0.0) == 0.0


def test_a_speed_that_does_not_change_is_a_quotient():
    rng = np.random.default_rng(0)
    for amount, per_s, clock_s in rng.uniform(0, 50, (200, 3)):
        found_s = LINE.elapsed_s(np.full(3, per_s), clock_s, amount)
        assert found_s == pytest.approx(amount / per_s, rel=1e-12)
    one = Timeline(starts_s=np.zeros(1), period_s=1.0)
    assert one.elapsed_s(np.array([3.0]), 0.0, 2.0) == 2 / 3  # to the last digit


@pytest.mark.parametrize("cycle", [0, 1, 1000, 10**6])
@pytest.mark.parametrize(("sample", "start_s"), [(0, 0.0), (1, 1.0), (2, 2.5)])
def test_a_sample_holds_from_its_start_on_whatever_rounding_does(
    cycle, sample, start_s
):
    clock_s = 4.0 * cycle + start_s
    for near_s in (clock_s, np.nextafter(clock_s, 0), clock_s + 0.5):
        assert LINE.sample_at(float(near_s)) == sample
    if clock_s:
        assert LINE.sample_at(clock_s - 1e-3) == (sample - 1) % 3


def test_when_a_sample_comes_next():
    first, last = np.array([True, False, False]), np.array([False, False, True])
    assert LINE.next_s(0.5, first) == 0.5
    assert LINE.next_s(1.5, first) == 4.0
    assert LINE.next_s(41.5, last) == 42.5
    assert LINE.next_s(43.9, last) == 43.9
    tenths = Timeline(starts_s=0.1 * np.arange(3), period_s=0.1 * 3)
    for cycle in range(10_000):
        clock_s = tenths.next_s(cycle * (0.1 * 3) + 0.15, last)
        assert tenths.sample_at(clock_s) == 2

import numpy as np
import pytest
from made_up import FAST, SLOW, cells_of, run_with

from trimwave.report.summary import numbers_of
from trimwave.report.target import choose_target, first_at_or_below, target_lines


def test_the_target_of_one_seed_by_hand():
    results = {"fast": [run_with(FAST)], "slow": [run_with(SLOW, step_s=10.0)]}
    target = choose_target(results)
    assert target.loss_full == (1.9,)
    assert target.set_by == ("slow",)
    assert target.left_out == ()
    numbers = numbers_of(results, target)
    for label, number, time_s in (("fast", 2, 2.0), ("slow", 4, 40.0)):
        assert numbers[label]["target_rounds"].per_seed == (number,)
        assert numbers[label]["target_s"].per_seed == (time_s,)
    (line,) = target_lines(results, target)
    assert "loss, full 1.9000;" in line and "80 %" in line and "(slow)" in line


@pytest.mark.parametrize(
    ("num_rounds", "early"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 4), (6, 5), (10, 8)]
)
def test_early_is_four_fifths_rounded_up(num_rounds, early):
    losses = [2.0 - 0.1 * number for number in range(num_rounds)]
    target = choose_target({"a": [run_with(losses)], "b": [run_with(losses)]})
    assert target.loss_full == (losses[early - 1],)


def test_every_seed_has_its_own_target():
    """Test rows differ by seed: 1.9 is easy in seed 0, out of reach in seed 1."""
    harder = [loss + 1.0 for loss in FAST]
    results = {
        "fast": [run_with(FAST), run_with(harder, untrained=3.5)],
        "slow": [run_with(SLOW), run_with([3.2, 3.1, 2.45, 2.4, 2.3], 3.0, 3.5)],
    }
    target = choose_target(results)
    assert target.loss_full == (1.9, 2.5)
    assert target.set_by == ("slow", "fast")
    assert target.mean_loss_full == pytest.approx(2.2)
    numbers = numbers_of(results, target)
    assert numbers["fast"]["target_rounds"].per_seed == (2, 3)
    assert numbers["slow"]["target_s"].per_seed == (4.0, 9.0)
    assert numbers["slow"]["target_s"].mean == 6.5
    assert numbers["slow"]["target_s"].deviation == pytest.approx(5 / np.sqrt(2))
    rows = cells_of(results)
    assert rows["fast"]["targetround"] == "2.50+-0.71"
    assert rows["slow"]["targets"] == "6.50+-3.54"
    (line,) = target_lines(results, target)
    assert "2.2000, mean of 2 seeds" in line and "(slow, fast)" in line


def test_a_target_is_met_with_equality_and_once():
    records = run_with([2.0, 1.5, 1.8, 1.5])
    assert first_at_or_below(records, 1.5)["round"] == 2
    assert first_at_or_below(records, 1.49) is None


def test_a_method_that_never_gets_there_shows_a_bound():
    stuck = run_with([2.6, 2.5, 2.7, 2.6, 2.6], step_s=3.0)
    results = {"fast": [run_with(FAST)], "stuck": [stuck]}
    target = choose_target(results)
    assert target.loss_full == (1.5,)
    assert target.left_out == ("stuck",)  # 2.5 is the untrained loss
    measure = numbers_of(results, target)["stuck"]["target_s"]
    assert measure.per_seed == (None,)
    assert (measure.mean, measure.is_exceeded) == (15.0, True)
    rows = cells_of(results)
    assert rows["stuck"]["targetround"] == ">5"
    assert rows["stuck"]["targets"] == ">15.0"
    assert "no say in the target: stuck" in target_lines(results, target)[1]


def test_one_seed_that_never_gets_there_makes_the_mean_a_bound():
    stuck = [run_with([2.0, 1.4, 1.3, 1.2, 1.2]), run_with([2.6] * 5)]
    results = {"fast": [run_with(FAST)] * 2, "half": stuck}
    target = choose_target(results)
    assert target.loss_full == (1.5, 1.5)
    assert target.left_out == ("half",)
    measure = numbers_of(results, target)["half"]["target_rounds"]
    assert measure.per_seed == (2.0, None)
    assert measure.mean == 3.5 and measure.deviation is None
    assert cells_of(results)["half"]["targetround"] == ">3.50"
    assert "of some seed" in target_lines(results, target)[1]


def test_without_any_progress_there_is_no_target():
    results = {"a": [run_with([2.5, 2.6])], "b": [run_with([2.7, 2.8])]}
    assert choose_target(results) is None
    (line,) = target_lines(results, None)
    assert line.startswith("no common target: the first 80 % of the rounds")
    rows = cells_of(results)
    assert "targets" not in rows["a"]
    assert rows["a"]["virtuals"] == "2.00"


def test_a_single_method_has_no_target():
    results = {"fast": [run_with(FAST), run_with(SLOW)]}
    assert choose_target(results) is None
    assert target_lines(results, None) == []
    assert list(cells_of(results)["fast"])[:2] == ["virtuals", "meanbeta"]


def test_the_target_does_not_depend_on_the_order_of_methods_or_seeds():
    slow = [3.2, 3.1, 2.45, 2.4, 2.3]
    results = {
        "fast": [run_with(FAST), run_with(SLOW)],
        "slow": [run_with(SLOW), run_with(slow, untrained=2.5)],
        "stuck": [run_with([2.6] * 5), run_with(FAST)],
    }
    swapped = {label: results[label][::-1] for label in reversed(results)}
    one, other = choose_target(results), choose_target(swapped)
    assert one.loss_full == other.loss_full[::-1]
    assert one.set_by == other.set_by[::-1]
    assert one.left_out == other.left_out == ("stuck",)

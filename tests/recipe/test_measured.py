"""Measured curves from tables, and what a plan makes of them."""

import warnings

import numpy as np
import pytest
from helpers import make_problem, with_cell

from trimwave.base.errors import InputError
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.limits import limits_of
from trimwave.recipe.measured import (
    damage_of,
    emulator_time_of,
    measured_damage,
    measured_time,
)
from trimwave.recipe.recipe import merge_overrides
from trimwave.solvers import Exact


@pytest.fixture
def table(tmp_path):
    def _table(header, *rows):
        path = tmp_path / "measured.csv"
        path.write_text("\n".join([header, *rows, ""]))
        return path

    return _table


def test_times_are_relative_to_the_whole_emulators(table):
    path = table("kept,time_s", "1,0.4", "0.25,0.2", "0.5,0.3")
    curve = emulator_time_of(path, 8)
    np.testing.assert_allclose(curve(np.array([0.25, 0.5, 1.0])), [0.5, 0.75, 1.0])
    # Below the points the first piece goes on: 0.25 less at 0.
    np.testing.assert_allclose(curve(np.array([0.0, 0.125])), [0.25, 0.375])


def test_no_time_is_negative_below_the_points(table):
    steep = emulator_time_of(table("kept,time_s", "0.2,0.01", "0.4,0.5", "1,1"), 8)
    assert steep(np.array([0.0]))[0] == 0.0
    Environment.from_config(Config())  # `Cell` takes it
    with_cell(make_problem(0), emulator_time=steep)


def test_each_client_may_have_a_curve(table):
    rows = ("0,0.5,1", "1,1,3", "0,1,2", "1,0.5,2.4")
    curve = emulator_time_of(table("client,kept,time_s", *rows), 2)
    np.testing.assert_allclose(curve(np.array([0.5, 0.5])), [0.5, 0.8])


def test_noise_that_makes_a_time_fall_is_said_and_mended(table):
    path = table("kept,time_s", "0.2,0.5", "0.5,0.4", "1,1")
    with pytest.warns(UserWarning, match="`time_s` falls as more is kept in places"):
        curve = emulator_time_of(path, 8)
    np.testing.assert_allclose(curve(np.array([0.2, 0.5, 1.0])), [0.5, 0.5, 1.0])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["kept,time_s", "0.2,1", "0.9,2"], "a line with kept = 1"),
        (["kept,time_s", "1,1"], "one line; a curve needs two"),
        (["kept,time_s", "1,1", "0.5,1", "0.5,2"], "line 4, column `kept`: 0.5 is"),
        (["kept,time_s,client", "1,1,0", "0.5,1,0"], "the cell has the clients 0 to 1"),
        (
            ["kept,time_s,client", "1,1,0", "0.5,1,0", "1,1,1", "0.4,1,1"],
            "0.4 is no fraction of client 0",
        ),
        (["kept,time_s", "1,400000000", "0.5,2"], "must be in s"),
        (["kept,times", "1,1", "0.5,2"], "did you mean `time_s`"),
    ],
)
def test_a_table_of_times_that_is_none(table, rows, said):
    with pytest.raises(InputError, match=said):
        emulator_time_of(table(*rows), 2)


def test_damage_is_convex_and_does_not_fall(table):
    rows = ("0.8,2.0", "0,0", "0.2,0.3", "0.4,0.2", "0.6,1.0")
    with pytest.warns(UserWarning, match="`damage` bends the wrong way"):
        curve = damage_of(table("prune_rate,damage", *rows))
    assert curve.is_convex
    assert curve.rises
    at = np.array([0.0, 0.2, 0.4, 0.6, 0.8])
    assert np.all(curve(at) <= np.array([0, 0.3, 0.2, 1.0, 2.0]) + 1e-12)
    np.testing.assert_allclose(curve(at[[0, 2, 4]]), [0.0, 0.2, 2.0])


def test_damage_that_is_convex_stays_as_it_is(table):
    rows = ("0,0", "0.2,0.1", "0.4,0.4", "0.8,2")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = damage_of(table("prune_rate,damage", *rows))
    np.testing.assert_allclose(curve.values, [0, 0.1, 0.4, 2])


def test_a_curve_that_was_not_measured_far_enough_is_said(table, tmp_path):
    damage = table("prune_rate,damage", "0.3,0", "0.6,1").rename(tmp_path / "d.csv")
    times = table("kept,time_s", "0.5,0.5", "1,1").rename(tmp_path / "t.csv")
    config = merge_overrides(
        Config(), [f"limits.damage={damage}", f"cell.emulator_time={times}"]
    )
    with pytest.warns(UserWarning, match=r"from 0.3 to 0.6, and C4 allows 0.2 to 0.8"):
        measured_damage(config)
    with pytest.warns(UserWarning, match=r"`kept` was measured from 0.5 to 1, .* 0.2"):
        measured_time(config, 2)


def test_a_recipe_names_them(table, tmp_path):
    times = table("kept,time_s", "0.2,0.2", "1,1").rename(tmp_path / "times.csv")
    damage = table("prune_rate,damage", "0,0", "1,1")
    changes = [f"cell.emulator_time={times}", f"limits.damage={damage}"]
    config = merge_overrides(Config(), changes)
    environment = Environment.from_config(config)
    assert {*environment.facts} >= {"emulator_time", "damage"}
    assert environment.emulator_time is not None
    # Both are what eq. (5) and the letter's C5 say, so the optimum is the same.
    assert limits_of(config).damage is not None
    plain = make_problem(0)
    alike = with_cell(plain, emulator_time=environment.emulator_time)
    found, same = (Exact().solve(one).latency_s for one in (plain, alike))
    assert same == pytest.approx(found, rel=1e-9)
    other = times.read_text().replace("0.2,0.2", "0.2,0.3")
    before = dict(environment.facts)
    times.write_text(other)
    after = Environment.from_config(config)
    assert after.facts["emulator_time"] != before["emulator_time"]
    assert after.emulator_time is not None
    np.testing.assert_allclose(after.emulator_time(np.array([0.2])), [0.3])

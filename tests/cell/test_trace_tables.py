"""Traces as people spoil them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sheets import Sheet, rewritten, spoiled

from trimwave.base.errors import InputError
from trimwave.cell.fading import Trace

GAIN_DB = -60.0 - np.arange(12).reshape(3, 2, 2)
SHEET = Sheet(
    header=("round", "client", "gain_down_db", "gain_up_db"),
    rows=tuple(
        (str(at), str(k), str(GAIN_DB[at, 0, k]), str(GAIN_DB[at, 1, k]))
        for at in range(3)
        for k in range(2)
    ),
)


def read(folder, sheet):
    path = folder / "trace.csv"
    path.write_bytes(sheet.content())
    return Trace.from_csv(path).gain_db


@settings(max_examples=40)
@given(st.data())
def test_rows_in_any_order_and_numbered_from_anywhere_are_the_same(
    tmp_path_factory, data
):
    start = data.draw(st.sampled_from([0, 1, 7]))
    rows = data.draw(st.permutations(SHEET.rows))
    rows = tuple((str(int(row[0]) + start), *row[1:]) for row in rows)
    sheet = data.draw(rewritten(replace(SHEET, rows=rows)))
    found = read(tmp_path_factory.mktemp("same"), sheet)
    np.testing.assert_array_equal(found, GAIN_DB)


@settings(max_examples=60)
@given(spoiled(SHEET))
def test_a_spoiled_trace_is_one_error_with_its_line(tmp_path_factory, case):
    sheet, line = case
    with pytest.raises(InputError, match=rf"trace\.csv, line {line}\b"):
        read(tmp_path_factory.mktemp("spoiled"), sheet)


@pytest.mark.parametrize("gone", range(6))
def test_a_row_that_is_missing_is_named(tmp_path, gone):
    rows = SHEET.rows[:gone] + SHEET.rows[gone + 1 :]
    said = f"no gain for round {gone // 2}, client {gone % 2}; .* in line "
    with pytest.raises(InputError, match=said):
        read(tmp_path, replace(SHEET, rows=rows))


@pytest.mark.parametrize("again", range(6))
def test_a_row_that_is_there_twice_is_named(tmp_path, again):
    said = f"line 8: two gains for round {again // 2}, client {again % 2}, the first in"
    with pytest.raises(InputError, match=f"{said} line {again + 2}; keep one"):
        read(tmp_path, replace(SHEET, rows=(*SHEET.rows, SHEET.rows[again])))


def test_a_round_that_is_missing_is_named(tmp_path):
    rows = SHEET.rows[:2] + SHEET.rows[4:]
    with pytest.raises(InputError, match="line 4: after round 0 comes round 2"):
        read(tmp_path, replace(SHEET, rows=rows))


def test_a_trace_of_nothing_but_holes_takes_no_memory(tmp_path):
    many = 20_000
    rows = tuple((str(at), str(at), "-60", "-60") for at in range(many))
    with pytest.raises(InputError, match="no gain for round 0, client 1;"):
        read(tmp_path, replace(SHEET, rows=rows))

"""Traces as people spoil them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sheets import Sheet, rewritten, spoiled

from trimwave.base.errors import InputError
from trimwave.cell.trace_file import read_trace

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
    return read_trace(path).links


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


HEADER = "round,client,gain_down_db,gain_up_db\n"


def trace_file(tmp_path, body, header=HEADER):
    path = tmp_path / "trace.csv"
    path.write_text(header + body)
    return path


def test_trace_replays_and_wraps_in_any_row_order(tmp_path):
    rows = "5,1,-63,-73\n4,0,-60,-70\n5,0,-62,-72\n4,1,-61,-71\n"
    trace = read_trace(trace_file(tmp_path, rows))
    for index, down, up in ((0, [-60, -61], [-70, -71]), (1, [-62, -63], [-72, -73])):
        for turn in (index, index + 2, index + 10):
            gains_db = trace.links[trace.sample_of(turn, 0.0)]
            np.testing.assert_array_equal(gains_db, [down, up])


def test_trace_of_another_number_of_clients_is_refused(tmp_path):
    trace = read_trace(trace_file(tmp_path, "0,0,-60,-60\n"))
    with pytest.raises(InputError, match=r"1 clients, the cell 8; .*num_clients"):
        trace.require_clients(8)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "0,0,-60,-60\n0,1,-60,-60\n\n1,0,-60,-60\n",
            "no gain for round 1, client 1; it begins in line 5",
        ),
        ("1,0,-60,-60\n3,0,-60,-60\n", "line 3: after round 1 comes round 3"),
        ("0,0,-60,-60\n0,1,x,-60\n", "line 3, column `gain_down_db`: .* got 'x'"),
        ("0,0,-60\n", "line 2: 3 cells for 4 columns; `gain_up_db` has none"),
        ("", "no rows"),
        ("nan,0,-60,-60\n", "column `round`"),
        ("inf,0,-60,-60\n", "column `round`"),
        ("0.5,0,-60,-60\n", "column `round`: must be whole, got 0.5"),
        (
            "0,0,-60,-60\n1,0,-61,-61\n\n# again\n0,0,-62,-62\n",
            "line 6: two gains for round 0, client 0, the first in line 2",
        ),
        ("0,0,60,-60\n", "line 2, column `gain_down_db`: .* loss with the wrong sign"),
        ("0,0,-60,1e-9\n", "`gain_up_db`.* if it is a linear ratio, write -90"),
        ("0,0,-60,-2147483648\n", "`gain_up_db`: .* have no measurement"),
    ],
)
def test_a_broken_trace_is_named(tmp_path, body, message):
    path = trace_file(tmp_path, body)
    with pytest.raises(InputError, match=message) as caught:
        read_trace(path)
    assert str(path) in str(caught.value)


def test_a_trace_without_a_column_or_a_file_is_named(tmp_path):
    path = trace_file(tmp_path, "0,0,1\n", header="round,client,gain_down_db\n")
    with pytest.raises(InputError, match="no column `gain_up_db`"):
        read_trace(path)
    with pytest.raises(InputError, match=r"nowhere\.csv: cannot be read"):
        read_trace(tmp_path / "nowhere.csv")

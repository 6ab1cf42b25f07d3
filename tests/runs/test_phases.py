import math
from dataclasses import fields, replace

import pytest

from trimwave.runs.phases import (
    Phases,
    median_errors,
    phases_of,
    read_phases,
    write_phases,
)

RECORD = {
    "round": 3,
    "plan": {
        "down_s": [4.0, 0.0, 2.0],
        "compute_s": [1.0, 0.0, 3.0],
        "up_s": [0.5, 0.0, 0.25],
        "down_bits": [8e6, 0.0, 4e6],
        "up_bits": [8e5, 0.0, 4e5],
        "flops": [1e9, 0.0, 3e9],
    },
}
TOLD = {"asked_at_s": 10.0, "fetched_at_s": 15.0, "done_s": 17.0}
TOLD |= {"answered_at_s": 19.0, "train_s": 1.5, "flops": 9e8}
TIMING = {"clients": {"0": TOLD, "1": {}, "2": {**TOLD, "answered_at_s": 20.0}}}


def passed(client, way, from_s, to_s):
    """Say that a link carried bytes for half of the time, 100 a second."""
    assert (from_s, to_s) == ((10.0, 15.0), (17.0, 19.0 + client / 2))[way]
    return (to_s - from_s) / 2, 100 * (to_s - from_s)


def test_a_round_by_hand():
    first, last = phases_of(RECORD, TIMING, passed)
    assert (first.round, first.client, last.client) == (3, 0, 2)
    assert (first.down_predicted_s, first.down_measured_s) == (4.0, 2.5)
    assert (first.compute_predicted_s, first.compute_measured_s) == (1.0, 1.5)
    assert (first.up_predicted_s, first.up_measured_s) == (0.5, 1.0)
    assert (first.down_planned_bytes, first.down_passed_bytes) == (1e6, 500.0)
    assert (first.up_planned_bytes, first.up_passed_bytes) == (1e5, 200.0)
    assert (first.planned_flops, first.counted_flops) == (1e9, 9e8)
    assert (first.predicted_s("round"), first.measured_s("round")) == (5.5, 5.0)
    assert (first.wall_s, first.between_s) == (9.0, 4.0)
    assert last.up_measured_s == 1.5


def test_rows_are_read_as_they_were_written(tmp_path):
    rows = phases_of(RECORD, TIMING, passed)
    assert read_phases(tmp_path) == []
    write_phases(tmp_path, rows)
    assert read_phases(tmp_path) == rows


def test_median_errors_by_hand():
    zeros = {one.name: 0.0 for one in fields(Phases)} | {"round": 1, "client": 0}
    one = Phases(**zeros)  # type: ignore[arg-type]
    rows = [
        replace(one, down_predicted_s=10.0, down_measured_s=11.0, up_measured_s=3.0),
        replace(one, client=1, down_predicted_s=10.0, down_measured_s=8.0),
        replace(one, round=2, down_predicted_s=4.0, down_measured_s=6.0),
    ]
    errors = median_errors(rows)
    assert errors["down"] == pytest.approx(0.2)
    assert math.isnan(errors["compute"]) and math.isnan(errors["up"])
    assert errors["round"] == pytest.approx(0.4)  # of 14/10, 8/10, 6/4
    assert errors["slowest"] == pytest.approx((0.4 + 0.5) / 2)

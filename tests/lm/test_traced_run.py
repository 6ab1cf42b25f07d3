"""Real training over a trace with absent clients, begun twice."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_run import make_bench

from trimwave.lm.session import run_method

ROWS = [
    *("0,a,20,14", "0,c,24,18"),
    *("0.5,a,12,8", "0.5,b,20,12", "0.5,c,3,1"),
    *("1,b,22,16", "1,c,20,14"),
]


def test_a_run_over_a_trace_goes_on_where_it_stopped(tmp_path):
    trace = tmp_path / "trace.csv"
    trace.write_text("\n".join(["time_s,client,snr_down_db,snr_up_db", *ROWS]))
    changes = (f"radio.trace={trace}", "radio.trace_holes=absent", "rounds=3")
    bench = make_bench(tmp_path / "bench", changes=changes)
    whole = run_method(bench, bench.config, tmp_path / "whole")
    first = replace(bench.config, rounds=1)
    run_method(bench, first, tmp_path / "run")
    resumed = run_method(bench, bench.config, tmp_path / "run", resume=True)
    assert resumed == whole
    taken = [record["plan"]["scheduled"] for record in whole[1:]]
    assert taken[0] == [True, False, True]  # b is not there at second 0
    assert whole[1]["plan"]["client_ids"] == ["a", "b", "c"]
    assert whole[1]["client_train_loss"][1] is None
    for record in whole[1:]:
        assert record["round_s"] == pytest.approx(np.max(record["client_s"]))
    facts = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert facts["trace"].startswith("sha256:")

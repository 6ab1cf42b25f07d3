"""A small whole run against the records that it left before.

`python tests/lm/test_golden.py` writes them anew; a change of numbers belongs into
CHANGELOG. The model is random and the rows are sums, so nothing is downloaded.

What is planned (seconds, bits, FLOPs, shares) may differ in the last digits that
NumPy's kernels leave open; who ends last, where all end together, is one of them.
Losses come out of matrix products, which add in another order on another processor.
Measured with torch 2.13 on an x86-64 with AVX2: one or two threads; ATen's kernels
without AVX2; MKL_CBWR=COMPATIBLE; oneDNN at SSE4.1; OpenBLAS as for Nehalem; NumPy's
kernels without AVX2; all of these at once. Losses differed by 1.2e-7 of themselves at
the most and plans not at all; with 2 or 6 last digits more in every link's rate plans
differed by 1.5e-15. Arm and AVX-512 were not at hand, and AdamW's first steps turn the
sign of a tiny gradient into a whole step: hence the room that TRAINED leaves. A round
changes these losses by 1e-3 to 1e-2 of themselves.
"""

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_run import clients, make_bench, make_server

from trimwave.lm.local import LocalBackend
from trimwave.methods import parse_method
from trimwave.recipe.environment import Environment
from trimwave.runs.records import Run
from trimwave.runs.rounds import run_rounds

GOLDEN = Path(__file__).parent / "golden"
RUNS = {
    "jcpba": ("llama", ("align.initial_steps=2", "align.every_rounds=2")),
    "lora": ("gpt2", ()),
}
PLANNED, TRAINED = 1e-12, 1e-4
"""Largest relative difference of what is planned, and of what is trained."""
EXACT = {"round", "scheduled", "binding", "solver", "status"}
NOISE = {"kkt_residual"}
"""A measure of rounding: only its size means something."""


def lines_of(method, folder):
    """Run three rounds and return their records, a line each."""
    kind, changes = RUNS[method]
    bench = make_bench(folder / "bench", kind, changes)
    bench = replace(bench, config=replace(bench.config, method=method))
    server = make_server(bench, method)
    run = Run.create(folder / "run", bench.config, {})
    run_rounds(
        Environment.from_config(bench.config),
        parse_method(method),
        server,
        LocalBackend(server, clients(server)),
        run,
        num_rounds=3,
    )
    return [json.dumps(record) for record in run.records()]


def assert_alike(new, old, key):
    """Compare one value of a record with the one before."""
    assert type(new) is type(old), key
    if isinstance(old, dict):
        assert new.keys() == old.keys(), key
        for name in old.keys() - {"straggler"}:
            assert_alike(new[name], old[name], name)
        if "straggler" in old:  # who ends last by one digit is nobody's decision
            last_s = new["total_s"][new["straggler"]]
            assert last_s == new["latency_s"] == max(new["total_s"])
    elif isinstance(old, list):
        assert len(new) == len(old), key
        for one, other in zip(new, old, strict=True):
            assert_alike(one, other, key)
    elif key in NOISE and old is not None:
        assert 0 <= new < 1e-9, key
    elif isinstance(old, bool | str | None) or key in EXACT:
        assert new == old, key
    else:
        trained = key.startswith("loss_") or key.endswith("train_loss")
        assert new == pytest.approx(old, rel=TRAINED if trained else PLANNED), key


@pytest.mark.parametrize("method", RUNS)
def test_a_small_run_leaves_the_records_that_it_left_before(
    method, tmp_path, monkeypatch
):
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "cache"))
    new = lines_of(method, tmp_path)
    old = (GOLDEN / f"{method}.jsonl").read_text().splitlines()
    assert len(new) == len(old) == 4
    for line, before in zip(new, old, strict=True):
        assert_alike(json.loads(line), json.loads(before), "record")


def test_the_comparison_sees_what_it_should():
    record = json.loads((GOLDEN / "jcpba.jsonl").read_text().splitlines()[1])
    for key, factor in (("loss_full", 1 + 1e-2), ("virtual_s", 1 + 1e-6)):
        with pytest.raises(AssertionError, match=key):
            assert_alike(record | {key: record[key] * factor}, record, "record")
    assert_alike(record | {"loss_full": record["loss_full"] * (1 + 1e-4)}, record, "")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in RUNS:
        with tempfile.TemporaryDirectory() as place:
            os.environ["TRIMWAVE_CACHE"] = str(Path(place) / "cache")
            text = "\n".join(lines_of(name, Path(place))) + "\n"
            (GOLDEN / f"{name}.jsonl").write_text(text)
            print(f"wrote {GOLDEN.name}/{name}.jsonl")

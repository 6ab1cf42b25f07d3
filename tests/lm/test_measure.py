"""`trimwave measure` on a tiny model."""

import json

import numpy as np
import pytest
from tiny_run import make_bench

from trimwave.lm.measure import measure
from trimwave.lm.train.evaluate import Evaluator
from trimwave.recipe.measured import damage_of, emulator_time_of
from trimwave.report.measured_report import (
    MEANINGS,
    measured_table,
    save_measured,
    write_tables,
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(folder / "cache"))
        bench = make_bench(folder)
    return bench, measure(bench, 4, 2)


def test_from_the_most_pruned_to_the_whole_emulator(measured):
    bench, found = measured
    assert found.kept[-1] == 1.0
    assert np.all(np.diff(found.kept) > 0)
    assert found.kept[0] == pytest.approx(1 - 0.8, abs=0.1)
    assert np.all(found.time_s > 0)
    assert found.damage[-1] == 0.0
    whole = Evaluator(bench.public_rows, bench.pad_id, bench.config.train)
    assert found.loss[-1] == pytest.approx(whole.loss(bench.split), rel=1e-6)
    assert found.speed_flops_per_s == found.flops / found.time_s[-1]


@pytest.mark.filterwarnings("ignore:.*in places")
def test_its_tables_are_what_recipes_read(measured, tmp_path):
    _, found = measured
    write_tables(found, tmp_path)
    curve = emulator_time_of(tmp_path / "emulator_time.csv", 3)
    assert curve(np.array([1.0]))[0] == pytest.approx(1.0)
    assert damage_of(tmp_path / "damage.csv").rises
    lines = measured_table(found, 80)
    assert lines[0].split() == " ".join(MEANINGS).split()
    assert len(lines) == 2 + len(found.kept)
    assert max(map(len, lines)) <= 80
    json.dumps({name: one.tolist() for name, one in found.arrays().items()})


def test_its_picture(measured, tmp_path):
    pytest.importorskip("matplotlib")
    write_tables(measured[1], tmp_path)
    said = save_measured(measured[1], "a title", tmp_path)
    assert said == f"picture  {tmp_path / 'measured.png'}"
    assert (tmp_path / "measured.png").read_bytes().startswith(b"\x89PNG")

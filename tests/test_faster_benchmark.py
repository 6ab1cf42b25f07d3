import argparse
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from trimwave.recipe.situation import costs_from, shape_named

pytest.importorskip("scipy")
pytest.importorskip("torch")
pytest.importorskip("transformers")

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def faster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        found = argparse.Namespace(**runpy.run_path(str(BENCHMARKS / "faster.py")))
        # In place of a model that is loaded, and rows that are read.
        patch.setitem(found.small_clients.__globals__, "build_workbench", no_model)
        yield found


def no_model(config):
    costs = costs_from(config, shape_named(config.model.name), 0.1)
    return argparse.Namespace(costs=costs)


@pytest.fixture
def asked(tmp_path):
    return argparse.Namespace(
        data="gsm_symbolic", rows=4, clients=3, rounds=2, steps=2, out=tmp_path, set=[]
    )


def record(stage, flops, down_bits):
    plan = {
        "flops": flops,
        "down_bits": down_bits,
        "up_bits": down_bits,
        "scheduled": [one > 0 for one in flops],
        "install_bits": [1e9] * 3,
    }
    return {"stage": stage, "plan": plan}


def test_every_variant_can_be_run_and_priced_on_every_cell(faster, asked):
    records = [
        {},
        record(0, [2e12, 0, 2e12], [1e7, 0, 1e7]),
        record(0, [1e12] * 3, [1e7] * 3),
    ]
    for variant in faster.VARIANTS:
        config = faster.config_of(variant, asked, seed=0)
        assert (config.rounds, config.cell.num_clients) == (2, 3)
        for cell in faster.CELLS:
            own = faster.on_cell(config, cell, 3)
            without = faster.priced(records, own, False, True)
            with_it = faster.priced(records, own, True, True)
            assert 0 == without[0] < without[1] < without[2]
            assert np.diff(with_it) == pytest.approx(np.diff(without))
            no_states = faster.priced(records, own, False, False)
            assert no_states[1] == without[1] and no_states[2] > without[2]


def test_every_third_client_is_too_small(faster, asked):
    table = faster.small_clients(asked, faster.config_of("lora", asked, 0))
    have = [float(line.split(",")[0]) for line in table.read_text().split()[1:]]
    assert have[0] == have[1] > 1.2 * have[2]


def test_a_loss_is_reached_on_a_straight_line(faster):
    losses, seconds = [4.0, 2.0, 1.0], [10.0, 20.0, 40.0]
    assert faster.reached_s(losses, seconds, 3.0) == 15.0
    assert faster.reached_s(losses, seconds, 1.0) == 40.0
    assert faster.reached_s(losses, seconds, 0.5) == float("inf")
    assert faster.said([2.0, 0.0, 8.0]) == "1 never, 4.00"

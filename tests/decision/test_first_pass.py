"""Download and pass side by side: by a schedule block for block, and its limits."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_situation, with_cell

from trimwave.decision.first_pass import first_pass
from trimwave.methods import ask_plan, parse_method

TOP = parse_method("lora:blocks=6")


def streamed(**fields):
    situation = make_situation(0)
    costs = replace(situation.costs, streams_with="int8")
    situation = replace(situation, costs=costs)
    return with_cell(situation, **fields) if fields else situation


def scheduled(situation, plan, client):
    """Let one block after another come and be passed."""
    shape, submodel = situation.costs.shape, plan.submodels[client]
    bill = situation.costs.bill(submodel)
    blocks = submodel.trained_blocks[0]
    speed = situation.cell.speed_flops_per_s[client]
    step_s = bill.num_local_steps * bill.frozen_flops / speed / blocks
    free_s = 0.0
    for number in range(1, blocks + 1):
        here = shape.embedding_params + number * shape.block_params
        free_s = max(free_s, plan.install_s * here / shape.total_params) + step_s
    return max(free_s, plan.install_s), plan.install_s + blocks * step_s


@pytest.mark.parametrize("factor", [0.02, 1.0, 50.0])
def test_it_is_the_schedule_block_by_block(factor):
    speeds = factor * make_situation(0).cell.speed_flops_per_s
    situation = streamed(speed_flops_per_s=speeds)
    plan = ask_plan(TOP, situation)
    found = first_pass(situation, plan)
    each = [scheduled(situation, plan, k) for k in range(speeds.size)]
    wanted = np.max(np.array(each), axis=0)
    assert found.side_by_side_s == pytest.approx(wanted[0])
    assert found.in_turn_s == pytest.approx(wanted[1])
    assert plan.install_s <= found.side_by_side_s < found.in_turn_s


def test_a_fast_device_waits_for_the_download_alone():
    speeds = 1e9 * make_situation(0).cell.speed_flops_per_s
    situation = streamed(speed_flops_per_s=speeds)
    plan = ask_plan(TOP, situation)
    assert first_pass(situation, plan).side_by_side_s == pytest.approx(plan.install_s)


def test_where_nothing_is_streamed_there_is_none():
    situation = make_situation(0)
    assert first_pass(situation, ask_plan(TOP, situation)) is None
    everything = parse_method("lora")
    assert first_pass(streamed(), ask_plan(everything, streamed())) is None

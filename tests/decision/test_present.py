"""Rounds in which not all clients are there."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_situation, with_cell

from trimwave.base.errors import InputError
from trimwave.decision.check import PER_CLIENT
from trimwave.decision.plan import Present
from trimwave.decision.present import ABSENT
from trimwave.methods import ALL, ask_plan, parse_method
from trimwave.methods.pruning import pruned_plan

HERE = np.array([1, 3, 4, 5])
EVERYONE = with_cell(make_situation(0, num_clients=7), server_speed_flops_per_s=50e12)
SOME = replace(
    EVERYONE,
    cell=EVERYONE.cell.take(HERE),
    present=Present(clients=HERE, num_clients=7, client_ids=tuple("abcdefg")),
)


@pytest.mark.parametrize("text", ALL)
def test_who_is_absent_takes_no_part_and_the_others_are_planned_alone(text):
    method = parse_method(text)
    alone = method.plan(replace(SOME, present=None))
    plan = ask_plan(method, SOME)
    assert plan.num_clients == 7
    assert plan.client_ids == tuple("abcdefg")
    absent = np.setdiff1d(np.arange(7), HERE)
    for name in PER_CLIENT:
        values = getattr(plan, name)
        np.testing.assert_array_equal(values[HERE], getattr(alone, name))
        rest = alone.install_bits.max() if name == "install_bits" else 0
        assert np.all(values[absent] == rest)
    assert [plan.submodels[k] for k in HERE] == list(alone.submodels)
    assert not plan.scheduled[absent].any()
    assert [plan.binding[k] for k in absent] == [ABSENT] * 3
    assert plan.latency_s == alone.latency_s
    assert plan.record()["prune_rate"][0] is None


def test_a_plan_of_all_is_as_it_was():
    method = parse_method("jcpba")
    assert ask_plan(method, EVERYONE).record() == method.plan(EVERYONE).record()
    np.testing.assert_array_equal(EVERYONE.clients, np.arange(7))
    np.testing.assert_array_equal(SOME.clients, HERE)


class Turns:
    """Serves whoever was served least, which it counts for each client."""

    label = "turns"

    def plan(self, situation):
        served = {int(k): n for k, n in situation.carried.get("served", {}).items()}
        least = min(situation.clients.tolist(), key=lambda k: served.get(k, 0))
        served[least] = served.get(least, 0) + 1
        size = situation.cell.num_clients
        return pruned_plan(
            situation,
            "full",
            np.full(size, 0.5),
            np.full(size, situation.cell.total_bandwidth_hz),
            scheduled=situation.clients == least,
            carry={"served": {str(k): n for k, n in served.items()}},
        )


def test_what_is_carried_for_each_client_is_by_its_number_in_the_run():
    served, carried = [], {}
    for situation in (SOME, EVERYONE, SOME, EVERYONE, EVERYONE, EVERYONE, EVERYONE):
        plan = ask_plan(Turns(), replace(situation, carried=carried))
        served.append(int(np.flatnonzero(plan.scheduled)[0]))
        carried = plan.carry
    assert served == [1, 0, 3, 2, 4, 5, 6]


def test_an_error_says_whom_its_numbers_mean():
    cell = replace(SOME.cell, memory_bytes=np.array([8e9, 1e6, 8e9, 8e9]))
    with pytest.raises(InputError, match=r"C3: client 1 .* 1 is client 3, 2 is"):
        ask_plan(parse_method("lora"), replace(SOME, cell=cell))

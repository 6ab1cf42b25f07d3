"""What lies on the devices beside slices: states of rows, and what a stage lacks."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_situation, with_cell

from trimwave.base.errors import InputError
from trimwave.methods import ask_plan, parse_method

TOP = "lora:blocks=6:bandwidth=uniform"


def plans(text, **fields):
    """Return a plan of a cell, and that of the same with other fields."""
    situation, rule = make_situation(0), parse_method(text)
    return ask_plan(rule, situation), ask_plan(rule, with_cell(situation, **fields))


def bill_of(text):
    situation = make_situation(0)
    submodel = ask_plan(parse_method(text), situation).submodels[0]
    return situation.costs.bill(submodel)


def test_frozen_flops_are_a_forward_through_the_blocks_below():
    situation, bill = make_situation(0), bill_of(TOP)
    forward = situation.costs.shape.block_forward_flops(1, 256)
    assert bill.frozen_flops == 18 * forward < bill.step_flops
    for text in ("lora", "jcpba", "deft", "fedbiot"):
        assert bill_of(text).frozen_flops == 0


def test_what_has_a_state_is_not_computed_again():
    clients = make_situation(0).cell.num_clients
    share = np.linspace(0.0, 1.0, clients)
    plain, kept = plans(TOP, fresh_share=share)
    bill, steps = bill_of(TOP), make_situation(0).costs.num_local_steps
    saved = steps * (1 - share) * bill.frozen_flops
    np.testing.assert_allclose(kept.flops, plain.flops - saved, atol=1)
    speed = make_situation(0).cell.speed_flops_per_s
    np.testing.assert_allclose(kept.compute_s, plain.compute_s - saved / speed)
    np.testing.assert_array_equal(kept.down_bits, plain.down_bits)
    assert kept.compute_s[-1] == plain.compute_s[-1]  # all of it is new


def test_a_best_split_knows_of_states():
    clients = make_situation(0).cell.num_clients
    share = np.where(np.arange(clients) == 0, 0.0, 1.0)
    plain, kept = plans("lora:blocks=2", fresh_share=share)
    assert kept.bandwidth_hz[0] < plain.bandwidth_hz[0]
    assert kept.latency_s <= plain.latency_s
    np.testing.assert_allclose(kept.total_s, kept.latency_s, rtol=1e-6)


def test_states_change_nothing_where_none_are_kept():
    clients = make_situation(0).cell.num_clients
    plain, kept = plans("lora", fresh_share=np.zeros(clients))
    np.testing.assert_array_equal(kept.flops, plain.flops)
    np.testing.assert_array_equal(kept.bandwidth_hz, plain.bandwidth_hz)


def test_what_is_owed_comes_on_top():
    clients = make_situation(0).cell.num_clients
    owed = 1e6 * np.arange(clients)
    plain, more = plans(TOP, owed_bits=owed)
    np.testing.assert_array_equal(more.down_bits, plain.down_bits + owed)
    assert more.down_s[0] == plain.down_s[0] and np.all(
        more.down_s[1:] > plain.down_s[1:]
    )
    np.testing.assert_array_equal(more.up_bits, plain.up_bits)


@pytest.mark.parametrize("name", ["fresh_share", "owed_bits"])
def test_clients_that_are_swapped_swap_what_they_have(name):
    clients = make_situation(0).cell.num_clients
    values = np.linspace(0.1, 0.9, clients)
    situation = with_cell(make_situation(0), **{name: values})
    order = np.arange(clients)[::-1]
    other = replace(situation, cell=situation.cell.take(order))
    rule = parse_method(TOP)
    one, two = ask_plan(rule, situation), ask_plan(rule, other)
    np.testing.assert_allclose(one.total_s[order], two.total_s)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fresh_share": 1.1}, "`fresh_share` must be in .0, 1."),
        ({"fresh_share": np.nan}, "`fresh_share` must be in .0, 1."),
        ({"owed_bits": -1.0}, "`owed_bits` must be at least 0"),
    ],
)
def test_values_that_cannot_be(fields, words):
    clients = make_situation(0).cell.num_clients
    ((name, value),) = fields.items()
    with pytest.raises(InputError, match=words):
        with_cell(make_situation(0), **{name: np.full(clients, value)})

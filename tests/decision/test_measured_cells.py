import numpy as np
import pytest
from helpers import LETTER_COSTS, make_situation, with_cell
from test_plan_bands import SERVE_FDD
from two_clients import BLOCK_BITS, BLOCK_FLOPS, CELL, HEAD_FLOPS, SHARE_HZ, submodels

from trimwave.base.curve import PiecewiseLinear
from trimwave.base.errors import InputError
from trimwave.decision.plan import Situation
from trimwave.decision.predict import plan_of
from trimwave.methods import ALL, parse_method


@pytest.fixture
def situation():
    return Situation(cell=CELL, costs=LETTER_COSTS)


TABLE = PiecewiseLinear(np.array([0.0, 0.4, 0.7, 1.0]), np.array([0.1, 0.3, 0.6, 1.0]))


def measured(seed, *names, **drawn):
    """Draw a situation whose cell holds parts of the emulator, and has a table."""
    held = np.random.default_rng(seed).uniform(0, 0.8, 8)
    held[0] = 0.0
    given = {"held": held, "emulator_time": TABLE}
    situation = make_situation(seed, **drawn)
    return with_cell(situation, **{name: given[name] for name in names})


MEASURED = pytest.mark.parametrize(
    "names", [("held",), ("emulator_time",), ("held", "emulator_time")]
)
PRUNE = ("jcpba", "jcpba:solver=bcd", "jcpba:adapter=lora", "ubfp", "personalised")
"""Methods whose sub-models are P1's."""


@MEASURED
@pytest.mark.parametrize("text", [*PRUNE, "latency_budget", "partial"])
@pytest.mark.parametrize("noise", ["fixed", "psd"])
def test_what_is_held_and_measured_is_in_the_plan(names, text, noise):
    situation = measured(3, *names, noise=noise)
    plan = parse_method(text).plan(situation)
    trained = "lora" if "lora" in text else "full"
    latency, kept = situation.problem(trained).latency, 1 - plan.prune_rate
    share_hz = plan.bandwidth_hz
    np.testing.assert_allclose(plan.compute_s, latency.compute_s(kept), rtol=1e-12)
    np.testing.assert_allclose(plan.down_bits, latency.down_bits(kept), rtol=1e-8)
    down_s, up_s = latency.down_s(kept, share_hz), latency.up_s(share_hz)
    np.testing.assert_allclose(plan.down_s, down_s, rtol=1e-9)
    np.testing.assert_allclose(plan.up_s, up_s, rtol=1e-12)
    if text.startswith("jcpba"):
        assert plan.latency_s == pytest.approx(plan.solution.latency_s, rel=1e-9)


def test_what_is_held_is_not_sent_by_hand(situation):
    held = with_cell(situation, held=np.array([0.3, 1.0]))
    problem = held.problem()
    plan = plan_of(held, submodels(0.5, 0.9), SHARE_HZ, problem=problem)
    # The adapter of two blocks, and 0.2 of the emulator's 22 blocks; the adapter alone.
    expected = [round((2 + 22 * 0.2) * BLOCK_BITS), 2 * BLOCK_BITS]
    np.testing.assert_allclose(plan.down_bits, expected, atol=1)
    whole = plan_of(situation, submodels(0.5, 0.9), SHARE_HZ)
    for name in ("compute_s", "up_s", "flops", "memory_bytes", "install_bits"):
        np.testing.assert_allclose(
            getattr(plan, name), getattr(whole, name), rtol=1e-12
        )


def test_a_measured_time_takes_the_place_of_the_flops_by_hand(situation):
    timed = with_cell(situation, emulator_time=TABLE)
    plan = plan_of(timed, submodels(0.4, 1.0), SHARE_HZ, problem=timed.problem())
    # 6 passes over two adapter blocks and two over the head; h(0.4) = 0.3, h(1) = 1.
    flops = np.array([6 + 22 * 0.3, 6 + 22]) * BLOCK_FLOPS + 2 * HEAD_FLOPS
    np.testing.assert_allclose(plan.compute_s, 30 * flops / [1e12, 2e12], rtol=1e-12)
    whole = plan_of(situation, submodels(0.4, 1.0), SHARE_HZ)
    for name in ("down_s", "up_s", "flops", "memory_bytes"):
        np.testing.assert_allclose(getattr(plan, name), getattr(whole, name), rtol=1e-8)


def test_held_parts_and_times_follow_the_clients_that_take_part():
    situation = measured(4, "held", "emulator_time")
    problem, share_hz = situation.problem(), np.full(8, 12.5e6)
    kept = np.linspace(0.3, 0.8, 8)
    chosen = [situation.costs.pruned(x) for x in kept]
    full = plan_of(situation, chosen, share_hz, problem=problem)
    chosen[2] = chosen[5] = None
    part = plan_of(situation, chosen, share_hz, problem=problem)
    taken = part.scheduled
    assert taken.tolist() == [k not in (2, 5) for k in range(8)]
    for name in ("compute_s", "down_s", "up_s", "down_bits", "up_bits"):
        assert np.array_equal(getattr(part, name)[taken], getattr(full, name)[taken])
        assert not np.any(getattr(part, name)[~taken])


@pytest.mark.parametrize("text", ["fedbiot", "deft", "lora", "fedqlora", "split_lora"])
@pytest.mark.parametrize("name", ["held", "emulator_time"])
def test_methods_of_whole_blocks_say_that_it_has_no_effect(text, name):
    situation = with_cell(measured(5, name), server_speed_flops_per_s=50e12)
    with pytest.warns(UserWarning, match=f"`{name}` of the cell has no effect on this"):
        plan = parse_method(text).plan(situation)
    bare = with_cell(situation, **{name: None})
    assert plan.record() == parse_method(text).plan(bare).record()


@pytest.mark.parametrize("text", sorted({*ALL} - {*SERVE_FDD}))
def test_methods_of_one_band_refuse_an_uplink_with_its_own(text):
    bands = {"up_bandwidth_hz": 20e6, "server_speed_flops_per_s": 50e12}
    situation = with_cell(make_situation(0), **bands)
    with pytest.raises(InputError, match="takes one band for both directions, got `up"):
        parse_method(text).plan(situation)

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers import LETTER_COSTS, make_problem, make_situation
from two_clients import BLOCK_BITS, BLOCK_FLOPS, CELL, HEAD_FLOPS, SHARE_HZ, submodels

from trimwave.base.errors import InfeasibleError, InputError
from trimwave.decision.plan import Situation
from trimwave.decision.predict import best_band, latency_of, plan_of

EMBEDDING_BITS = (51_463_168 + 1_048_576 + 2_048) * 16


@pytest.fixture
def situation():
    return Situation(cell=CELL, costs=LETTER_COSTS)


def test_a_plan_of_two_clients_by_hand(situation):
    plan = plan_of(situation, submodels(0.5, 1.0), SHARE_HZ)
    flops = np.array(
        [17 * BLOCK_FLOPS + 2 * HEAD_FLOPS, 28 * BLOCK_FLOPS + 2 * HEAD_FLOPS]
    )
    assert plan.flops.tolist() == (30 * flops).tolist()
    assert plan.down_bits.tolist() == [13 * BLOCK_BITS, 24 * BLOCK_BITS]
    assert plan.up_bits.tolist() == [2 * BLOCK_BITS, 2 * BLOCK_BITS]
    np.testing.assert_allclose(plan.compute_s, 30 * flops / [1e12, 2e12])
    down_s = np.array([13 / (4e6 * 10), 24 / (6e6 * 5)]) * BLOCK_BITS
    np.testing.assert_allclose(plan.down_s, down_s, rtol=1e-12)
    up_s = np.array([2 / (4e6 * 4), 2 / (6e6 * 2)]) * BLOCK_BITS
    np.testing.assert_allclose(plan.up_s, up_s, rtol=1e-12)
    assert plan.latency_s == pytest.approx(plan.compute_s[1] + down_s[1] + up_s[1])
    assert plan.straggler == 1
    np.testing.assert_allclose(plan.prune_rate, [0.5, 0.0])
    assert plan.memory_bytes.tolist() == [
        round(LETTER_COSTS.bill(one).memory_bytes) for one in submodels(0.5, 1.0)
    ]
    assert plan.binding == ("-", "-")
    assert plan.solution is None
    assert plan.carry == {}


def test_the_one_time_download_by_hand(situation):
    plan = plan_of(situation, submodels(0.5, 1.0), SHARE_HZ)
    assert plan.install_bits.tolist() == [EMBEDDING_BITS, EMBEDDING_BITS]
    # Both end together when sum of bits / (efficiency T) is the band.
    assert plan.install_s == pytest.approx(EMBEDDING_BITS * (1 / 10 + 1 / 5) / 10e6)
    lora = LETTER_COSTS.whole(LETTER_COSTS.all_blocks, "lora", sends_frozen=False)
    plan = plan_of(situation, [lora, LETTER_COSTS.pruned(0.5)], SHARE_HZ)
    whole_bits = EMBEDDING_BITS + 24 * BLOCK_BITS
    assert plan.install_bits.tolist() == [whole_bits, EMBEDDING_BITS]
    expected_s = (whole_bits / 10 + EMBEDDING_BITS / 5) / 10e6
    assert plan.install_s == pytest.approx(expected_s)
    assert plan.down_s[0] == pytest.approx(24 * 8 * 4096 * 16 / (4e6 * 10))


def test_under_a_noise_density_the_one_time_download_is_no_slower_than_even(situation):
    cell = replace(CELL, noise="psd")
    plan = plan_of(replace(situation, cell=cell), submodels(0.5, 1.0), SHARE_HZ)
    rate_bps = cell.link("down").rate_bps(np.full(2, 5e6))
    even_s = EMBEDDING_BITS / rate_bps
    assert np.min(even_s) < plan.install_s < np.max(even_s)


def test_nothing_is_installed_where_everything_is_sent(situation):
    costs = replace(LETTER_COSTS, send_embeddings=True)
    plan = plan_of(replace(situation, costs=costs), submodels(0.5, 1.0), SHARE_HZ)
    assert plan.install_bits.tolist() == [0, 0]
    assert plan.install_s == 0.0


def test_who_does_not_take_part_costs_nothing_but_the_install(situation):
    plan = plan_of(situation, submodels(None, 0.5), np.array([7e6, 10e6]))
    assert plan.submodels[0] is None
    assert plan.scheduled.tolist() == [False, True]
    alone = plan_of(
        replace(situation, cell=CELL.take(np.array([1]))),
        submodels(0.5),
        np.array([10e6]),
    )
    names = ("bandwidth_hz", "compute_s", "down_s", "up_s", "total_s")
    for name in (*names, "down_bits", "up_bits", "flops", "memory_bytes"):
        assert getattr(plan, name).tolist() == [0, *getattr(alone, name).tolist()]
    assert plan.latency_s == alone.latency_s
    assert plan.straggler == 1
    assert np.isnan(plan.prune_rate[0])
    assert plan.prune_rate[1] == 0.5
    assert plan.num_clients == 2
    # It may be asked in a later round.
    assert plan.install_bits.tolist() == [EMBEDDING_BITS, EMBEDDING_BITS]
    assert plan.install_s == pytest.approx(EMBEDDING_BITS * 0.3 / 10e6)
    busy_s = plan.down_s[1] + plan.up_s[1]
    assert plan.spectrum_utilisation == pytest.approx(busy_s / plan.latency_s)


def test_a_record_is_plain_and_complete(situation):
    carry = {"queue_s": 1.5, "past_s": [1.0, 2.0]}
    plan = plan_of(
        situation, submodels(0.5, None), SHARE_HZ, binding=("memory", "-"), carry=carry
    )
    record = plan.record()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["scheduled"] == [True, False]
    assert record["prune_rate"] == [0.5, None]
    assert record["binding"] == ["memory", "-"]
    assert record["carry"] == carry
    assert record["solver"] is record["bound_s"] is None
    assert record["install_s"] == plan.install_s
    assert record["memory_bytes"] == plan.memory_bytes.tolist()


def test_a_plan_for_nobody_is_refused(situation):
    with pytest.raises(InputError, match="at least one client that takes part"):
        plan_of(situation, [None, None], SHARE_HZ)


def test_c3_names_every_client_and_its_shortfall(situation):
    need = LETTER_COSTS.bill(LETTER_COSTS.pruned(1.0)).memory_bytes
    cell = replace(CELL, memory_bytes=np.array([need - 0.25e9, need - 0.5e9]))
    with pytest.raises(InfeasibleError) as caught:
        plan_of(replace(situation, cell=cell), submodels(1.0, 1.0), SHARE_HZ)
    first, second = caught.value.violations
    have, short = (need - 0.25e9) / 1e9, need / 1e9
    assert first.startswith(
        f"C3: client 0 has {have:.3f} GB, its sub-model needs {short:.3f} GB; drop"
    )
    assert second.startswith("C3: client 1 ")
    # Only who takes part must have the memory, and just enough is enough.
    cell = replace(CELL, memory_bytes=np.array([need * (1 - 1e-12), 1.0]))
    plan = plan_of(replace(situation, cell=cell), submodels(1.0, None), SHARE_HZ)
    assert plan.memory_bytes.tolist() == [round(need), 0]
    with pytest.raises(InfeasibleError, match="C3: client 1 has 0.000 GB"):
        plan_of(replace(situation, cell=cell), submodels(None, 0.2), SHARE_HZ)


def test_another_accounting_of_the_flops_changes_the_time_alone(situation):
    chosen = submodels(None, 0.5)
    here = plan_of(situation, chosen, SHARE_HZ)
    bill = replace(situation.costs.bill(chosen[1]), step_flops=5_000_000_000.0)
    there = plan_of(situation, chosen, SHARE_HZ, bills=[bill])
    assert there.flops.tolist() == [0, 30 * 5_000_000_000]
    np.testing.assert_allclose(there.compute_s, [0, 30 * 5e9 / 2e12])
    for name in ("down_s", "up_s", "memory_bytes", "install_bits"):
        assert np.array_equal(getattr(here, name), getattr(there, name))


def at_server(**fields):
    return LETTER_COSTS.whole(LETTER_COSTS.all_blocks, "lora", runs="split", **fields)


def test_the_server_is_shared_by_whoever_takes_part(situation):
    served = replace(CELL, server_speed_flops_per_s=50e12)
    device_s = 30 * 2 * HEAD_FLOPS / CELL.speed_flops_per_s
    server_s = 30 * LETTER_COSTS.bill(at_server()).server_step_flops / 50e12
    here = replace(situation, cell=served)
    plan = plan_of(here, [at_server(), at_server()], SHARE_HZ)
    np.testing.assert_allclose(plan.compute_s, device_s + 2 * server_s, rtol=1e-12)
    plan = plan_of(here, [at_server(), None], SHARE_HZ)
    np.testing.assert_allclose(plan.compute_s, [device_s[0] + server_s, 0])
    assert plan.flops.tolist() == [30 * 2 * HEAD_FLOPS, 0]  # the device's alone
    one = plan_of(here, [at_server(num_local_steps=1), None], SHARE_HZ)
    np.testing.assert_allclose(one.compute_s, plan.compute_s / 30)
    assert one.flops.tolist() == [2 * HEAD_FLOPS, 0]


def test_a_server_of_unknown_speed_is_minded_only_if_it_computes(situation):
    message = "set `cell.server_speed_flops_per_s`"
    with pytest.raises(InputError, match=message):
        plan_of(situation, [at_server(), None], SHARE_HZ)
    assert plan_of(situation, submodels(0.5, 0.5), SHARE_HZ).latency_s > 0


def test_the_best_band_ends_everyone_together():
    for noise in ("fixed", "psd"):
        drawn = make_situation(2, noise=noise)
        chosen = [drawn.costs.pruned(x) for x in np.linspace(0.2, 0.8, 8)]
        bills = [drawn.costs.bill(one) for one in chosen]
        latency = latency_of(drawn, bills, np.arange(8))
        best = plan_of(drawn, chosen, best_band(latency, drawn.cell))
        even_hz = drawn.cell.even_shares_hz()
        assert np.array_equal(even_hz, np.full(8, 12.5e6))
        even = plan_of(drawn, chosen, even_hz)
        assert np.ptp(best.total_s) < 1e-9 * best.latency_s
        assert best.latency_s < even.latency_s
        assert np.sum(best.bandwidth_hz) == pytest.approx(100e6, rel=1e-12)


def test_latency_of_some_clients_is_theirs():
    drawn = make_situation(4)
    chosen = [drawn.costs.pruned(x) for x in np.linspace(0.2, 0.8, 8)]
    bills = [drawn.costs.bill(one) for one in chosen]
    all_s = latency_of(drawn, bills, np.arange(8)).total_s(np.zeros(8), np.full(8, 1e7))
    some = np.array([5, 1, 6])
    latency = latency_of(drawn, [bills[k] for k in some], some)
    some_s = latency.total_s(np.zeros(3), np.full(3, 1e7))
    assert np.array_equal(some_s, all_s[some])


def test_permuting_the_clients_permutes_the_plan():
    drawn = make_situation(6)
    chosen = [drawn.costs.pruned(x) for x in np.linspace(0.2, 0.8, 8)]
    chosen[2] = None
    share_hz = np.linspace(1e6, 2e6, 8)
    order = np.random.default_rng(0).permutation(8)
    here = plan_of(drawn, chosen, share_hz)
    there = plan_of(
        replace(drawn, cell=drawn.cell.take(order)),
        [chosen[k] for k in order],
        share_hz[order],
    )
    for name in ("total_s", "down_bits", "flops", "memory_bytes", "bandwidth_hz"):
        assert np.array_equal(getattr(here, name)[order], getattr(there, name))
    assert there.install_s == pytest.approx(here.install_s, rel=1e-12)


def test_a_cell_with_some_of_its_clients():
    taken = replace(CELL, server_speed_flops_per_s=5e12).take(np.array([1]))
    assert taken.num_clients == 1
    for name in ("speed_flops_per_s", "memory_bytes", "snr_down", "snr_up"):
        assert getattr(taken, name).tolist() == [getattr(CELL, name)[1]]
    assert taken.num_samples.tolist() == [30.0]
    assert taken.total_bandwidth_hz == CELL.total_bandwidth_hz
    assert taken.server_speed_flops_per_s == 5e12
    swapped = CELL.take(np.array([1, 0]))
    assert swapped.num_samples.tolist() == [30.0, 10.0]
    with pytest.raises(InputError, match="at least one client"):
        CELL.take(np.array([], dtype=np.int64))


@pytest.mark.parametrize("speed", [0.0, -1.0, np.inf, np.nan])
def test_a_servers_speed_is_positive(speed):
    with pytest.raises(InputError, match="`server_speed_flops_per_s` must be positive"):
        replace(CELL, server_speed_flops_per_s=speed)


def test_a_situations_problem_is_p1():
    here, there = make_situation(3, beta_bar=0.4).problem(), make_problem(3)
    assert here.limits.beta_bar == 0.4
    assert here.workload == there.workload
    assert np.array_equal(here.cell.snr_up, there.cell.snr_up)
    lora = make_situation(3).problem("lora").workload
    assert lora == make_situation(3).costs.workload("lora")
    assert lora.update_bits < here.workload.update_bits

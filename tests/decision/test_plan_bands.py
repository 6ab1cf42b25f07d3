"""Splits of the band as plans have them: either direction's own, whole blocks."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_situation, with_cell, with_costs

from trimwave.base.errors import InfeasibleError
from trimwave.decision.bands import (
    Shares,
    best_shares,
    even_shares,
    in_blocks,
    one_band,
    realised,
)
from trimwave.decision.check import check_plan
from trimwave.decision.predict import latency_of
from trimwave.methods import ALL, parse_method
from trimwave.problem.solution import solve
from trimwave.solvers import Exact

SERVE_FDD = ("jcpba", "ubfp", "fedbiot", "lora", "staged", "fedqlora")
AS_EVEN = ("ubfp", "fedbiot", "latency_budget", "personalised")
"""Whose split, or deadline, is that of an even split, which blocks may speed up."""

BANDS_HZ = 100e6, 40e6
BLOCK_HZ = 720e3
SERVER = {"server_speed_flops_per_s": 50e12}


def fdd(seed, up_hz=40e6, **cell):
    return with_cell(make_situation(seed), up_bandwidth_hz=up_hz, **cell)


def by_hand_s(situation, plan):
    """Eqs. (7) and (8) with a share of either band."""
    cell = situation.cell
    down_bps = plan.bandwidth_hz * np.log2(1 + cell.snr_down)
    up_bps = plan.up_bandwidth_hz * np.log2(1 + cell.snr_up)
    return plan.down_bits / down_bps, plan.up_bits / up_bps


@pytest.mark.parametrize("text", SERVE_FDD)
def test_a_plan_has_a_share_of_either_band(text):
    situation = fdd(1)
    plan = parse_method(text).plan(situation)
    check_plan(situation, plan, text)
    assert plan.bandwidth_hz.sum() == pytest.approx(100e6)
    assert plan.up_bandwidth_hz.sum() == pytest.approx(40e6)
    down_s, up_s = by_hand_s(situation, plan)
    assert plan.down_s == pytest.approx(down_s, rel=1e-6)
    assert plan.up_s == pytest.approx(up_s, rel=1e-6)
    record = plan.record()
    assert record["up_bandwidth_hz"] == plan.up_bandwidth_hz.tolist()
    busy = np.sum(down_s * plan.bandwidth_hz + up_s * plan.up_bandwidth_hz)
    used = busy / (plan.latency_s * 140e6)
    assert plan.spectrum_utilisation == pytest.approx(used, rel=1e-6)


def test_one_band_has_no_second_share():
    plan = parse_method("jcpba").plan(make_situation(0))
    assert plan.up_bandwidth_hz is None
    assert "up_bandwidth_hz" not in plan.record()


def test_jcpba_under_fdd_is_the_optimum():
    situation = fdd(2)
    plan = parse_method("jcpba").plan(situation)
    best = solve(situation.problem(), Exact())
    assert plan.latency_s == pytest.approx(best.latency_s)
    assert plan.latency_s < parse_method("ubfp").plan(situation).latency_s


def test_the_best_shares_end_together_and_no_step_between_two_helps():
    situation = fdd(3)
    bills = situation.costs.bills([situation.costs.pruned(0.5)] * 8)
    latency = latency_of(situation, bills, np.arange(8))
    down_hz, up_hz = best_shares(latency, situation.cell)

    def ends_s(down_hz, up_hz):
        kept = np.zeros(8)
        down_s, up_s = latency.down_s(kept, down_hz), latency.up_s(up_hz)
        return latency.compute_s(kept) + down_s + up_s

    ends = ends_s(down_hz, up_hz)
    assert ends == pytest.approx(np.full(8, ends[0]), rel=1e-6)
    rng = np.random.default_rng(0)
    for _ in range(50):
        moved = [one * rng.uniform(0.97, 1.03, 8) for one in (down_hz, up_hz)]
        bands = (one * (b / one.sum()) for one, b in zip(moved, BANDS_HZ, strict=True))
        assert ends_s(*bands).max() >= ends[0] * (1 - 1e-9)


def every_split(num_blocks, num_clients):
    """Yield every way to give each of some clients a block or more."""
    if num_clients == 1:
        yield (num_blocks,)
        return
    for first in range(1, num_blocks - num_clients + 2):
        for rest in every_split(num_blocks - first, num_clients - 1):
            yield (first, *rest)


@pytest.mark.parametrize("seed", range(4))
def test_blocks_of_two_bands_beside_every_pair_of_splits(seed):
    down, up, block_hz = 9, 7, 1e6
    situation = with_cell(
        make_situation(seed, num_clients=3),
        total_bandwidth_hz=down * block_hz,
        up_bandwidth_hz=up * block_hz,
        resource_block_hz=block_hz,
    )
    cell = situation.cell
    bills = situation.costs.bills([situation.costs.pruned(b) for b in (0.2, 0.5, 0.7)])
    latency = latency_of(situation, bills, np.arange(3))
    kept = np.zeros(3)
    downs, ups = (np.array(list(every_split(n, 3))) * block_hz for n in (down, up))

    def ends_s(down_hz, up_hz):
        total_s = latency.compute_s(kept) + latency.down_s(kept, down_hz)
        return float(np.max(total_s + latency.up_s(up_hz)))

    shares = best_shares(latency, cell)
    found_s = ends_s(*shares)
    free = best_shares(latency, replace(cell, resource_block_hz=None))
    assert ends_s(*free) <= found_s
    # Neither band has a better split for the other's; their best pair may be another.
    assert found_s <= min(ends_s(one, shares.up_hz) for one in downs) * (1 + 1e-9)
    assert found_s <= min(ends_s(shares.down_hz, one) for one in ups) * (1 + 1e-9)
    best_s = min(ends_s(one, other) for one in downs for other in ups)
    assert best_s * (1 - 1e-9) <= found_s <= best_s * 1.1


def test_real_sizes_under_fdd_keep_c5_and_are_no_faster_than_the_bound():
    costs = make_situation(0).costs
    sizes = np.linspace(0.1, 1.0, 19) * costs.emulator_params
    situation = with_costs(fdd(4), emulator_sizes=np.rint(sizes).astype(np.int64))
    problem = situation.problem()
    solution = solve(problem, Exact())
    real = realised(problem, solution)
    up_hz = real.up_bandwidth_hz
    assert problem.violations(real.kept, real.bandwidth_hz, up_hz) == []
    params = real.kept * costs.emulator_params
    assert np.isin(np.rint(params), np.rint(sizes)).all()
    assert solution.bound_s <= real.latency_s <= solution.latency_s * 1.05
    plan = parse_method("jcpba").plan(situation)
    check_plan(situation, plan, "jcpba")
    assert plan.latency_s == pytest.approx(real.latency_s)


def test_an_upload_is_a_part_of_the_work_where_its_share_is_fixed():
    problem = fdd(5).problem()
    up_hz = even_shares(problem.cell).up_hz
    kept, down_hz = np.full(8, 0.5), np.full(8, 100e6 / 8)
    alike, latency = one_band(problem, up_hz).latency, problem.latency
    apart = latency.compute_s(kept) + latency.down_s(kept, down_hz)
    apart = apart + latency.up_s(up_hz)
    assert alike.total_s(kept, down_hz) == pytest.approx(apart)
    assert one_band(problem, None) is problem


@pytest.mark.parametrize("bands", [{}, {"up_bandwidth_hz": 40e6}])
@pytest.mark.parametrize("text", ALL)
def test_every_plan_is_in_whole_blocks(text, bands):
    if bands and text not in SERVE_FDD:
        return
    cell = {"resource_block_hz": BLOCK_HZ, **SERVER, **bands}
    situation = with_cell(make_situation(6), **cell)
    plan = parse_method(text).plan(situation)
    check_plan(situation, plan, text)
    shares = [(plan.bandwidth_hz, 100e6)]
    if bands:
        shares.append((plan.up_bandwidth_hz, 40e6))
    for share_hz, band_hz in shares:
        blocks = share_hz / BLOCK_HZ
        assert blocks == pytest.approx(np.rint(blocks), abs=1e-6)
        assert np.all(blocks[plan.scheduled] >= 1 - 1e-6)
        assert np.rint(blocks).sum() == band_hz // BLOCK_HZ
    free = parse_method(text).plan(with_cell(situation, resource_block_hz=None))
    if text not in AS_EVEN:
        assert plan.latency_s >= free.latency_s * (1 - 1e-9)
    assert plan.latency_s <= free.latency_s * 1.25


@pytest.mark.parametrize("text", ["latency_budget", "personalised"])
def test_whole_blocks_keep_a_deadline(text):
    option = {"latency_budget": "budget_s", "personalised": "threshold_s"}[text]
    for seed in range(5):
        situation = with_cell(make_situation(seed), resource_block_hz=BLOCK_HZ)
        plan = parse_method(f"{text}:{option}=20").plan(situation)
        assert plan.latency_s <= 20 * (1 + 1e-9)
        assert plan.scheduled.all()


def test_fixed_sub_models_get_the_best_blocks():
    """Against every split of seven blocks between three clients."""
    situation = make_situation(7, num_clients=3)
    situation = with_cell(situation, resource_block_hz=14e6)
    plan = parse_method("lora").plan(situation)
    latency = latency_of(situation, situation.costs.bills(plan.submodels), np.arange(3))
    splits = [(a, b, 7 - a - b) for a in range(1, 6) for b in range(1, 7 - a)]
    best_s = min(
        latency.total_s(np.zeros(3), 14e6 * np.array(one)).max() for one in splits
    )
    assert plan.latency_s == pytest.approx(best_s)


def test_rounding_is_by_the_largest_remainder():
    cell = with_cell(make_situation(0, num_clients=3), resource_block_hz=10e6).cell

    def blocks(*shares, **changes):
        given = replace(cell, **changes)
        return (in_blocks(given, Shares(np.array(shares))).down_hz / 10e6).tolist()

    assert blocks(33e6, 33e6, 34e6) == [3, 3, 4]
    assert blocks(46e6, 27e6, 27e6) == [4, 3, 3]
    assert blocks(99e6, 0.5e6, 0.5e6) == [8, 1, 1]
    assert blocks(20e6, 30e6, 50e6) == [2, 3, 5]
    assert blocks(20e6, 30e6, 10e6) == [2, 3, 1]  # what a method leaves is left
    most = np.array([20e6, np.inf, np.inf])
    assert blocks(46e6, 27e6, 27e6, bandwidth_max_hz=most) == [2, 4, 4]
    least = np.array([0.0, 45e6, 0.0])
    assert blocks(33e6, 33e6, 34e6, bandwidth_min_hz=least) == [2, 5, 3]
    with pytest.raises(InfeasibleError, match="the clients need 3 resource blocks of"):
        blocks(33e6, 33e6, 34e6, resource_block_hz=45e6)
    narrow, wide = np.full(3, 11e6), np.full(3, 19e6)
    with pytest.raises(InfeasibleError, match="client 0 needs 2 resource blocks"):
        blocks(11e6, 12e6, 13e6, bandwidth_min_hz=narrow, bandwidth_max_hz=wide)


def test_a_split_in_blocks_stays_as_it_is():
    cell = with_cell(make_situation(0), resource_block_hz=BLOCK_HZ).cell
    share_hz = BLOCK_HZ * np.array([3, 1, 20, 5, 7, 11, 13, 17.0])
    assert in_blocks(cell, Shares(share_hz)).down_hz is share_hz
    anyhow = Shares(share_hz * 1.01)
    assert in_blocks(replace(cell, resource_block_hz=None), anyhow) is anyhow

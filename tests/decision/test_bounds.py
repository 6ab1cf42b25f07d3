"""Bounds of the shares: every free split of the band heeds them, or it is refused."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import LETTER_COSTS, make_situation, with_cell
from hypothesis import given, settings
from hypothesis import strategies as st
from two_clients import CELL, SHARE_HZ, submodels

from trimwave.base.errors import InfeasibleError
from trimwave.decision.plan import Situation
from trimwave.decision.predict import best_band, latency_of, plan_of
from trimwave.methods import ALL, parse_method

EMBEDDING_BITS = (51_463_168 + 1_048_576 + 2_048) * 16
FREE = (
    *("jcpba", "jcpba:solver=bcd", "fedbiot:bandwidth=optimal", "deft", "lora"),
    *("fedqlora", "split_lora", "split_lora:v=1e-9", "latency_budget"),
    *("personalised", "partial", "partial:v=1e-9"),
)
"""Methods that choose the split of the band."""
EVEN = "fedbiot", "deft:bandwidth=uniform", "lora:bandwidth=uniform"


def installed_s(clients=(0, 1), **bounds):
    cell = CELL.take(np.array(clients))
    bounds = {name: np.array(value) for name, value in bounds.items()}
    situation = Situation(cell=replace(cell, **bounds), costs=LETTER_COSTS)
    plan = plan_of(situation, submodels(*[0.5] * len(clients)), SHARE_HZ[list(clients)])
    return plan.install_s


@pytest.mark.filterwarnings("ignore:this method does not heed")
def test_the_one_time_download_heeds_the_bounds_by_hand():
    free_s = EMBEDDING_BITS * (1 / 10 + 1 / 5) / 10e6
    assert installed_s() == pytest.approx(free_s)
    capped_s = EMBEDDING_BITS / (5 * 1e6)
    assert installed_s(bandwidth_max_hz=[9e6, 1e6]) == pytest.approx(capped_s)
    squeezed_s = EMBEDDING_BITS / (5 * 2e6)  # the first's least share is 8 of 10 MHz
    assert installed_s(bandwidth_min_hz=[8e6, 0.0]) == pytest.approx(squeezed_s)
    assert installed_s(bandwidth_min_hz=[1e5, 1e5]) == pytest.approx(free_s)
    alone_s = EMBEDDING_BITS / (10 * 2e6)
    assert installed_s((0,), bandwidth_max_hz=[2e6]) == pytest.approx(alone_s)
    with pytest.raises(InfeasibleError, match="C1: the least shares exceed the band"):
        installed_s(bandwidth_min_hz=[8e6, 8e6])


def ends_s(situation, share_hz):
    submodel = situation.costs.pruned(0.5)
    clients = np.arange(situation.cell.num_clients)
    bills = [situation.costs.bill(submodel) for _ in clients]
    latency = latency_of(situation, bills, clients)
    if share_hz is None:
        share_hz = best_band(latency, situation.cell)
    return float(np.max(latency.total_s(np.zeros(clients.size), share_hz))), share_hz


@given(
    st.integers(1, 3),
    st.sampled_from(["fixed", "psd"]),
    st.lists(st.floats(0, 0.3), min_size=3, max_size=3),
    st.lists(st.floats(0.05, 1), min_size=3, max_size=3),
)
@settings(max_examples=12)
def test_no_split_within_the_bounds_is_sooner(clients, noise, low, high):
    band_hz = 100e6
    least = band_hz * np.array(low[:clients])
    most = np.maximum(band_hz * np.array(high[:clients]), least)
    situation = with_cell(
        make_situation(2, num_clients=clients, noise=noise),
        bandwidth_min_hz=least,
        bandwidth_max_hz=most,
    )
    best_s, share_hz = ends_s(situation, None)
    assert np.all(share_hz >= least * (1 - 1e-9))
    assert np.all(share_hz <= most * (1 + 1e-9))
    assert np.sum(share_hz) <= band_hz * (1 + 1e-9)
    grid = np.linspace(0, 1, 25)
    spread = np.stack(np.meshgrid(*[grid] * clients), axis=-1).reshape(-1, clients)
    tried = np.maximum(least + spread * (most - least), 1e-3)
    tried = tried[np.sum(tried, axis=1) <= band_hz]
    assert all(ends_s(situation, one)[0] >= best_s * (1 - 1e-9) for one in tried[::7])


def queued(**bounds):
    situation = with_cell(make_situation(0), server_speed_flops_per_s=50e12, **bounds)
    return replace(situation, carried={"queue_s": 50.0})


BOUNDS = (
    {"bandwidth_max_hz": np.full(8, 13e6)},
    {"bandwidth_min_hz": np.full(8, 12e6)},
    {"bandwidth_max_hz": 1e6 * np.array([2, 30, 30, 3, 30, 30, 30, 100.0])},
    {"bandwidth_min_hz": 1e6 * np.array([0, 40, 0, 0, 20, 0, 0, 1.0])},
)


@pytest.mark.parametrize("bounds", BOUNDS)
@pytest.mark.parametrize("text", FREE)
def test_methods_that_choose_the_split_heed_the_bounds(text, bounds):
    situation = queued(**bounds)
    try:
        plan = parse_method(text).plan(situation)
    except InfeasibleError as error:
        assert "starts from B/K" in str(error)  # Algorithm 1, from the even point
        return
    taken = plan.scheduled
    least, most = (
        bound if bound is None else bound[taken]
        for bound in situation.cell.share_bounds_hz
    )
    share_hz = plan.bandwidth_hz[taken]
    assert least is None or np.all(share_hz >= least * (1 - 1e-9))
    assert most is None or np.all(share_hz <= most * (1 + 1e-9))
    assert np.sum(share_hz) <= 100e6 * (1 + 1e-9)


@pytest.mark.parametrize("text", EVEN)
def test_methods_that_share_evenly_say_that_they_do_not_heed_them(text):
    with pytest.warns(UserWarning, match="does not heed the largest shares of the"):
        parse_method(text).plan(queued(**BOUNDS[2]))
    with pytest.warns(UserWarning, match="does not heed the least shares of the cell"):
        parse_method(text).plan(queued(**BOUNDS[3]))


@pytest.mark.filterwarnings("ignore:this method does not heed")
@pytest.mark.parametrize("text", ALL)
def test_bounds_that_cannot_be_are_named_whatever_the_method(text):
    with pytest.raises(InfeasibleError, match="C1: the least shares exceed the band"):
        parse_method(text).plan(queued(bandwidth_min_hz=np.full(8, 13e6)))
    crossed = {"bandwidth_min_hz": np.full(8, 2e6), "bandwidth_max_hz": np.full(8, 1e6)}
    with pytest.raises(InfeasibleError, match="C2: client 0's least share 2e.06 Hz ex"):
        parse_method(text).plan(queued(**crossed))


def test_a_split_among_some_counts_their_bounds_alone():
    least = np.full(8, 13e6)
    least[6:] = 0.0
    plan = parse_method("deft:groups=2").plan(queued(bandwidth_min_hz=least))
    assert plan.scheduled.sum() == 2

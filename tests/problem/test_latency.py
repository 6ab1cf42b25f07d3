import numpy as np
import pytest
from helpers import make_problem, with_cell, with_workload
from hypothesis import given, settings
from hypothesis import strategies as st

from trimwave.cell.cell import Cell
from trimwave.model.workload import Workload
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem

BOTH = pytest.mark.parametrize("noise", ["fixed", "psd"])


def two_clients(noise):
    """Two clients whose spectral efficiencies are 2 and 4 down, 1 and 2 up.

    Under `psd` the same at B_0 = 2 MHz and B_1 = 0.5 MHz: a fourth and a sixteenth of
    the 8 MHz, so the SNR over the whole band is that much lower.
    """
    lower = np.array([1.0, 1.0]) if noise == "fixed" else np.array([4.0, 16.0])
    cell = Cell(
        speed_flops_per_s=np.array([1e12, 2e12]),
        memory_bytes=np.array([1e9, 1e9]),
        snr_down=np.array([3.0, 15.0]) / lower,
        snr_up=np.array([1.0, 3.0]) / lower,
        num_samples=np.ones(2),
        total_bandwidth_hz=8e6,
        noise=noise,
    )
    work = Workload(
        adapter_flops=10**12,
        emulator_flops=4 * 10**12,
        num_local_steps=3,
        adapter_bits=9_000_000,
        overhead_down_bits=1_000_000,
        update_bits=5_000_000,
        overhead_up_bits=1_000_000,
        emulator_params=2_500_000,
    )
    return Problem(cell=cell, workload=work, limits=Limits())


@BOTH
def test_two_clients_by_hand(noise):
    # Compute, M (a + e_0 x) / f: 3 (1 + 4 x 0.5) / 1 = 9 s; 3 (1 + 4 x 0.25) / 2 = 3 s.
    # Down, (10 + 40 x) Mbit: 30 / (2 x 2) = 7.5 s; 20 / (4 x 0.5) = 10 s.
    # Up, 6 Mbit: 6 / (1 x 2) = 3 s; 6 / (2 x 0.5) = 6 s.
    latency = two_clients(noise).latency
    kept, bandwidth_hz = np.array([0.5, 0.25]), np.array([2e6, 0.5e6])
    np.testing.assert_allclose(latency.compute_s(kept), [9, 3], rtol=1e-14)
    np.testing.assert_allclose(
        latency.down_s(kept, bandwidth_hz), [7.5, 10], rtol=1e-14
    )
    np.testing.assert_allclose(latency.up_s(bandwidth_hz), [3, 6], rtol=1e-14)
    np.testing.assert_allclose(
        latency.total_s(kept, bandwidth_hz), [19.5, 19], rtol=1e-14
    )


@BOTH
def test_a_cells_cap_reaches_the_transfers(noise):
    problem = with_cell(make_problem(0, noise=noise), max_spectral_efficiency=4.0)
    bandwidth_hz, bits = np.full(8, 12.5e6), problem.workload.update_bits
    expected = np.full(8, bits / (4.0 * 12.5e6))
    np.testing.assert_allclose(problem.latency.up_s(bandwidth_hz), expected, rtol=1e-14)


@BOTH
def test_the_inverses_by_hand(noise):
    latency = two_clients(noise).latency
    # Client 0 as above; client 1 has half a second more than it needs.
    need = latency.required_bandwidth_hz(np.array([0.5, 0.25]), 19.5)
    assert need[0] == pytest.approx(2e6, rel=1e-12)
    assert need[1] < 0.5e6
    # Client 1: compute 1.5 + 6 x, down 5 + 20 x, up 6; 19.5 - 12.5 = 26 x.
    kept = latency.kept_at(np.array([2e6, 0.5e6]), 19.5)
    np.testing.assert_allclose(kept, [0.5, 7 / 26], rtol=1e-12)


@BOTH
def test_price_by_hand_and_in_closed_form(noise):
    if noise == "fixed":
        # Client 0 at B = 2 MHz, T = 19.5: per unit of x, 12 s of compute and 10 s of
        # download; a hertz saves (30 / 2 + 6 / 1) Mbit / B^2 = 5.25e-6 s.
        price = two_clients(noise).latency.price_hz(np.array([2e6, 0.5e6]), 19.5)
        assert price[0] == pytest.approx(22 / 5.25e-6, rel=1e-12)
    latency = make_problem(4, noise=noise).latency
    kept, step, deadline_s = np.linspace(0.25, 0.7, 8), 1e-6, 60.0
    bandwidth_hz = latency.required_bandwidth_hz(kept, deadline_s)
    more = latency.required_bandwidth_hz(kept + step, deadline_s)
    less = latency.required_bandwidth_hz(kept - step, deadline_s)
    numeric = (more - less) / (2 * step)
    np.testing.assert_allclose(
        latency.price_hz(bandwidth_hz, deadline_s), numeric, rtol=1e-6
    )


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    noise=st.sampled_from(["fixed", "psd"]),
    path_loss_db=st.floats(40, 110),
    kept=st.floats(0.0, 1.0),
    slower=st.floats(1.05, 20),
)
def test_share_kept_and_deadline_invert_each_other(
    seed, noise, path_loss_db, kept, slower
):
    latency = make_problem(seed, noise=noise, path_loss_db=path_loss_db).latency
    x = np.full(8, kept)
    whole = np.full(8, 100e6)
    deadline_s = slower * float(np.max(latency.total_s(x, whole)))
    bandwidth_hz = latency.required_bandwidth_hz(x, deadline_s)
    assert np.all((bandwidth_hz > 0) & (bandwidth_hz <= 100e6))
    np.testing.assert_allclose(
        latency.total_s(x, bandwidth_hz), np.full(8, deadline_s), rtol=1e-11
    )
    np.testing.assert_allclose(
        latency.kept_at(bandwidth_hz, deadline_s), x, rtol=1e-9, atol=1e-9
    )
    # The price rises with the share.
    prices = latency.price_hz(bandwidth_hz, deadline_s)
    if np.all(bandwidth_hz * 1.01 <= 100e6):
        assert np.all(latency.price_hz(bandwidth_hz * 1.01, deadline_s) > prices)


@BOTH
def test_an_impossible_deadline_is_told_apart(noise):
    latency = make_problem(0, noise=noise).latency
    kept = np.full(8, 0.5)
    compute_s = latency.compute_s(kept)
    deadline_s = float(np.sort(compute_s)[3])  # four clients are still computing
    need = latency.required_bandwidth_hz(kept, deadline_s)
    computing = compute_s >= deadline_s
    assert np.all(np.isinf(need[computing]))
    # A power that does not grow with the band buys any rate; a density does not.
    assert np.all(np.isinf(need[~computing]) == (noise == "psd"))
    assert np.all(latency.kept_at(np.full(8, 100e6), 0.5) < 0)


def test_psd_reports_more_than_the_whole_band_as_unreachable():
    latency = make_problem(0, noise="psd", path_loss_db=120).latency
    kept = np.full(8, 0.5)
    alone_s = latency.total_s(kept, np.full(8, 100e6))
    need = latency.required_bandwidth_hz(kept, float(np.median(alone_s)))
    assert np.array_equal(np.isinf(need), alone_s > np.median(alone_s))


def test_a_time_that_does_not_depend_on_x_allows_all_or_nothing():
    problem = with_workload(make_problem(0), emulator_params=0, emulator_flops=0)
    bandwidth_hz = np.full(8, 12.5e6)
    total_s = problem.latency.total_s(np.ones(8), bandwidth_hz)
    middle = float(np.median(total_s))
    kept = problem.latency.kept_at(bandwidth_hz, middle)
    assert np.array_equal(kept, np.where(total_s <= middle, np.inf, -np.inf))

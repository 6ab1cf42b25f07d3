import numpy as np
import pytest
from helpers import make_problem, with_cell, with_workload

from trimwave.problem.solution import Status, solve
from trimwave.solvers import BlockDescent, Exact
from trimwave.solvers.blocks import bandwidth_block
from trimwave.solvers.certificate import deadline_is_infeasible
from trimwave.solvers.certificate import lower_bound_s as lower_bounds_s
from trimwave.solvers.kkt import kkt_residual as kkt_residuals


def lower_bound_s(problem, latency_s, price_hz):
    return float(
        lower_bounds_s(problem, np.array([latency_s]), np.array([price_hz]))[0]
    )


def kkt_residual(problem, kept, bandwidth_hz, price_hz):
    return float(kkt_residuals(problem, kept, bandwidth_hz, np.array([price_hz]))[0])


BOTH = pytest.mark.parametrize("noise", ["fixed", "psd"])


@BOTH
def test_the_certificate_tells_optimal_from_not(noise):
    for seed in range(4):
        problem = make_problem(seed, noise=noise)
        exact = solve(problem, Exact())
        best_s, price_hz = exact.latency_s, exact.price_hz
        assert deadline_is_infeasible(problem, best_s * 0.999, price_hz)
        assert deadline_is_infeasible(problem, best_s * (1 - 1e-6), price_hz)
        for wrong in (0.0, 0.5, 0.99, 1.0, 1.5, 30.0):  # sound at any price
            for slower in (1 + 1e-12, 1.001, 2.0):
                deadline_s = best_s * slower
                assert not deadline_is_infeasible(problem, deadline_s, wrong * price_hz)


@BOTH
def test_the_bound_of_a_wrong_claim_shows_it(noise):
    problem = make_problem(1, noise=noise)
    exact = solve(problem, Exact())
    best_s, price_hz = exact.latency_s, exact.price_hz
    # A time 1e-6 too high leaves a gap; one 1e-6 too low is itself proven impossible.
    high_s = best_s * (1 + 1e-6)
    assert lower_bound_s(problem, high_s, price_hz) <= best_s
    low_s = best_s * (1 - 1e-6)
    assert lower_bound_s(problem, low_s, price_hz) >= low_s * (1 - 1e-12)
    assert deadline_is_infeasible(problem, low_s, price_hz)
    # A wrong price proves less; the bound looks for the right one then.
    assert not deadline_is_infeasible(problem, low_s, 1.3 * price_hz)
    assert lower_bound_s(problem, best_s, 1.3 * price_hz) >= best_s * (1 - 1e-9)
    descent = solve(problem, BlockDescent())
    assert 0 < lower_bound_s(problem, descent.latency_s, price_hz) <= best_s


def test_the_residual_notices_each_condition():
    problem = make_problem(1)
    exact = solve(problem, Exact())
    kept, bandwidth_hz, price_hz = exact.kept, exact.bandwidth_hz, exact.price_hz
    assert kkt_residual(problem, kept, bandwidth_hz, price_hz) <= 1e-9
    nudge = np.zeros(8)
    nudge[[0, 1]] = 1e-3, -1e-3
    wrong = (
        (kept, bandwidth_hz, price_hz * 1.001),
        (kept, bandwidth_hz * (1 + 1e-3), price_hz),
        (kept - 1e-3, bandwidth_hz, price_hz),
        (kept + nudge, bandwidth_hz, price_hz),
        (kept, bandwidth_hz * (1 + nudge), price_hz),
    )
    for candidate in wrong:
        assert kkt_residual(problem, *candidate) > 5e-4
    descent = solve(problem, BlockDescent())
    assert kkt_residual(problem, descent.kept, descent.bandwidth_hz, price_hz) > 1e-2


def test_the_residual_measures_each_primal_condition():
    problem = make_problem(1)
    exact = solve(problem, Exact())
    kept, bandwidth_hz = exact.kept, exact.bandwidth_hz

    def residual(kept, bandwidth_hz):
        return kkt_residual(problem, kept, bandwidth_hz, 0.0)  # no stationarity

    assert residual(kept, bandwidth_hz * 1.001) == pytest.approx(1e-3, rel=1e-6)
    less = kept - 0.05
    together_hz = bandwidth_block(problem.latency, less)
    assert residual(less, together_hz) == pytest.approx(0.05, rel=1e-6)
    moved = bandwidth_hz + 1e6 * (np.arange(8) == 0) - 1e6 * (np.arange(8) == 1)
    total_s = problem.latency.total_s(kept, moved)
    spread = np.ptp(total_s) / np.max(total_s)
    assert residual(kept, moved) == pytest.approx(spread, rel=1e-6)
    assert spread > 1e-2


@pytest.mark.parametrize(("path_loss_db", "seed"), [(100, 3), (105, 0), (110, 10)])
def test_a_share_at_a_modems_cap_counts_as_stationary(path_loss_db, seed):
    # Where the efficiency just reaches the cap the rate has a kink, and the price any
    # value between its two sides: an optimum there is still one.
    problem = make_problem(seed, noise="psd", path_loss_db=path_loss_db)
    exact = solve(with_cell(problem, max_spectral_efficiency=7.4), Exact())
    assert exact.gap <= 1e-11
    assert exact.kkt_residual <= 1e-8


def test_no_proof_is_claimed_where_the_problem_is_not_quasi_convex():
    # A noise density, a downlink at the modem's cap and a weak uplink: the band that
    # one more unit of kept costs falls with the share, so for equal clients the even
    # point is the worst of all and not the best.
    problem = with_workload(
        make_problem(0, num_clients=2, noise="psd"), emulator_flops=0
    )
    problem = with_cell(
        problem,
        speed_flops_per_s=np.full(2, 1e12),
        snr_down=np.full(2, 1e3),
        snr_up=np.ones(2),
        max_spectral_efficiency=7.4,
    )
    uneven = np.array([0.2, 0.8])
    bandwidth_hz = bandwidth_block(problem.latency, uneven)
    assert problem.violations(uneven, bandwidth_hz) == []
    uneven_s = float(np.max(problem.latency.total_s(uneven, bandwidth_hz)))
    exact = solve(problem, Exact())
    assert exact.bound_s is None or exact.bound_s <= uneven_s * (1 + 1e-12)
    assert exact.status is not Status.OPTIMAL or exact.latency_s <= uneven_s * (
        1 + 1e-9
    )

import numpy as np
import pytest
from helpers import make_problem, with_cell

from trimwave.base.errors import InfeasibleError, InputError
from trimwave.problem.solution import Status, solve
from trimwave.solvers import BlockDescent, Exact, Uniform

SOLVERS = pytest.mark.parametrize("solver", [BlockDescent(), Uniform()])


def test_algorithm_1_stalls_after_two_sweeps_on_the_even_band():
    inside = 0
    for seed in range(30):
        problem = make_problem(seed)
        found = solve(problem, BlockDescent())
        assert found.status is Status.FEASIBLE
        assert found.sweeps <= 2
        assert len(found.trace) == found.sweeps + 1
        if np.all((found.kept > 0.2 + 1e-6) & (found.kept < 0.8 - 1e-6)):
            inside += 1
            np.testing.assert_allclose(
                found.bandwidth_hz, np.full(8, 12.5e6), rtol=1e-6
            )
            assert found.trace[1] == pytest.approx(found.trace[2], rel=1e-6)
    assert inside >= 20


def test_algorithm_1_from_the_other_block_never_prunes():
    for seed in range(10):
        found = solve(make_problem(seed), BlockDescent(first="bandwidth"))
        np.testing.assert_allclose(found.kept, np.full(8, 0.5), rtol=1e-6)
        assert np.ptp(found.bandwidth_hz) > 1e5


@pytest.mark.parametrize("first", ["prune", "bandwidth"])
def test_algorithm_1_never_gets_worse_than_its_start(first):
    for seed in range(20):
        problem = make_problem(seed, speed_factor=(0.2, 2.5), path_loss_db=94)
        trace = np.array(solve(problem, BlockDescent(first=first)).trace)
        assert trace[0] == solve(problem, Uniform()).latency_s
        assert np.all(np.diff(trace) <= 1e-12 * trace[0])


def test_algorithm_1_says_when_it_ran_out_of_sweeps():
    found = solve(make_problem(0), BlockDescent(max_sweeps=1))
    assert found.status is Status.ITERATION_LIMIT
    assert found.sweeps == 1


@SOLVERS
@pytest.mark.parametrize(
    ("bounds", "client"),
    [
        ({"bandwidth_min_hz": [0.0, 0.0, 0.4, 0.3]}, 2),
        ({"bandwidth_max_hz": [0.25, 0.2, 1.0, 0.1]}, 1),
        ({"bandwidth_min_hz": [0.3, 0, 0, 0], "bandwidth_max_hz": [1, 0.1, 1, 1]}, 0),
    ],
)
def test_bounds_without_the_even_share_are_refused(solver, bounds, client):
    shares = {name: 100e6 * np.array(value) for name, value in bounds.items()}
    problem = with_cell(make_problem(0, num_clients=4), **shares)
    message = (
        rf"C2: solver `{solver.name}` starts from B/K = 2.5e\+07 Hz, outside the "
        f"bounds of client {client}; use jcpba with the exact one"
    )
    with pytest.raises(InfeasibleError, match=message):
        solve(problem, solver)
    assert solve(problem, Exact()).status is Status.OPTIMAL


@SOLVERS
def test_bounds_that_hold_the_even_share_are_kept(solver):
    for seed in range(6):
        problem = make_problem(seed, num_clients=4, speed_factor=(0.2, 2.5))
        bounds = {"bandwidth_min_hz": 0.22, "bandwidth_max_hz": 0.27}
        shares = {name: np.full(4, 100e6 * part) for name, part in bounds.items()}
        bound = with_cell(problem, **shares)
        found = solve(bound, solver)
        assert bound.violations(found.kept, found.bandwidth_hz) == []
        exact_s = solve(bound, Exact()).latency_s
        assert found.latency_s >= exact_s * (1 - 1e-12)
        # The even split itself may be a bound.
        shares = {name: np.full(4, 25e6) for name in shares}
        even = solve(with_cell(problem, **shares), solver)
        np.testing.assert_allclose(even.bandwidth_hz, np.full(4, 25e6), rtol=1e-9)


def test_an_uplink_with_its_own_band_is_refused():
    solver = BlockDescent()
    problem = with_cell(make_problem(0), up_bandwidth_hz=20e6)
    message = f"solver `{solver.name}` takes one band for both directions, got "
    with pytest.raises(InputError, match=message):
        solve(problem, solver)

import numpy as np
import pytest

from trimwave.solution import Status, solve
from trimwave.solvers import BlockDescent, Uniform


def test_algorithm_1_stalls_after_two_sweeps_on_the_even_band(make_problem):
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


def test_algorithm_1_from_the_other_block_never_prunes(make_problem):
    for seed in range(10):
        found = solve(make_problem(seed), BlockDescent(first="bandwidth"))
        np.testing.assert_allclose(found.kept, np.full(8, 0.5), rtol=1e-6)
        assert np.ptp(found.bandwidth_hz) > 1e5


@pytest.mark.parametrize("first", ["prune", "bandwidth"])
def test_algorithm_1_never_gets_worse_than_its_start(make_problem, first):
    for seed in range(20):
        problem = make_problem(seed, speed_factor=(0.2, 2.5), path_loss_db=94)
        trace = np.array(solve(problem, BlockDescent(first=first)).trace)
        assert trace[0] == solve(problem, Uniform()).latency_s
        assert np.all(np.diff(trace) <= 1e-12 * trace[0])


def test_algorithm_1_says_when_it_ran_out_of_sweeps(make_problem):
    found = solve(make_problem(0), BlockDescent(max_sweeps=1))
    assert found.status is Status.ITERATION_LIMIT
    assert found.sweeps == 1

from dataclasses import replace

import numpy as np
import pytest
from helpers import make_problem, with_cell
from variants import NOISES, VARIANTS, draw, vary

from trimwave.cell.slower import slower
from trimwave.problem.solution import solve
from trimwave.solvers import Exact


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("kind", VARIANTS)
def test_all_seconds_are_as_many_times_more(kind, noise):
    problem = vary(draw(5, noise), kind, 5)
    slow = replace(problem, cell=slower(problem.cell, 40.0))
    now, then = solve(problem, Exact()), solve(slow, Exact())
    assert then.latency_s == pytest.approx(40 * now.latency_s, rel=1e-7)
    np.testing.assert_allclose(then.kept, now.kept, atol=1e-5)
    np.testing.assert_allclose(40 * then.bandwidth_hz, now.bandwidth_hz, rtol=1e-4)


def test_given_rates_and_blocks_by_hand():
    given = {"rate_down_bps": np.array([8e6, np.nan]), "resource_block_hz": 2e5}
    cell = with_cell(make_problem(0, num_clients=2), **given).cell
    slow = slower(replace(cell, server_speed_flops_per_s=5e12), 10.0)
    np.testing.assert_array_equal(slow.rate_down_bps, [8e5, np.nan])
    assert slow.resource_block_hz == 2e4
    assert slow.server_speed_flops_per_s == 5e11
    assert slow.up_bandwidth_hz is None
    np.testing.assert_array_equal(slow.snr_up, cell.snr_up)
    np.testing.assert_array_equal(slow.memory_bytes, cell.memory_bytes)

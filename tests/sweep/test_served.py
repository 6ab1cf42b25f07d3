"""Whom a deadline lets take part where the band is in whole resource blocks."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from trimwave.base.errors import InfeasibleError
from trimwave.methods import parse_method
from trimwave.problem.solution import solve
from trimwave.recipe.config import Config
from trimwave.recipe.overrides import nested
from trimwave.recipe.recipe import with_changes
from trimwave.recipe.situation import situate
from trimwave.solvers import Exact
from trimwave.sweep.one_round import served_cell

CLIENTS = 4

pytestmark = pytest.mark.filterwarnings("ignore:.*unusual in Hz")  # wide blocks


def config_of(seed, block_hz):
    changes = {"seed": seed, "cell.num_clients": CLIENTS}
    changes["cell.resource_block_hz"] = block_hz
    return with_changes(Config(), nested(changes), "the test")


def ends_of(config):
    """When each set of clients ends in whole blocks [s]; inf with too few of them."""
    rule, situation = parse_method("jcpba"), situate(config)
    problem, found = rule.problem(situation), {}
    blocks = problem.cell.total_bandwidth_hz // problem.cell.resource_block_hz
    for size in range(1, CLIENTS + 1):
        for chosen in combinations(range(CLIENTS), size):
            found[chosen] = np.inf
            if size <= blocks:
                clients = np.array(chosen)
                part = replace(problem, cell=problem.cell.take(clients))
                solution = solve(part, Exact())
                plan = rule.plan_for(situation, problem, solution, clients)
                found[chosen] = plan.latency_s
    return found


@pytest.mark.parametrize(("seed", "block_hz"), [(0, 20e6), (1, 45e6), (4, 45e6)])
def test_as_many_are_served_as_all_subsets_say(seed, block_hz):
    config = config_of(seed, block_hz)
    ends = ends_of(config)
    slowest_s = max(one for one in ends.values() if np.isfinite(one))
    for part in (0.7, 0.9, 1.5):
        deadline_s = part * slowest_s
        most = max(len(one) for one, end_s in ends.items() if end_s <= deadline_s)
        _, plan, selection = served_cell(config, "jcpba", deadline_s=deadline_s)
        assert plan.latency_s <= deadline_s * (1 + 1e-9)
        assert selection.clients.size == most == plan.scheduled.sum()
        assert selection.most >= most


def test_a_deadline_that_whole_blocks_miss_is_the_one_that_is_named():
    # One block of 60 MHz is all that a client gets of a band of 100.
    config = config_of(5, 60e6)
    deadline_s = 0.99 * min(ends_of(config).values())
    said = f"within {deadline_s:g} s in whole resource blocks; raise the deadline"
    with pytest.raises(InfeasibleError, match=said):
        served_cell(config, "jcpba", deadline_s=deadline_s)

import signal
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trimwave.base.units import dbm_to_w
from trimwave.cell.cell import Cell
from trimwave.cell.fading import Rayleigh
from trimwave.cell.link import Noise
from trimwave.model.costs import Costs
from trimwave.model.shape import SHAPES
from trimwave.plan.plan import Situation
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem

LETTER_COSTS = Costs(
    shape=SHAPES["gpt2-medium"],
    split_index=22,
    batch_size=1,
    seq_len=256,
    num_local_steps=30,
)


def _make_problem(
    seed: int,
    num_clients: int = 8,
    speed_factor: tuple[float, float] = (0.5, 2.0),
    path_loss_db: float = 60.0,
    noise: Noise = "fixed",
    **limits: float,
) -> Problem:
    """Draw a P1 of the letter's cell."""
    rng = np.random.default_rng(seed)
    gains = Rayleigh(seed=seed, path_loss_db=path_loss_db).gains(0, num_clients)
    noise_w = dbm_to_w(-174.0) * 100e6
    cell = Cell(
        speed_flops_per_s=1e12 * rng.uniform(*speed_factor, num_clients),
        memory_bytes=rng.uniform(4e9, 8e9, num_clients),
        snr_down=10.0 * gains["down"] / noise_w,
        snr_up=0.2 * gains["up"] / noise_w,
        num_samples=np.ones(num_clients),
        total_bandwidth_hz=100e6,
        noise=noise,
    )
    return Problem(cell=cell, workload=LETTER_COSTS.workload(), limits=Limits(**limits))


def _make_situation(seed: int, **drawn: Any) -> Situation:
    """Draw what a method sees, in the same cell."""
    problem = _make_problem(seed, **drawn)
    return Situation(cell=problem.cell, costs=LETTER_COSTS, limits=problem.limits)


def _with_cell(given: Any, **changes: object) -> Any:
    return replace(given, cell=replace(given.cell, **changes))


def _with_costs(situation: Situation, **changes: Any) -> Situation:
    return replace(situation, costs=replace(situation.costs, **changes))


def _with_workload(problem: Problem, **changes: object) -> Problem:
    return replace(problem, workload=replace(problem.workload, **changes))


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard():
    """A shell that starts the tests in the background has SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def make_problem():
    """Return the factory of random problems."""
    return _make_problem


@pytest.fixture(scope="session")
def make_situation():
    """Return the factory of random situations; takes what `make_problem` takes."""
    return _make_situation


@pytest.fixture(scope="session")
def with_cell():
    """Return a function that changes fields of a problem's or a situation's cell."""
    return _with_cell


@pytest.fixture(scope="session")
def with_costs():
    """Return a function that changes fields of a situation's costs."""
    return _with_costs


@pytest.fixture(scope="session")
def with_workload():
    """Return a function that changes fields of a problem's workload."""
    return _with_workload


PSD_IS_SLOW = ("test_exact_variants.py", "test_deadline.py", "test_selection.py")
"""Files whose cases under a noise density, each a search of its own, count as slow."""


def pytest_collection_modifyitems(items):
    """Mark them; the fast suite has that noise in test_solvers.py and others."""
    for item in items:
        if item.path.name in PSD_IS_SLOW and "psd" in item.nodeid:
            item.add_marker(pytest.mark.slow)

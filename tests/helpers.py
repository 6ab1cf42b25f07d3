"""The letter's setting, random problems and situations in it, and changes of them."""

from dataclasses import replace
from typing import Any

import numpy as np

from trimwave.base.units import dbm_to_w
from trimwave.cell.cell import Cell
from trimwave.cell.fading import Rayleigh
from trimwave.cell.link import Noise
from trimwave.decision.plan import Situation
from trimwave.model.costs import Costs
from trimwave.model.shape import SHAPES
from trimwave.model.submodel import Submodel
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem

LETTER_COSTS = Costs(
    shape=SHAPES["gpt2-medium"],
    split_index=22,
    batch_size=1,
    seq_len=256,
    num_local_steps=30,
)


def letter_costs(**changes: Any) -> Costs:
    """Return the letter's costs with some fields changed."""
    return replace(LETTER_COSTS, **changes)


def make_problem(
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


def make_situation(seed: int, **drawn: Any) -> Situation:
    """Draw what a method sees, in the same cell; takes what `make_problem` takes."""
    problem = make_problem(seed, **drawn)
    return Situation(cell=problem.cell, costs=LETTER_COSTS, limits=problem.limits)


def with_cell(given: Any, **changes: object) -> Any:
    """Change fields of a problem's or a situation's cell."""
    return replace(given, cell=replace(given.cell, **changes))


def with_costs(situation: Situation, **changes: Any) -> Situation:
    """Change fields of a situation's costs."""
    return replace(situation, costs=replace(situation.costs, **changes))


def with_workload(problem: Problem, **changes: object) -> Problem:
    """Change fields of a problem's workload."""
    return replace(problem, workload=replace(problem.workload, **changes))


def with_factors(**fields: Any) -> Submodel:
    """Return a sub-model whose LoRA factors are what is read of it."""
    return Submodel(
        kept_fraction=1.0,
        emulator_params=0,
        trained_blocks=(0,),
        shared_blocks=(0,),
        trained="lora",
        **fields,
    )

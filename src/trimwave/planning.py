"""From a config to a workload and to one round's plan, without torch."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from trimwave.config import Config
from trimwave.environment import Environment, cell_from_csv, limits_of
from trimwave.errors import InputError, nearest
from trimwave.problem import Problem
from trimwave.shapes import SHAPES, ModelShape
from trimwave.solution import Plan, make_plan, solve
from trimwave.solvers import get_solver
from trimwave.workload import Workload, workload_of


def shape_named(name: str) -> ModelShape:
    """Return a shape by a model's name, or from a local folder's config.json.

    Raises
    ------
    InputError
        If there is neither.
    """
    if name in SHAPES:
        return SHAPES[name]
    path = Path(name).expanduser() / "config.json"
    if not path.is_file():
        raise InputError(
            f"the shape of model `{name}` is not known without loading it; name a "
            f"local Hugging Face folder, or one of: {nearest('', SHAPES)}"
        )
    try:
        return ModelShape.from_config(json.loads(path.read_text()), name)
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not JSON: {error}.") from None


def workload_from(config: Config, shape: ModelShape) -> Workload:
    """Cost of a config's sub-models, eq. (5) and (8).

    Raises
    ------
    InputError
        If the split or a length is out of range for the model.
    """
    model, train = config.model, config.train
    lora = shape.lora_params(train.lora_rank) if train.adapter == "lora" else 0
    return workload_of(
        shape,
        split_index=shape.num_blocks - model.adapter_blocks,
        batch_size=train.batch_size,
        seq_len=train.seq_len,
        num_local_steps=train.num_local_steps,
        lora_params=model.adapter_blocks * lora,
        bits_per_param=model.bits_per_param,
        head_passes=model.head_passes,
        send_embeddings=model.send_embeddings,
    )


def plan_cell(
    config: Config, solver: str, *, round_: int = 1, cell_csv: Path | None = None
) -> tuple[Problem, Plan]:
    """Plan one round of a config's cell, or of a cell in a CSV.

    Any emulator size is allowed here; a run rounds to real heads and neurons.

    Parameters
    ----------
    config : Config
        Model, limits, training lengths; the cell too unless a CSV gives it.
    solver : str
        A name of `trimwave.solvers.SOLVERS`.
    round_ : int
        Which round's fading, from 1.
    cell_csv : Path, optional
        A cell for `cell_from_csv`.

    Raises
    ------
    InputError
        If the config or the cell is wrong, or P1 has no solution.
    """
    if round_ < 1:
        raise InputError(f"--round must be at least 1, got {round_}.")
    shape = shape_named(config.model.name)
    workload = workload_from(config, shape)
    if cell_csv is not None:
        cell = cell_from_csv(cell_csv, config)
    else:
        environment = Environment.from_config(config)
        samples = np.ones(config.cell.num_clients)
        cell = environment.cell(round_ - 1, samples)
    # C5 counts the clients of the cell at hand, which a CSV may have changed.
    counted = replace(config, cell=replace(config.cell, num_clients=cell.num_clients))
    problem = Problem(cell=cell, workload=workload, limits=limits_of(counted))
    solution = solve(problem, get_solver(solver))
    return problem, make_plan(problem, solution, solution.kept, solution.bandwidth_hz)

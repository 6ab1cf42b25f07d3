"""From a config to what a method sees in a round, without torch."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from trimwave.base.errors import InputError, nearest
from trimwave.base.units import FloatArray, IntArray
from trimwave.cell.partition import client_sizes
from trimwave.model.config_file import CONFIG, local_path, read_config
from trimwave.model.costs import Costs
from trimwave.model.shape import SHAPES, ModelShape
from trimwave.plan.plan import Situation
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment, cell_from_csv, limits_of
from trimwave.recipe.measured import measured_files


def shape_named(name: str) -> ModelShape:
    """Return a shape by a model's name, or from a local folder's config.json.

    Raises
    ------
    InputError
        If there is neither, or the folder's model cannot be used.
    """
    if name in SHAPES:
        return SHAPES[name]
    folder = local_path(name)
    if folder is None:
        raise InputError(
            f"the shape of model `{name}` is not known without loading it; name a "
            f"local Hugging Face folder or a known model; {nearest(name, SHAPES)}"
        )
    return ModelShape.from_config(read_config(folder, name), name)


def files_of(config: Config) -> list[Path]:
    """Return the files beside the recipe that a plan depends on."""
    files = [Path(config.radio.trace)] if config.radio.trace else []
    files += measured_files(config).values()
    if config.model.name not in SHAPES and (folder := local_path(config.model.name)):
        files.append(folder / CONFIG)
    return files


def costs_from(config: Config, shape: ModelShape) -> Costs:
    """Return what a config's sub-models cost, eqs. (5), (8).

    Raises
    ------
    InputError
        If the split or a length is out of range for the model.
    """
    model, train = config.model, config.train
    return Costs(
        shape=shape,
        split_index=shape.num_blocks - model.adapter_blocks,
        batch_size=train.batch_size,
        seq_len=train.seq_len,
        num_local_steps=train.num_local_steps,
        lora_rank=train.lora_rank,
        bits_per_param=model.bits_per_param,
        head_passes=model.head_passes,
        send_embeddings=model.send_embeddings,
    )


def num_samples_of(config: Config) -> FloatArray:
    """Return |D_k| as a run deals the rows out, [K].

    As much for each where there are fewer rows than clients: a plan needs no rows.

    Raises
    ------
    InputError
        If `data.client_sizes` does not fit the clients or the rows.
    """
    data, num_clients = config.data, config.cell.num_clients
    if not data.client_sizes and data.num_train < num_clients:
        return np.full(num_clients, data.num_train / num_clients)
    return sizes_of(config, data.num_train).astype(np.float64)


def sizes_of(config: Config, num_rows: int) -> IntArray:
    """Return how many of so many training rows each client is dealt, [K].

    Raises
    ------
    InputError
        If `data.client_sizes` does not fit the clients or the rows.
    """
    sizes = config.data.client_sizes or None
    try:
        return client_sizes(num_rows, config.cell.num_clients, sizes)
    except InputError as error:
        raise InputError(f"`data.client_sizes`: {error}") from None


def situate(
    config: Config, *, round_: int = 1, cell_csv: Path | None = None
) -> Situation:
    """Return what a method sees in one round.

    Parameters
    ----------
    config : Config
        Model, limits, training lengths; the cell too unless a CSV gives it.
    round_ : int
        Which round's fading, from 1.
    cell_csv : Path, optional
        A cell for `cell_from_csv`.

    Raises
    ------
    InputError
        If the config or the cell is wrong.
    """
    if round_ < 1:
        raise InputError(f"--round must be at least 1, got {round_}.")
    costs = costs_from(config, shape_named(config.model.name))
    if cell_csv is not None:
        cell = cell_from_csv(cell_csv, config)
    else:
        environment = Environment.from_config(config)
        cell = environment.cell(round_ - 1, num_samples_of(config))
    # C5 counts the clients of the cell at hand, which a CSV may have changed.
    counted = replace(config, cell=replace(config.cell, num_clients=cell.num_clients))
    return Situation(cell=cell, costs=costs, limits=limits_of(counted))

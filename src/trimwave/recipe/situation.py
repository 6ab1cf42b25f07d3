"""From a config to what a method sees in a round, without torch."""

import warnings
from pathlib import Path

import numpy as np

from trimwave.base.errors import InputError, nearest
from trimwave.base.units import FloatArray, IntArray
from trimwave.cell.partition import client_sizes
from trimwave.decision.plan import Situation
from trimwave.model.config_file import CONFIG, local_path, read_config
from trimwave.model.costs import Costs
from trimwave.model.shape import SHAPES, ModelShape
from trimwave.recipe.client_files import client_folder
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.fleet import fleet_of
from trimwave.recipe.measured import measured_files
from trimwave.recipe.owned import owned_sizes, warn_of_unknown_sizes
from trimwave.recipe.row_files import split_files

NUM_GENERATED = 1600
"""Training rows of `gsm_symbolic`, which has no end, where no number is asked for."""


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
    brought = config.radio.trace, config.cell.clients
    files = [Path(name) for name in brought if name]
    files += measured_files(config).values()
    source = Path(config.data.source).expanduser()
    if config.data.partition == "files":
        files += client_folder(source).files
    elif config.data.client_column and source.exists():
        files += split_files(source)[0]
    if config.model.name not in SHAPES and (folder := local_path(config.model.name)):
        files.append(folder / CONFIG)
    return files


def costs_from(
    config: Config, shape: ModelShape, counted_share: float | None = None
) -> Costs:
    """Return what a config's sub-models cost, eqs. (5), (8).

    Parameters
    ----------
    config : Config
        Model, lengths and LoRA factors.
    shape : ModelShape
        Of the model.
    counted_share : float, optional
        Part of the rows' tokens that are predicted answers, where rows were read.

    Raises
    ------
    InputError
        If the split or a length is out of range for the model, or the answers' part is
        needed and not known.
    """
    model, train = config.model, config.train
    return Costs(
        shape=shape,
        split_index=shape.num_blocks - model.adapter_blocks,
        batch_size=train.batch_size,
        seq_len=train.seq_len,
        num_local_steps=train.num_local_steps,
        lora_rank=train.lora_rank,
        lora_alpha=train.lora_alpha,
        lora_targets=train.lora_targets,
        update_bits=train.update_bits,
        streams_with=train.state_cache if train.stream_prefix else None,
        bits_per_param=model.bits_per_param,
        head_passes=model.head_passes,
        head_share=_head_share(config, counted_share),
        send_embeddings=model.send_embeddings,
    )


def _head_share(config: Config, counted_share: float | None) -> float:
    """Return the part of the positions that the LM head is charged at."""
    if config.model.head == "all":
        return 1.0
    share = config.data.answer_share if counted_share is None else counted_share
    if share is None:
        raise InputError(
            "`model.head` = answers is charged by the part of a row's tokens that are "
            "answers, which is counted where rows are read; give it for a plan: "
            "`data.answer_share`."
        )
    return share


def num_samples_of(config: Config) -> FloatArray:
    """Return |D_k| as a run deals the rows out, or as a fleet gives it, [K].

    As much for each where there are fewer rows than clients, or where nobody says how
    many there are: a plan needs no rows. Rows that say whose they are, are counted,
    and a fleet's numbers are then not read.

    Raises
    ------
    InputError
        If `data.client_sizes` does not fit the clients or the rows.
    """
    data, num_clients = config.data, config.cell.num_clients
    fleet = fleet_of(config)
    given = None if fleet is None else fleet.get("num_samples")
    sizes = owned_sizes(config) if data.is_owned else None
    if sizes is not None:
        if fleet is not None and given is not None:
            warnings.warn(
                f"without effect: column `num_samples` of {fleet.found.path}; the rows "
                f"of `{data.source}` are counted.",
                stacklevel=2,
            )
        return sizes
    if given is not None:
        return given
    if data.is_owned:
        warn_of_unknown_sizes(config)
        return np.full(num_clients, NUM_GENERATED / num_clients)
    num_rows = data.num_train
    if num_rows is None:
        # A plan weighs clients against each other: where nobody has counted the rows,
        # shares of any number are enough.
        num_rows = NUM_GENERATED
        if data.source != "gsm_symbolic" and data.client_sizes:
            num_rows = sum(data.client_sizes)
    if not data.client_sizes and num_rows < num_clients:
        return np.full(num_clients, num_rows / num_clients)
    return sizes_of(config, num_rows).astype(np.float64)


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
    config: Config, *, round_: int = 1, time_s: float | None = None
) -> Situation:
    """Return what a method sees in one round.

    Parameters
    ----------
    config : Config
        Cell, model, limits, training lengths.
    round_ : int
        Which round's fading, from 1.
    time_s : float, optional
        The second of a trace in seconds that the round begins in; the first in which
        somebody is there, if left out.

    Raises
    ------
    InputError
        If the config or the cell is wrong, or there is nothing to tell the rounds or
        seconds asked for by.
    """
    if round_ < 1:
        raise InputError(f"--round must be at least 1, got {round_}.")
    if time_s is not None and not 0 <= time_s < np.inf:
        raise InputError(f"--time must be at least 0 and finite, got {time_s}.")
    costs = costs_from(config, shape_named(config.model.name))
    environment = Environment.from_config(config)
    _check_moment(environment, round_, time_s)
    clock_s = environment.start_s(0.0) if time_s is None else time_s
    samples = num_samples_of(config)
    return environment.situation(round_ - 1, costs, samples, clock_s=clock_s)


def _check_moment(environment: Environment, round_: int, time_s: float | None) -> None:
    """Refuse a round number over seconds, and a second over round numbers."""
    if environment.replay is None and time_s is not None:
        raise InputError(
            "--time is a second of a trace with `time_s`, and there is none; use "
            "--round."
        )
    if environment.replay is not None and round_ != 1:
        raise InputError(
            f"--round {round_}: over a trace in seconds, when a round begins depends "
            "on the rounds before; say the second with --time."
        )

"""Rows that say whose they are: how many clients, in which order, with how many rows.

Without torch, so that a plan sees the clients that a run will have.
"""

import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.units import FloatArray
from trimwave.recipe.client_files import ClientFiles, client_folder
from trimwave.recipe.config import Config, DataConfig
from trimwave.recipe.fleet import fleet_of
from trimwave.recipe.row_files import (
    clients_in,
    count_rows,
    is_saved_table,
    natural,
    split_files,
)


def with_owners(config: Config, is_written: bool, where: str) -> Config:
    """Return a config with as many clients as its rows are of.

    Parameters
    ----------
    config : Config
        As it was read.
    is_written : bool
        Whether `cell.num_clients` was there to be read.
    where : str
        What was read, for messages.

    Raises
    ------
    InputError
        If the rows cannot be read, or are of another number of clients than was
        written or `cell.clients` has.
    """
    if not config.data.is_owned:
        return config
    if config.data.source == "gsm_symbolic":
        raise InputError(
            f"{where}: {_key(config.data)} says whose rows are whose, and "
            f"`gsm_symbolic` is generated; leave it out, or bring rows of your own."
        )
    ids = known_owners(config)
    if ids is None:
        return config
    if len(ids) != config.cell.num_clients and config.cell.clients:
        ordered(ids, config)  # names who is in one of the two, where ids say so
    if len(ids) != config.cell.num_clients and (is_written or config.cell.clients):
        raise InputError(f"{where}: {other_number(config, len(ids))}")
    config = replace(config, cell=replace(config.cell, num_clients=len(ids)))
    ordered(ids, config)
    return config


def other_number(config: Config, found: int) -> str:
    """Say that the rows are of another number of clients than the cell has."""
    named = "cell.clients` names a table of" if config.cell.clients else "cell."
    named += " " if config.cell.clients else "num_clients` is "
    return (
        f"`{named}{config.cell.num_clients}, but the rows of `{config.data.source}` "
        f"are of {found} clients (by {_key(config.data)}); let them agree."
    )


def _key(data: DataConfig) -> str:
    return "`data.client_column`" if data.client_column else "`data.partition`"


def known_owners(config: Config) -> tuple[str, ...] | None:
    """Return the clients' names as the rows have them, in natural order.

    None where they cannot be known without `datasets`: rows of the hub.

    Raises
    ------
    InputError
        If the rows cannot be read.
    """
    data = config.data
    if data.partition == "files":
        folder = client_folder(Path(data.source).expanduser())
        return tuple(one.id for one in folder.clients)
    counts = _counts(data)
    return None if counts is None else tuple(sorted(counts, key=natural))


def owned_sizes(config: Config) -> FloatArray | None:
    """Return how many training rows each client has, [K]; None if they cannot be known.

    Before any is passed over, and before test and public rows are taken from them.

    Raises
    ------
    InputError
        If the rows cannot be read, or are of another number of clients.
    """
    data = config.data
    if data.partition == "files":
        clients = client_folder(Path(data.source).expanduser()).clients
        counts: Counter[str] | None = Counter(
            {one.id: _count(one, not data.columns) for one in clients}
        )
    else:
        counts = _counts(data)
    if counts is None:
        return None
    if len(counts) != config.cell.num_clients:
        raise InputError(other_number(config, len(counts)))
    names = ordered(sorted(counts, key=natural), config)
    return np.array([counts[name] for name in names], dtype=np.float64)


def _count(client: ClientFiles, headed: bool) -> int:
    counts = {path: count_rows(path, headed) for path in client.train}
    empty = [path for path, count in counts.items() if not count]
    if empty:
        raise InputError(f"`{empty[0]}` is empty; give a file with rows.")
    return sum(counts.values())


def ordered(ids: Sequence[str], config: Config) -> list[str]:
    """Return the clients in the order of the cell: that of `cell.clients`' ids.

    Raises
    ------
    InputError
        If the table's ids are others than those of the rows.
    """
    fleet = fleet_of(config)
    if fleet is None or fleet.ids is None:
        return list(ids)
    wanted = list(fleet.ids)
    lone = sorted({*wanted} ^ {*ids}, key=natural)
    if lone:
        has, lacks = fleet.found.path, config.data.source
        if lone[0] in ids:
            has, lacks = Path(lacks), str(has)
        raise InputError(
            f"`{has}` has a client `{lone[0]}`, which `{lacks}` does not have; give "
            f"both the same ids, or leave the ids out of the table."
        )
    return wanted


def _counts(data: DataConfig) -> Counter[str] | None:
    path = Path(data.source).expanduser()
    if not path.exists() or is_saved_table(path):
        return None
    files = split_files(path)[0]
    stamps = tuple((file, file.stat().st_mtime_ns) for file in files)
    return _counted(stamps, data.client_column, data.columns)


@lru_cache(maxsize=4)
def _counted(
    files: Iterable[tuple[Path, int]], column: str, columns: tuple[str, ...]
) -> Counter[str]:
    """Count once what several parts of a command ask for."""
    counts: Counter[str] = Counter()
    for file, _ in files:
        counts.update(clients_in(file, column, columns))
    return counts


def warn_of_unknown_sizes(config: Config) -> None:
    """Say that a plan takes all clients to have as many rows."""
    warnings.warn(
        f"how many rows of `{config.data.source}` each client has is not known without "
        f"loading them; the plan takes as many for each.",
        stacklevel=3,
    )

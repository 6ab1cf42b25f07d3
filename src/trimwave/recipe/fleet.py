"""A fleet: who the clients are and how they hear us, from a table of one line each.

The one reader of such tables: `trimwave plan FILE.csv` and `cell.clients` of a recipe.
Nothing that the table gives is drawn; what it leaves out comes from the recipe.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from trimwave.base.columns import Columns, read_columns
from trimwave.base.decode import read_text
from trimwave.base.errors import InputError
from trimwave.base.quantity import plain
from trimwave.base.stored import sha256_of
from trimwave.base.units import FloatArray, db_to_linear
from trimwave.cell.link import DIRECTIONS, Direction
from trimwave.recipe.config import Config
from trimwave.recipe.fleet_columns import FLEET_COLUMNS, GIVES_LINK, LINK_OF_BOTH

SPEEDS = ("speed_flops_per_s", "compute_ms_per_sample")
"""Columns that say how fast a client is."""

AS_IN_CELL = ("held", "bandwidth_min_hz", "bandwidth_max_hz")
"""Columns that are fields of `Cell` as they stand."""


@dataclass(frozen=True, eq=False)
class Fleet:
    """The clients of a table, checked."""

    found: Columns
    links: Mapping[Direction, str | None]
    """By direction, the column that gives the link; None = the recipe's radio does."""

    @property
    def num_clients(self) -> int:
        """K."""
        return len(self.found.lines)

    @property
    def ids(self) -> tuple[str, ...] | None:
        """K ids, or None if the table has none."""
        return self.found.texts.get("client")

    def get(self, name: str) -> FloatArray | None:
        """Return a column, [K] in the SI unit of its name, or None."""
        return self.found.values.get(name)

    def gives(self, name: str) -> bool:
        """Whether a column is there."""
        return name in self.found.values

    @property
    def gives_rates(self) -> bool:
        """Whether nobody needs any of the band."""
        return all((name or "").startswith("rate") for name in self.links.values())

    @property
    def fixes_links(self) -> bool:
        """Whether both directions are the same in every round."""
        return all(
            (name or "").startswith(("snr", "rate")) for name in self.links.values()
        )

    def speed_flops_per_s(self, config: Config) -> FloatArray:
        """f_k, [K] [FLOP/s].

        Raises
        ------
        InputError
            If times per sample are given and not the work that they are of.
        """
        if (speed := self.get("speed_flops_per_s")) is not None:
            return speed
        work = config.cell.flops_per_sample
        if work is None:
            heading = self.found.headings["compute_ms_per_sample"]
            raise InputError(
                f"{self.found.path}: column `{heading}` needs "
                "`cell.flops_per_sample`, the FLOPs of the work that took so long."
            )
        return work / (self.found.values["compute_ms_per_sample"] * 1e-3)

    def cell_fields(self) -> dict[str, Any]:
        """Return the fields of `Cell` that the table gives whatever the round."""
        given: dict[str, Any] = {name: self.get(name) for name in AS_IN_CELL}
        given["client_ids"] = self.ids
        for direction in DIRECTIONS:
            snr_db = self.get(f"snr_{direction}_db")
            own, both = f"rate_{direction}_bps", self.get("rate_bps")
            given[own] = self.get(own) if both is None else both
            if snr_db is not None:
                given[f"snr_{direction}"] = db_to_linear(snr_db)
            elif given[own] is not None:  # not read
                given[f"snr_{direction}"] = np.ones(self.num_clients)
        return given

    def place_of_link(self, client: int, direction: Direction) -> str | None:
        """Return where the table gives a client's link; None = it does not."""
        name = self.links[direction]
        return None if name is None else self.found.where(client, name)


def fleet_of(config: Config) -> Fleet | None:
    """Return the fleet that a config names, or None.

    Raises
    ------
    InputError
        As `read_fleet`; or if `cell.num_clients` is another number, or a trace gives
        gains too.
    """
    if not config.cell.clients:
        return None
    path = Path(config.cell.clients)
    fleet = read_fleet(path)
    if fleet.num_clients != config.cell.num_clients:
        raise InputError(_other_number(config, fleet, "the config"))
    if config.radio.trace and any(fleet.links.values()):
        name = next(name for name in fleet.links.values() if name)
        raise InputError(
            f"{path} has a column `{fleet.found.headings[name]}` and `radio.trace` "
            f"gives the gains; take one of them away."
        )
    return fleet


def with_clients(config: Config, path: Path) -> Config:
    """Return a config whose clients are those of a table.

    Raises
    ------
    InputError
        As `read_fleet`.
    """
    number = read_fleet(path).num_clients
    cell = replace(config.cell, clients=str(path), num_clients=number)
    return replace(config, cell=cell)


def counted(config: Config, is_written: bool, where: str) -> Config:
    """Return a config with as many clients as its fleet has.

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
        As `read_fleet`; or if a number that was written is another one.
    """
    if not config.cell.clients:
        return config
    path = Path(config.cell.clients)
    fleet = read_fleet(path)
    if is_written and fleet.num_clients != config.cell.num_clients:
        raise InputError(_other_number(config, fleet, where))
    return with_clients(config, path)


def _other_number(config: Config, fleet: Fleet, where: str) -> str:
    return (
        f"{where}: `cell.num_clients` is {config.cell.num_clients}, but "
        f"`cell.clients` names {fleet.found.path} with {fleet.num_clients}; leave "
        "the number out."
    )


def read_fleet(path: Path) -> Fleet:
    """Read a table of clients, in any order of its columns.

    Raises
    ------
    InputError
        If the file is no such table, an id is there twice, a value cannot be in its
        unit, or two columns contradict each other; names line and column.
    """
    read_text(path)  # says why, where it cannot be read
    return _read(path, sha256_of(path))


@lru_cache(maxsize=8)
def _read(path: Path, sha256: str) -> Fleet:
    """Read once what several parts of a command ask for, and so warn once."""
    found = read_columns(path, FLEET_COLUMNS, _check_header)
    _check_ids(found)
    _check_shares(found)
    links = {
        one: next((name for name in GIVES_LINK[one] if name in found.headings), None)
        for one in DIRECTIONS
    }
    return Fleet(found, links)


def _check_header(where: str, headings: Mapping[str, str]) -> None:
    """Refuse a table that leaves out a speed or half of the links, or says it twice."""
    _check_speeds(where, headings)
    for direction in DIRECTIONS:
        _check_link(where, headings, direction)


def _check_speeds(where: str, headings: Mapping[str, str]) -> None:
    given = [name for name in SPEEDS if name in headings]
    if len(given) > 1:
        raise InputError(_twice(where, headings, given, "the speed"))
    if not given:
        found = ", ".join(f"`{heading}`" for heading in headings.values()) or "none"
        raise InputError(
            f"{where}: no column `{SPEEDS[0]}` (nor `speed_gflops`, `speed_tflops`, "
            f"`{SPEEDS[1]}`); found {found}."
        )


def _twice(
    where: str, headings: Mapping[str, str], given: Sequence[str], what: str
) -> str:
    first, second = (headings[name] for name in given[:2])
    return f"{where}: `{first}` and `{second}` both give {what}; keep one."


def _check_link(where: str, headings: Mapping[str, str], direction: Direction) -> None:
    """Refuse two columns for a direction, or none where the other one has some."""
    other: Direction = "up" if direction == "down" else "down"
    here, there = (
        [name for name in GIVES_LINK[one] if name in headings]
        for one in (direction, other)
    )
    if len(here) > 1:
        raise InputError(_twice(where, headings, here, f"the {direction}link"))
    if here or not there:
        return
    known = ", ".join(
        f"`{name}`" for name in GIVES_LINK[direction] if name not in LINK_OF_BOTH
    )
    raise InputError(
        f"{where}: no column `{there[0].replace(other, direction)}`, but "
        f"`{headings[there[0]]}`: give the {direction}link too, by one of "
        f"{known}, or leave both to the recipe's radio."
    )


def _check_ids(found: Columns) -> None:
    """Refuse an id that two lines have."""
    first: dict[str, int] = {}
    for row, name in enumerate(found.texts.get("client", ())):
        if name in first:
            raise InputError(
                f"{found.where(row, 'client')}: {name!r} is the id of line "
                f"{found.lines[first[name]]} too; each client has one line."
            )
        first[name] = row


def _check_shares(found: Columns) -> None:
    """Refuse a least share above the largest of the same client."""
    values = found.values
    if "bandwidth_min_hz" in values and "bandwidth_max_hz" in values:
        low, high = values["bandwidth_min_hz"], values["bandwidth_max_hz"]
        for row in np.flatnonzero(low > high)[:1].tolist():
            raise InputError(
                f"{found.where(row, 'bandwidth_min_hz')}: {plain(low[row])} Hz is more "
                f"than `{found.headings['bandwidth_max_hz']}` of the same line, "
                f"{plain(high[row])} Hz."
            )


def warn_of_drawn_memory(fleet: Fleet, config: Config) -> None:
    """Say that memory is drawn where the table gives none."""
    low, high = config.cell.memory_bytes
    if fleet.get("memory_bytes") is None and low < high:
        warnings.warn(
            f"{fleet.found.path} has no column `memory_bytes`: drawn from "
            f"`cell.memory_bytes`, {plain(low)} to {plain(high)} byte.",
            stacklevel=3,
        )

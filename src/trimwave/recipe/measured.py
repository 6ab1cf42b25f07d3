"""Measured curves from tables: the emulator's time, and what pruning costs in loss."""

import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from trimwave.base.columns import Column, Columns, read_columns
from trimwave.base.curve import PiecewiseLinear
from trimwave.base.decode import read_text
from trimwave.base.errors import InputError
from trimwave.base.stored import sha256_of
from trimwave.base.units import FloatArray, IntArray
from trimwave.cell.plausible import DAMAGE, HELD, PASS_TIME, PRUNE_RATE
from trimwave.recipe.config import Config

TIME_COLUMNS = (
    Column("kept", HELD),
    Column("time_s", PASS_TIME),
    Column("client", required=False),
)
"""What a table of times may have."""

DAMAGE_COLUMNS = (Column("prune_rate", PRUNE_RATE), Column("damage", DAMAGE))
"""What a table of damage has."""

WHOLE = 1 - 1e-6
"""Kept fraction from which on the emulator is whole."""

NEAR_END = 0.02
"""How far beyond its ends a curve may be used without a word: sizes are whole."""

NOTICED = 0.01
"""Change of a curve that is said, in parts of its range."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """Curves over the emulator's attainable sizes, smallest first."""

    kept: FloatArray
    """[N] kept fractions, the last 1."""
    time_s: FloatArray
    """[N] time of one forward pass of embedding and emulator [s]."""
    loss: FloatArray
    """[N] mean loss per answer token of the public rows, with the original adapter."""
    flops: float
    """Of such a pass of the whole emulator, by eq. (5)."""

    def arrays(self) -> dict[str, FloatArray]:
        """Return what was measured, by name."""
        return {"kept": self.kept, "time_s": self.time_s, "loss": self.loss}

    @property
    def damage(self) -> FloatArray:
        """[N] by how much the loss is above the whole emulator's."""
        return self.loss - self.loss[-1]

    @property
    def speed_flops_per_s(self) -> float:
        """Of the machine at hand, on the whole emulator [FLOP/s]."""
        return self.flops / float(self.time_s[-1])


def measured_files(config: Config) -> dict[str, Path]:
    """Return the tables of measured curves that a config names, by what they give."""
    named = {
        "emulator_time": config.cell.emulator_time,
        "damage": config.limits.damage,
    }
    return {what: Path(name) for what, name in named.items() if name}


def measured_facts(config: Config) -> dict[str, str]:
    """Return their digests, for the manifest.

    Raises
    ------
    InputError
        If one cannot be read.
    """
    files = measured_files(config)
    return {what: f"sha256:{_digest(path)}" for what, path in files.items()}


def _digest(path: Path) -> str:
    read_text(path)  # says what is wrong, where a digest cannot
    return sha256_of(path)


def measured_time(config: Config, num_clients: int) -> PiecewiseLinear | None:
    """Return the curve of `cell.emulator_time`, or None.

    Raises
    ------
    InputError
        As `emulator_time_of`.
    """
    path = measured_files(config).get("emulator_time")
    if path is None:
        return None
    least = 1 - config.limits.beta_max
    return _time(path, _digest(path), num_clients, least)


def measured_damage(config: Config) -> PiecewiseLinear | None:
    """Return the curve of `limits.damage`, or None.

    Raises
    ------
    InputError
        As `damage_of`.
    """
    path = measured_files(config).get("damage")
    if path is None:
        return None
    ends = config.limits.beta_min, config.limits.beta_max
    return _damage(path, _digest(path), *ends)


@lru_cache(maxsize=8)
def _time(path: Path, digest: str, num_clients: int, least: float) -> PiecewiseLinear:
    """Read a table once per content, and warn of it once."""
    curve = emulator_time_of(path, num_clients)
    _warn_of_range(path, "kept", curve.points[curve.points > 0], least, 1.0)
    return curve


@lru_cache(maxsize=8)
def _damage(path: Path, digest: str, low: float, high: float) -> PiecewiseLinear:
    curve = damage_of(path)
    _warn_of_range(path, "prune_rate", curve.points, low, high)
    return curve


def _warn_of_range(
    path: Path, column: str, points: FloatArray, low: float, high: float
) -> None:
    """Say where a curve is used that was not measured."""
    if points[0] > low + NEAR_END or points[-1] < high - NEAR_END:
        warnings.warn(
            f"{path}: `{column}` was measured from {points[0]:g} to {points[-1]:g}, "
            f"and C4 allows {low:g} to {high:g}; beyond its ends the curve goes on "
            "straight.",
            stacklevel=5,
        )


def emulator_time_of(path: Path, num_clients: int) -> PiecewiseLinear:
    """Read the emulator's time by the kept fraction, relative to the whole one's.

    Columns: kept, time_s; a line with kept = 1 gives the whole emulator's. With a
    column `client`, numbers from 0 on, each client has its own curve. Where noise made
    a time fall as more is kept, the running maximum is taken.

    Raises
    ------
    InputError
        If the file is no such table, the whole emulator's time is missing, or the
        clients were measured at different fractions or are not those of the cell.

    Warns
    -----
    UserWarning
        If the running maximum changes a time by more than 1 % of the longest.
    """
    found = read_columns(path, TIME_COLUMNS)
    rows = _by_client(found, num_clients)
    points = found.values["kept"][rows[:, 0]]
    times_s = found.values["time_s"][rows]
    if points[-1] < WHOLE:
        raise InputError(
            f"{path}: the largest `kept` is {points[-1]:g}; a line with kept = 1, the "
            "whole emulator's time, is needed to be relative to."
        )
    rising = np.maximum.accumulate(times_s, axis=0)
    _warn_of_change(path, "time_s", times_s, rising, "falls as more is kept")
    relative = rising / rising[-1]
    if points[0] > 0:
        # Below the points the first piece goes on, but for times below none.
        first = (relative[1] - relative[0]) / (points[1] - points[0])
        at_zero = np.maximum(relative[0] - first * points[0], 0.0)
        points = np.array([0.0, *points])
        relative = np.concatenate([at_zero[None], relative])
    curves = relative if "client" in found.values else relative[:, 0]
    return PiecewiseLinear(points, curves)


def _by_client(found: Columns, num_clients: int) -> IntArray:
    """Return the row of each fraction and client, fractions ascending, [N, 1 or K].

    Raises
    ------
    InputError
        If that is no full table of them.
    """
    kept = found.values["kept"]
    client = found.values.get("client", np.zeros(len(kept)))
    clients, counts = np.unique(client, return_counts=True)
    if "client" in found.values and clients.tolist() != list(range(num_clients)):
        raise InputError(
            f"{found.path}: `client` has {_listed(clients)}, the cell has the clients "
            f"0 to {num_clients - 1}; give each a curve, or drop the column."
        )
    if len(set(counts.tolist())) > 1 or counts[0] < 2:
        if "client" not in found.values:
            raise InputError(
                f"{found.path}: one line; a curve needs two fractions or more."
            )
        least = int(np.argmin(counts))
        raise InputError(
            f"{found.path}: client {clients[least]:.0f} has {counts[least]} lines; "
            "every client needs the same fractions, two or more."
        )
    order = np.lexsort((kept, client))
    rows = order.reshape(len(clients), -1).T
    fractions = kept[rows]
    for row in rows[1:][np.diff(fractions, axis=0) <= 0][:1].tolist():
        raise InputError(f"{found.where(row, 'kept')}: {kept[row]:g} is there twice.")
    for row in rows[fractions != fractions[:, :1]][:1].tolist():
        raise InputError(
            f"{found.where(row, 'kept')}: {kept[row]:g} is no fraction of client 0; "
            "measure all clients at the same."
        )
    return np.asarray(rows)


def damage_of(path: Path) -> PiecewiseLinear:
    """Read what pruning by a rate costs, for C5: the emulator's loss, say.

    Columns: prune_rate, damage, in any unit that can be averaged over the clients. The
    largest convex curve below the points that does not fall is taken, as C5 needs it.

    Raises
    ------
    InputError
        If the file is no such table.

    Warns
    -----
    UserWarning
        If that curve is off a point by more than 1 % of the range.
    """
    found = read_columns(path, DAMAGE_COLUMNS)
    order = np.argsort(found.values["prune_rate"], kind="stable")
    points, values = (found.values[one][order] for one in ("prune_rate", "damage"))
    for row in order[1:][np.diff(points) <= 0][:1].tolist():
        raise InputError(
            f"{found.where(row, 'prune_rate')}: "
            f"{found.values['prune_rate'][row]:g} is there twice."
        )
    if points.size < 2:
        raise InputError(f"{path}: one line; a curve needs two rates or more.")
    # From the right: what falls, as noise makes it, is below what comes later.
    rising = np.minimum.accumulate(values[::-1])[::-1]
    curve = PiecewiseLinear(points, rising).convex_minorant()
    _warn_of_change(path, "damage", values, curve.values, "bends the wrong way")
    return curve


def _warn_of_change(
    path: Path, column: str, given: FloatArray, taken: FloatArray, why: str
) -> None:
    span = float(np.ptp(given)) or 1.0
    change = float(np.max(np.abs(taken - given))) / span
    if change > NOTICED:
        warnings.warn(
            f"{path}: `{column}` {why} in places; the curve that is used is off the "
            f"points by up to {change:.1%} of their range.",
            stacklevel=3,
        )


def _listed(numbers: FloatArray) -> str:
    few = ", ".join(f"{number:.0f}" for number in numbers[:5])
    return few + ", ..." * (len(numbers) > 5)

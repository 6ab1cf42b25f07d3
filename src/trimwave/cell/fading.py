"""The gains of a round: path loss with Rayleigh block fading, or a trace."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trimwave.base.columns import Column, Columns, read_columns
from trimwave.base.errors import InputError
from trimwave.base.streams import stream
from trimwave.base.units import FloatArray, IntArray, db_to_linear
from trimwave.cell.link import DIRECTIONS, Direction
from trimwave.cell.plausible import GAIN

TRACE_COLUMNS = (
    Column("round"),
    Column("client"),
    Column("gain_down_db", GAIN),
    Column("gain_up_db", GAIN),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rayleigh:
    """Path loss with Rayleigh block fading: one draw per client, direction, round."""

    seed: int
    """Seed of the fading stream."""
    path_loss_db: float | FloatArray
    """Mean loss of every link, or [2, K] of each, down then up [dB]."""
    fading: bool = True
    """False = every gain at its mean."""

    def gains(self, round_index: int, num_clients: int) -> dict[str, FloatArray]:
        """Linear power gains of one round, ``{"down": [K], "up": [K]}``."""
        mean_gain = db_to_linear(-np.asarray(self.path_loss_db))
        gains: dict[str, FloatArray] = {}
        for number, direction in enumerate(DIRECTIONS):
            rng = stream(self.seed, "fading", round_index, number)
            power = rng.exponential(size=num_clients) if self.fading else 1.0
            mean = mean_gain[number] if np.ndim(mean_gain) else mean_gain
            gains[direction] = mean * np.broadcast_to(power, num_clients)
        return gains


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """Measured gains, replayed; a trace shorter than the run starts again."""

    gain_db: FloatArray
    """[rounds, 2, K] gains in dB, down then up."""

    places: "Places | None" = field(default=None, compare=False, repr=False)
    """Where a file has these gains; None = from no file."""

    @classmethod
    def from_csv(cls, path: Path) -> "Trace":
        """Read a table with columns round, client, gain_down_db, gain_up_db.

        Rounds and clients are numbered from anywhere, rounds without gaps; the rows
        may stand in any order.

        Raises
        ------
        InputError
            If a column, a round, a (round, client) pair or a number is missing, a pair
            is there twice, or a gain cannot be one; names the line.
        """
        found = read_columns(path, TRACE_COLUMNS)
        keys = np.stack([found.values["round"], found.values["client"]])
        rounds, clients = (np.unique(values) for values in keys)
        at, client = (
            np.searchsorted(kinds, values)
            for kinds, values in zip((rounds, clients), keys, strict=True)
        )
        _check_pairs(found, at * len(clients) + client)
        _check_rounds(found, rounds)
        _check_holes(found, at, client, clients)
        gain_db = np.empty((len(rounds), 2, len(clients)))
        gain_db[at, 0, client] = found.values["gain_down_db"]
        gain_db[at, 1, client] = found.values["gain_up_db"]
        rows = np.empty((len(rounds), len(clients)), dtype=np.int64)
        rows[at, client] = np.arange(len(at))
        return cls(gain_db=gain_db, places=Places(found, rows))

    def gains(self, round_index: int, num_clients: int) -> dict[str, FloatArray]:
        """Linear power gains of one round, ``{"down": [K], "up": [K]}``."""
        num_rounds, _, traced = self.gain_db.shape
        if traced != num_clients:
            raise InputError(
                f"the trace has {traced} clients, the cell {num_clients}; "
                "set `cell.num_clients` to the trace's number."
            )
        linear = db_to_linear(self.gain_db[round_index % num_rounds])
        return {"down": linear[0], "up": linear[1]}


@dataclass(frozen=True, slots=True)
class Places:
    """Where each gain of a trace stands in its file."""

    found: Columns
    rows: IntArray
    """Row by round and client, [rounds, K]."""

    def of(self, round_index: int, client: int, direction: Direction) -> str:
        """Return file, line and column, and who the file says it is."""
        row = int(self.rows[round_index % len(self.rows), client])
        where = self.found.where(row, f"gain_{direction}_db")
        return f"{where}: {_pair(self.found, row)}"


def _check_pairs(found: Columns, pairs: IntArray) -> None:
    """Refuse a second row of one round and client."""
    _, first, of = np.unique(pairs, return_index=True, return_inverse=True)
    again = np.flatnonzero(first[of] != np.arange(len(pairs)))
    if again.size:
        row, earlier = int(again[0]), int(first[of][again[0]])
        raise InputError(
            f"{found.path}, line {found.lines[row]}: two gains for "
            f"{_pair(found, row)}, the first in line {found.lines[earlier]}; keep one."
        )


def _pair(found: Columns, row: int) -> str:
    values = found.values
    return f"round {values['round'][row]:.0f}, client {values['client'][row]:.0f}"


def _check_rounds(found: Columns, rounds: FloatArray) -> None:
    """Refuse a gap in the rounds: what was measured there is not known."""
    gaps = np.flatnonzero(np.diff(rounds) != 1)
    if gaps.size:
        before, after = rounds[gaps[0] : gaps[0] + 2]
        row = int(np.flatnonzero(found.values["round"] == after)[0])
        raise InputError(
            f"{found.path}, line {found.lines[row]}: after round {before:.0f} comes "
            f"round {after:.0f}; a trace needs the rounds between, or number them one "
            "after the other."
        )


def _check_holes(
    found: Columns, at: IntArray, client: IntArray, clients: FloatArray
) -> None:
    """Refuse a round that lacks a client, before there is an array of all pairs."""
    short = np.flatnonzero(np.bincount(at) < len(clients))
    if short.size:
        rows = np.flatnonzero(at == short[0])
        missing = np.setdiff1d(np.arange(len(clients)), client[rows])[0]
        raise InputError(
            f"{found.path}: no gain for round {found.values['round'][rows[0]]:.0f}, "
            f"client {clients[missing]:.0f}; the round begins in line "
            f"{found.lines[rows[0]]}, and a trace needs every client in every round."
        )

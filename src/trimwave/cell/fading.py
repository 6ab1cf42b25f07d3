"""The gains of a round: path loss with Rayleigh block fading, or a trace."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.streams import stream
from trimwave.base.table import read_csv
from trimwave.base.units import FloatArray, db_to_linear
from trimwave.cell.link import DIRECTIONS


@dataclass(frozen=True, kw_only=True, slots=True)
class Rayleigh:
    """Path loss with Rayleigh block fading: one draw per client, direction, round."""

    seed: int
    """Seed of the fading stream."""
    path_loss_db: float
    """Mean loss of every link [dB]."""
    fading: bool = True
    """False = every gain at its mean."""

    def gains(self, round_index: int, num_clients: int) -> dict[str, FloatArray]:
        """Linear power gains of one round, ``{"down": [K], "up": [K]}``."""
        mean_gain = float(db_to_linear(-self.path_loss_db))
        gains: dict[str, FloatArray] = {}
        for number, direction in enumerate(DIRECTIONS):
            rng = stream(self.seed, "fading", round_index, number)
            power = rng.exponential(size=num_clients) if self.fading else 1.0
            gains[direction] = mean_gain * np.broadcast_to(power, num_clients)
        return gains


@dataclass(frozen=True, kw_only=True, slots=True)
class Trace:
    """Measured gains, replayed; a trace shorter than the run starts again."""

    gain_db: FloatArray
    """[rounds, 2, K] gains in dB, down then up."""

    @classmethod
    def from_csv(cls, path: Path) -> "Trace":
        """Read a CSV with columns round, client, gain_down_db, gain_up_db.

        Raises
        ------
        InputError
            If a column, a (round, client) pair or a number is missing.
        """
        columns = ("round", "client", "gain_down_db", "gain_up_db")
        rows = read_csv(path, columns)
        for number, row in enumerate(rows, start=2):
            for name, value in row.items():
                whole = name not in ("round", "client") or value % 1 == 0
                if not (np.isfinite(value) and whole):
                    kind = "finite" if whole else "a whole number"
                    raise InputError(
                        f"{path}, row {number}: `{name}` must be {kind}, got {value}."
                    )
        rounds, clients = (
            {value: at for at, value in enumerate(sorted({row[name] for row in rows}))}
            for name in ("round", "client")
        )
        gain_db = np.full((len(rounds), 2, len(clients)), np.nan)
        for row in rows:
            at, client = rounds[row["round"]], clients[row["client"]]
            if not np.isnan(gain_db[at, 0, client]):
                raise InputError(
                    f"{path}: two gains for round {row['round']:.0f}, "
                    f"client {row['client']:.0f}; keep one."
                )
            gain_db[at, :, client] = row["gain_down_db"], row["gain_up_db"]
        holes = np.argwhere(np.isnan(gain_db))
        if holes.size:
            at, _, client = holes[0]
            raise InputError(
                f"{path}: no gain for round {list(rounds)[at]:.0f}, "
                f"client {list(clients)[client]:.0f}; "
                "a trace needs every client in every round."
            )
        return cls(gain_db=gain_db)

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

"""The links: path loss, Rayleigh block fading, traces, SNR to rate, eq. (7)."""

import csv
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from trimwave.errors import InputError
from trimwave.streams import stream
from trimwave.units import FloatArray, db_to_linear

Noise = Literal["fixed", "psd"]
NOISE_MODES: tuple[Noise, ...] = ("fixed", "psd")
Direction = Literal["down", "up"]
DIRECTIONS: tuple[Direction, ...] = ("down", "up")
LN2 = float(np.log(2))


@dataclass(frozen=True, kw_only=True, eq=False)
class Link:
    """One direction of every client's link.

    With ``noise="fixed"`` the noise is a power that does not grow with the client's
    share of the band, as eq. (7) is printed: the rate is linear in B_k. With
    ``noise="psd"`` it is a density, N0 times B_k: the rate is concave in B_k and
    bounded by the received power.
    """

    snr: FloatArray
    """[..., K] Linear SNR with the noise of the whole band."""
    total_bandwidth_hz: float
    """The band B that the SNR refers to [Hz]."""
    noise: Noise = "fixed"
    """Whether the noise is a power or a density."""
    max_spectral_efficiency: float = np.inf
    """Cap of a real modem [bit/s/Hz]."""

    @cached_property
    def efficiency(self) -> FloatArray:
        """Bits per second and hertz with the noise of the whole band, [..., K]."""
        return np.minimum(np.log1p(self.snr) / LN2, self.max_spectral_efficiency)

    def spectral_efficiency(self, bandwidth_hz: FloatArray) -> FloatArray:
        """Bits per second and hertz at a share of the band, [..., K]."""
        if self.noise == "fixed":
            return self.efficiency
        snr = self.snr * (self.total_bandwidth_hz / bandwidth_hz)
        return np.minimum(np.log1p(snr) / LN2, self.max_spectral_efficiency)

    def rate_bps(self, bandwidth_hz: FloatArray) -> FloatArray:
        """Rate R_k at a share of the band, eq. (7), [..., K] [bit/s]."""
        return bandwidth_hz * self.spectral_efficiency(bandwidth_hz)

    def rate_slope(self, bandwidth_hz: FloatArray) -> FloatArray:
        """dR_k / dB_k, [..., K] [bit/s/Hz]."""
        efficiency = self.spectral_efficiency(bandwidth_hz)
        if self.noise == "fixed":
            return efficiency
        snr = self.snr * (self.total_bandwidth_hz / bandwidth_hz)
        capped = efficiency >= self.max_spectral_efficiency
        return efficiency - np.where(capped, 0.0, snr / (1 + snr) / LN2)

    def rate_curvature(self, bandwidth_hz: FloatArray) -> FloatArray:
        """d2R_k / dB_k2, [..., K] [bit/s/Hz^2]; never positive."""
        if self.noise == "fixed":
            return np.zeros_like(self.snr)
        snr = self.snr * (self.total_bandwidth_hz / bandwidth_hz)
        bent = -((snr / (1 + snr)) ** 2) / (bandwidth_hz * LN2)
        capped = np.log1p(snr) / LN2 >= self.max_spectral_efficiency
        return np.where(capped, 0.0, bent)


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


def read_csv(
    path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()
) -> list[dict[str, float]]:
    """Read numeric columns of a CSV with a header; optional ones where they are there.

    Raises
    ------
    InputError
        If the file cannot be read, a column is absent, or a value is not a number;
        the message names the line and the column.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            missing = [
                name for name in columns if name not in (reader.fieldnames or ())
            ]
            if missing:
                raise InputError(
                    f"{path}: no column {', '.join(missing)}; "
                    f"expected {', '.join(columns)}."
                )
            given = [name for name in optional if name in (reader.fieldnames or ())]
            rows = []
            for record in reader:
                row = {}
                for name in (*columns, *given):
                    try:
                        row[name] = float(record[name])
                    except (TypeError, ValueError):
                        raise InputError(
                            f"{path}, line {reader.line_num}: `{name}` must be a "
                            f"number, got {record[name]!r}."
                        ) from None
                rows.append(row)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from None
    if not rows:
        raise InputError(f"{path}: no rows below the header.")
    return rows

"""From a config to the cell of each round: who the clients are and how they hear us."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trimwave.base.columns import Column, Columns, read_columns
from trimwave.base.errors import InputError
from trimwave.base.quantity import plain
from trimwave.base.stored import sha256_of
from trimwave.base.streams import stream
from trimwave.base.units import FloatArray, db_to_linear, dbm_to_w
from trimwave.cell.cell import Cell
from trimwave.cell.fading import Rayleigh, Trace
from trimwave.cell.plausible import (
    HELD,
    MEMORY,
    SAMPLES,
    SHARE_MAX,
    SHARE_MIN,
    SNR,
    SPEED,
)
from trimwave.cell.reach import OutOfReach, out_of_reach
from trimwave.model.costs import Costs
from trimwave.plan.plan import Situation
from trimwave.problem.limits import Limits, beta_bar_from_c5
from trimwave.recipe.config import Config, LimitsConfig

DEFAULT_BETA_BAR = 0.5


class Channel(Protocol):
    """What gives the gains of a round."""

    def gains(self, round_index: int, num_clients: int) -> dict[str, FloatArray]:
        """Linear power gains, ``{"down": [K], "up": [K]}``."""


@dataclass(frozen=True)
class Environment:
    """The clients of a run, drawn once, and the channel, drawn every round."""

    config: Config
    speed_flops_per_s: FloatArray
    memory_bytes: FloatArray
    channel: Channel
    facts: Mapping[str, str] = field(default_factory=dict)
    """What was read from files beside the recipe, by content; for the manifest."""

    @classmethod
    def from_config(cls, config: Config) -> "Environment":
        """Draw the clients.

        Raises
        ------
        InputError
            If a trace cannot be read.
        """
        cell, radio = config.cell, config.radio
        rng = stream(config.seed, "clients")
        factor = rng.uniform(*cell.speed_factor, cell.num_clients)
        memory = rng.uniform(*cell.memory_bytes, cell.num_clients)
        speed = factor * cell.base_speed_flops_per_s
        if radio.trace:
            trace = Trace.from_csv(Path(radio.trace))
            facts = {"trace": f"sha256:{sha256_of(Path(radio.trace))}"}
            return cls(config, speed, memory, trace, facts)
        channel = Rayleigh(
            seed=config.seed,
            path_loss_db=radio.path_loss_db,
            fading=radio.fading == "rayleigh",
        )
        return cls(config, speed, memory, channel)

    def check_rounds(self, num_rounds: int) -> None:
        """Refuse a trace in which a run would end half way.

        Raises
        ------
        InputError
            If it is of another number of clients, or one is out of reach in one of
            the first rounds.
        """
        if isinstance(self.channel, Trace):
            for index in range(min(num_rounds, len(self.channel.gain_db))):
                self.cell(index, np.ones(self.config.cell.num_clients))

    def cell(self, round_index: int, num_samples: FloatArray) -> Cell:
        """Return what the base station sees in one round.

        Raises
        ------
        InputError
            If a client is out of reach.
        """
        cell, radio = self.config.cell, self.config.radio
        gains = self.channel.gains(round_index, cell.num_clients)
        density_w_per_hz = dbm_to_w(radio.noise_psd_dbm_per_hz + radio.noise_figure_db)
        noise_w = density_w_per_hz * cell.total_bandwidth_hz
        up_hz = cell.up_bandwidth_hz or cell.total_bandwidth_hz
        heard = Cell(
            speed_flops_per_s=self.speed_flops_per_s,
            memory_bytes=self.memory_bytes,
            snr_down=radio.server_power_w * gains["down"] / noise_w,
            snr_up=radio.client_power_w * gains["up"] / (density_w_per_hz * up_hz),
            num_samples=num_samples,
            total_bandwidth_hz=cell.total_bandwidth_hz,
            up_bandwidth_hz=cell.up_bandwidth_hz,
            resource_block_hz=cell.resource_block_hz,
            noise=radio.noise,
            max_spectral_efficiency=radio.max_spectral_efficiency or np.inf,
            server_speed_flops_per_s=cell.server_speed_flops_per_s,
        )
        if (lost := out_of_reach(heard)) is not None:
            raise InputError(self._lost(round_index, lost))
        return heard

    def _lost(self, round_index: int, lost: OutOfReach) -> str:
        channel = self.channel
        if isinstance(channel, Trace) and channel.places:
            place = channel.places.of(round_index, lost.client, lost.direction)
            remedy = "correct the gain, or take this client out of every round"
            return f"{place} {lost.why}; {remedy}."
        remedy = "lower `radio.path_loss_db`, or raise the powers"
        return f"in round {round_index + 1}, {lost}; {remedy}."

    @cached_property
    def limits(self) -> Limits:
        """C4 and C5 of the config."""
        return limits_of(self.config)

    def situation(
        self,
        round_index: int,
        costs: Costs,
        num_samples: FloatArray,
        carried: Mapping[str, Any] | None = None,
    ) -> Situation:
        """Return what a method sees when it plans a round.

        Parameters
        ----------
        round_index : int
            From 0.
        costs : Costs
            What any sub-model costs.
        num_samples : [K]
            |D_k|.
        carried : mapping, optional
            `Plan.carry` of the round before.
        """
        return Situation(
            cell=self.cell(round_index, num_samples),
            costs=costs,
            limits=self.limits,
            carried=carried or {},
        )


def limits_of(config: Config) -> Limits:
    """C4 and C5 of a config, C5 from its constants or from beta_bar.

    Raises
    ------
    InputError
        If both are given, or the constants are incomplete or infeasible.
    """
    limits = config.limits
    return Limits(
        beta_min=limits.beta_min,
        beta_max=limits.beta_max,
        weighted=limits.weighted,
        beta_bar=_beta_bar(limits, config.cell.num_clients, config.train.batch_size),
    )


def _beta_bar(limits: LimitsConfig, num_clients: int, batch_size: int) -> float:
    names = ("c5_xi", "c5_phi", "c5_psi", "gamma_min")
    given = {name: getattr(limits, name) for name in names}
    present = [name for name, value in given.items() if value is not None]
    if not present:
        return DEFAULT_BETA_BAR if limits.beta_bar is None else limits.beta_bar
    if limits.beta_bar is not None:
        raise InputError(
            f"give `limits.beta_bar` or C5's constants, not both; got {present} too."
        )
    if len(present) < len(names):
        missing = [name for name in names if name not in present]
        raise InputError(f"C5 from its constants needs {', '.join(missing)} too.")
    return beta_bar_from_c5(**given, num_clients=num_clients, batch_size=batch_size)


CELL_COLUMNS = (
    Column("speed_flops_per_s", SPEED),
    Column("memory_bytes", MEMORY),
    Column("snr_down_db", SNR),
    Column("snr_up_db", SNR),
    Column("num_samples", SAMPLES, required=False),
    Column("held", HELD, required=False),
    Column("bandwidth_min_hz", SHARE_MIN, required=False),
    Column("bandwidth_max_hz", SHARE_MAX, required=False),
)
"""What a table of clients may have."""


def cell_from_csv(path: Path, config: Config) -> Cell:
    """Read a cell: one line per client, band and noise from the config.

    Columns: speed_flops_per_s, memory_bytes, snr_down_db, snr_up_db; the SNR is with
    the noise of the whole band. Optional: num_samples, held, bandwidth_min_hz,
    bandwidth_max_hz, as in `Cell`.

    Raises
    ------
    InputError
        If the file is no such table, a value cannot be in its unit, or a client is out
        of reach; names line and column.
    """
    found = read_columns(path, CELL_COLUMNS)
    values = found.values
    _check_shares(found)
    cell = Cell(
        speed_flops_per_s=values["speed_flops_per_s"],
        memory_bytes=values["memory_bytes"],
        snr_down=db_to_linear(values["snr_down_db"]),
        snr_up=db_to_linear(values["snr_up_db"]),
        num_samples=values.get("num_samples", np.ones(len(found.lines))),
        held=values.get("held"),
        bandwidth_min_hz=values.get("bandwidth_min_hz"),
        bandwidth_max_hz=values.get("bandwidth_max_hz"),
        total_bandwidth_hz=config.cell.total_bandwidth_hz,
        up_bandwidth_hz=config.cell.up_bandwidth_hz,
        resource_block_hz=config.cell.resource_block_hz,
        noise=config.radio.noise,
        max_spectral_efficiency=config.radio.max_spectral_efficiency or np.inf,
        server_speed_flops_per_s=config.cell.server_speed_flops_per_s,
    )
    if (lost := out_of_reach(cell)) is not None:
        place = found.where(lost.client, f"snr_{lost.direction}_db")
        raise InputError(
            f"{place}: {lost}; correct the SNR, or take the line out of the file."
        )
    return cell


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

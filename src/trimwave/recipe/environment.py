"""From a config to the cell of each round: who the clients are and how they hear us."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.stored import sha256_of
from trimwave.base.streams import stream
from trimwave.base.table import read_csv
from trimwave.base.units import FloatArray, db_to_linear, dbm_to_w
from trimwave.cell.cell import Cell
from trimwave.cell.fading import Rayleigh, Trace
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
            trace = Path(radio.trace)
            channel: Channel = Trace.from_csv(trace)
            facts = {"trace": f"sha256:{sha256_of(trace)}"}
            return cls(config, speed, memory, channel, facts)
        channel = Rayleigh(
            seed=config.seed,
            path_loss_db=radio.path_loss_db,
            fading=radio.fading == "rayleigh",
        )
        return cls(config, speed, memory, channel)

    def cell(self, round_index: int, num_samples: FloatArray) -> Cell:
        """Return what the base station sees in one round."""
        cell, radio = self.config.cell, self.config.radio
        gains = self.channel.gains(round_index, cell.num_clients)
        density_w_per_hz = dbm_to_w(radio.noise_psd_dbm_per_hz + radio.noise_figure_db)
        noise_w = density_w_per_hz * cell.total_bandwidth_hz
        return Cell(
            speed_flops_per_s=self.speed_flops_per_s,
            memory_bytes=self.memory_bytes,
            snr_down=radio.server_power_w * gains["down"] / noise_w,
            snr_up=radio.client_power_w * gains["up"] / noise_w,
            num_samples=num_samples,
            total_bandwidth_hz=cell.total_bandwidth_hz,
            noise=radio.noise,
            max_spectral_efficiency=radio.max_spectral_efficiency or np.inf,
            server_speed_flops_per_s=cell.server_speed_flops_per_s,
        )

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


OPTIONAL_COLUMNS = ("num_samples", "held", "bandwidth_min_hz", "bandwidth_max_hz")
CELL_COLUMNS = ("speed_flops_per_s", "memory_bytes", "snr_down_db", "snr_up_db")


def cell_from_csv(path: Path, config: Config) -> Cell:
    """Read a cell: one line per client, band and noise from the config.

    Columns: speed_flops_per_s, memory_bytes, snr_down_db, snr_up_db; the SNR is with
    the noise of the whole band. Optional: num_samples, held, bandwidth_min_hz,
    bandwidth_max_hz, as in `Cell`.

    Raises
    ------
    InputError
        If the file cannot be read or a value is not a positive number.
    """
    rows = read_csv(path, CELL_COLUMNS, OPTIONAL_COLUMNS)
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Cell(
        speed_flops_per_s=column["speed_flops_per_s"],
        memory_bytes=column["memory_bytes"],
        snr_down=db_to_linear(column["snr_down_db"]),
        snr_up=db_to_linear(column["snr_up_db"]),
        num_samples=column.get("num_samples", np.ones(len(rows))),
        held=column.get("held"),
        bandwidth_min_hz=column.get("bandwidth_min_hz"),
        bandwidth_max_hz=column.get("bandwidth_max_hz"),
        total_bandwidth_hz=config.cell.total_bandwidth_hz,
        noise=config.radio.noise,
        max_spectral_efficiency=config.radio.max_spectral_efficiency or np.inf,
        server_speed_flops_per_s=config.cell.server_speed_flops_per_s,
    )

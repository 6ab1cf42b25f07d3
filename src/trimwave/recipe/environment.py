"""From a config to the cell of each round: who the clients are and how they hear us."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from trimwave.base.errors import InputError
from trimwave.base.stored import sha256_of
from trimwave.base.streams import stream
from trimwave.base.units import FloatArray, dbm_to_w
from trimwave.cell.cell import Cell
from trimwave.cell.fading import Rayleigh, Trace
from trimwave.cell.reach import OutOfReach, out_of_reach
from trimwave.model.costs import Costs
from trimwave.plan.plan import Situation
from trimwave.problem.limits import Limits, beta_bar_from_c5
from trimwave.recipe.config import Config, LimitsConfig
from trimwave.recipe.distance import mean_loss_db
from trimwave.recipe.fleet import Fleet, fleet_of, warn_of_drawn_memory

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
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was read from files beside the recipe, by content; for the manifest."""
    fleet: Fleet | None = None
    """The table that the clients come from; None = they are drawn."""

    @classmethod
    def from_config(cls, config: Config) -> "Environment":
        """Draw the clients, or take them from `cell.clients`.

        Raises
        ------
        InputError
            If a trace or a table of clients cannot be read.
        """
        cell, radio = config.cell, config.radio
        rng = stream(config.seed, "clients")
        factor = rng.uniform(*cell.speed_factor, cell.num_clients)
        memory = rng.uniform(*cell.memory_bytes, cell.num_clients)
        speed = factor * cell.base_speed_flops_per_s
        facts: dict[str, Any] = {}
        fleet = fleet_of(config)
        if fleet is not None:
            speed = fleet.speed_flops_per_s(config)
            memory = memory if (given := fleet.get("memory_bytes")) is None else given
            warn_of_drawn_memory(fleet, config)
            facts["clients"] = f"sha256:{sha256_of(Path(cell.clients))}"
            if fleet.ids is not None:
                facts["client_ids"] = list(fleet.ids)
        channel: Channel
        if radio.trace:
            channel = Trace.from_csv(Path(radio.trace))
            facts["trace"] = f"sha256:{sha256_of(Path(radio.trace))}"
        else:
            channel = Rayleigh(
                seed=config.seed,
                path_loss_db=mean_loss_db(config, fleet),
                fading=radio.fading == "rayleigh",
            )
        return cls(config, speed, memory, channel, facts, fleet)

    def check_rounds(self, num_rounds: int) -> None:
        """Refuse a trace in which a run would end half way, and a hopeless fleet.

        Raises
        ------
        InputError
            If a trace is of another number of clients, or a client is out of reach in
            one of the first rounds.
        """
        if self.fleet is not None and self.fleet.get("num_samples") is not None:
            warnings.warn(
                f"without effect on a run: column `num_samples` of "
                f"{self.fleet.found.path}; `data.client_sizes` deals rows out.",
                stacklevel=2,
            )
        if self.fleet is not None:
            self.cell(0, np.ones(self.fleet.num_clients))
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
        cell, radio, fleet = self.config.cell, self.config.radio, self.fleet
        gains = self.channel.gains(round_index, cell.num_clients)
        density_w_per_hz = dbm_to_w(radio.noise_psd_dbm_per_hz + radio.noise_figure_db)
        noise_w = density_w_per_hz * cell.total_bandwidth_hz
        snr = {
            "snr_down": radio.server_power_w * gains["down"] / noise_w,
            "snr_up": self.power_tx_w * gains["up"] / noise_w,
        }
        heard = Cell(
            **snr | (fleet.cell_fields() if fleet else {}),
            speed_flops_per_s=self.speed_flops_per_s,
            memory_bytes=self.memory_bytes,
            num_samples=num_samples,
            power_tx_w=np.broadcast_to(self.power_tx_w, cell.num_clients),
            joule_per_flop=self.joule_per_flop,
            total_bandwidth_hz=cell.total_bandwidth_hz,
            noise=radio.noise,
            max_spectral_efficiency=radio.max_spectral_efficiency or np.inf,
            server_speed_flops_per_s=cell.server_speed_flops_per_s,
        )
        if (lost := out_of_reach(heard)) is not None:
            raise InputError(self._lost(round_index, lost))
        return heard

    @property
    def power_tx_w(self) -> FloatArray | float:
        """p_k, of all clients or [K] [W]."""
        given = None if self.fleet is None else self.fleet.get("power_tx_w")
        return self.config.radio.client_power_w if given is None else given

    @property
    def joule_per_flop(self) -> FloatArray | None:
        """What clients take to compute, [K] [J/FLOP]; None = it is not counted."""
        given = None if self.fleet is None else self.fleet.get("joule_per_flop")
        own, clients = self.config.cell.joule_per_flop, self.config.cell.num_clients
        return np.full(clients, own) if given is None and own is not None else given

    def _lost(self, round_index: int, lost: OutOfReach) -> str:
        channel, fleet = self.channel, self.fleet
        if fleet and (place := fleet.place_of_link(lost.client, lost.direction)):
            remedy = "correct the value, or take the line out of the file"
            return f"{place}: {lost}; {remedy}."
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

"""From a config to the cell of each round: who the clients are and how they hear us."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from trimwave.base.curve import PiecewiseLinear
from trimwave.base.errors import InputError
from trimwave.base.stored import sha256_of
from trimwave.base.streams import stream
from trimwave.base.units import FloatArray, dbm_to_w
from trimwave.cell.cell import Cell
from trimwave.cell.fading import Rayleigh
from trimwave.cell.reach import OutOfReach, out_of_reach
from trimwave.cell.slower import slower
from trimwave.cell.trace import WORDS, Samples, Trace
from trimwave.decision.plan import Plan, Present, Situation
from trimwave.decision.played import Replay
from trimwave.model.costs import Costs
from trimwave.problem.limits import Limits
from trimwave.recipe.config import Config
from trimwave.recipe.distance import mean_loss_db
from trimwave.recipe.fleet import Fleet, fleet_of, warn_of_drawn_memory
from trimwave.recipe.limits import limits_of
from trimwave.recipe.measured import measured_facts, measured_time
from trimwave.recipe.seen import ALL_AS_DRAWN, Seen
from trimwave.recipe.traces import as_in_cell, nobody_there, replay_of, trace_of


@dataclass(frozen=True)
class Environment:
    """The clients of a run, drawn once, and the channel, drawn every round."""

    config: Config
    speed_flops_per_s: FloatArray
    memory_bytes: FloatArray
    channel: Rayleigh | Trace
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
        facts: dict[str, Any] = {**measured_facts(config)}
        fleet = fleet_of(config)
        if fleet is not None:
            speed = fleet.speed_flops_per_s(config)
            memory = memory if (given := fleet.get("memory_bytes")) is None else given
            warn_of_drawn_memory(fleet, config)
            facts["clients"] = f"sha256:{sha256_of(Path(cell.clients))}"
            if fleet.ids is not None:
                facts["client_ids"] = list(fleet.ids)
        channel: Rayleigh | Trace
        if radio.trace:
            channel, digest = trace_of(config)
            if cell.slowdown != 1 and channel.timeline is not None:
                raise InputError(
                    f"`cell.slowdown` = {cell.slowdown:g} and {radio.trace}, which is "
                    "in seconds, do not go together; give the trace by rounds."
                )
            facts["trace"] = f"sha256:{digest}"
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
            If in one of the first rounds a client is out of reach, or nobody is there.
        """
        channel = self.channel
        samples = np.ones(self.config.cell.num_clients)
        count = 1
        if isinstance(channel, Trace) and self.replay is None:
            count = min(num_rounds, channel.num_samples)
        for index in range(count):
            self.cell(index, samples, self.start_s(0.0))

    def warn_of_samples(self) -> None:
        """Say that a run counts the rows that it deals out, not a table's."""
        if self.fleet is not None and self.fleet.gives("num_samples"):
            warnings.warn(
                f"without effect on a run: column `num_samples` of "
                f"{self.fleet.found.path}; `data.client_sizes` deals rows out.",
                stacklevel=2,
            )

    @cached_property
    def replay(self) -> Replay | None:
        """The trace as it is played forward; None = rounds take what is planned."""
        trace, num_clients = self.channel, self.config.cell.num_clients
        if not isinstance(trace, Trace) or trace.timeline is None:
            return None
        cells = self._cell(self._traced(trace, slice(None)), np.ones(num_clients))
        return replay_of(trace, trace.timeline, cells)

    def start_s(self, clock_s: float) -> float:
        """Return when a round can begin: now, or when somebody is there [s].

        Raises
        ------
        InputError
            If in no sample of the trace anybody is.
        """
        return clock_s if self.replay is None else self.replay.start_s(clock_s)

    def client_s(self, plan: Plan, start_s: float) -> FloatArray:
        """Return what each client's round takes, [K] [s]: as planned, or played.

        Parameters
        ----------
        plan : Plan
            Of the round.
        start_s : float
            When it begins on the run's clock [s].
        """
        replay = self.replay
        return plan.total_s if replay is None else replay.client_s(plan, start_s)

    def present(
        self, round_index: int, clock_s: float = 0.0, seen: Seen = ALL_AS_DRAWN
    ) -> Present | None:
        """Return who can be planned in a round; None = everyone.

        Raises
        ------
        InputError
            If nobody can.
        """
        trace = self.channel
        here = np.ones(self.config.cell.num_clients, dtype=bool)
        if isinstance(trace, Trace):
            ready = self.replay.ready if self.replay is not None else trace.ready
            here &= ready[trace.sample_of(round_index, clock_s)]
        if seen.ready is not None:
            here &= seen.ready
        if here.all():
            return None
        if not here.any():
            second = None if self.replay is None else clock_s
            raise InputError(nobody_there(self.config, round_index, second))
        clients = np.flatnonzero(here)
        return Present(clients=clients, num_clients=here.size, client_ids=self._ids)

    def cell(
        self,
        round_index: int,
        num_samples: FloatArray,
        clock_s: float = 0.0,
        seen: Seen = ALL_AS_DRAWN,
    ) -> Cell:
        """Return what the base station sees as a round begins, of who is there.

        Parameters
        ----------
        round_index : int
            From 0.
        num_samples : [K]
            |D_k|.
        clock_s : float
            When it begins on the run's clock [s]; read where a trace is in seconds.
        seen : Seen
            What is known of the clients beside the recipe.

        Raises
        ------
        InputError
            If a client is out of reach, or nobody is there.
        """
        channel = self.channel
        if isinstance(channel, Trace):
            sample = channel.sample_of(round_index, clock_s)
            heard = self._cell(self._traced(channel, sample), num_samples)
        else:
            gains = channel.gains(round_index, self.config.cell.num_clients)
            heard = self._cell(self._snr(gains), num_samples)
        found: dict[str, Any] = {**seen.fields}
        heard = replace(heard, **found)
        present = self.present(round_index, clock_s, seen)
        if present is not None:
            heard = heard.take(present.clients)
        if (lost := out_of_reach(heard)) is not None:
            client = int(present.clients[lost.client]) if present else lost.client
            raise InputError(self._lost(round_index, clock_s, lost, client))
        return heard

    def _cell(self, heard: Mapping[str, Any], num_samples: FloatArray) -> Cell:
        """Return the cell of all clients, of one sample or of many, [..., K]."""
        cell, radio, fleet = self.config.cell, self.config.radio, self.fleet
        fields = {"speed_flops_per_s": self.speed_flops_per_s, **heard}
        given = fleet.cell_fields() if fleet else {"client_ids": self._ids}
        in_blocks = not (fleet and fleet.gives_rates)  # else nobody takes any
        whole = Cell(
            **fields | {name: one for name, one in given.items() if one is not None},
            memory_bytes=self.memory_bytes,
            num_samples=num_samples,
            power_tx_w=np.broadcast_to(self.power_tx_w, cell.num_clients),
            joule_per_flop=self.joule_per_flop,
            total_bandwidth_hz=cell.total_bandwidth_hz,
            up_bandwidth_hz=cell.up_bandwidth_hz,
            resource_block_hz=cell.resource_block_hz if in_blocks else None,
            noise=radio.noise,
            max_spectral_efficiency=radio.max_spectral_efficiency or np.inf,
            server_speed_flops_per_s=cell.server_speed_flops_per_s,
            emulator_time=self.emulator_time,
        )
        return slower(whole, cell.slowdown) if cell.slowdown != 1 else whole

    def _snr(self, gains: Mapping[Any, FloatArray]) -> dict[str, Any]:
        """Return the SNRs of gains, noise of the whole band."""
        radio = self.config.radio
        density_w_per_hz = dbm_to_w(radio.noise_psd_dbm_per_hz + radio.noise_figure_db)
        down_hz = self.config.cell.total_bandwidth_hz
        up_hz = self.config.cell.up_bandwidth_hz or down_hz
        sent_down_w, sent_up_w = radio.server_power_w, self.power_tx_w
        return {
            "snr_down": sent_down_w * gains["down"] / (density_w_per_hz * down_hz),
            "snr_up": sent_up_w * gains["up"] / (density_w_per_hz * up_hz),
        }

    def _traced(self, trace: Trace, sample: Samples) -> dict[str, Any]:
        """Return links and speeds of a sample or of all, as in `Cell`, [..., K]."""
        values = trace.linear(sample)
        gains = trace.kind == "gain_db"
        links = self._snr(values) if gains else as_in_cell(trace.kind, values)
        speed = trace.speed_of(sample, self.speed_flops_per_s)
        return links | {"speed_flops_per_s": speed}

    @property
    def _ids(self) -> tuple[str, ...] | None:
        """K names of the clients, of the fleet or the trace; None = numbers."""
        if self.fleet is not None:
            return self.fleet.ids
        return self.channel.names if isinstance(self.channel, Trace) else None

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

    def _lost(
        self, round_index: int, clock_s: float, lost: OutOfReach, client: int
    ) -> str:
        channel, fleet = self.channel, self.fleet
        if fleet and (place := fleet.place_of_link(client, lost.direction)):
            remedy = "correct the value, or take the line out of the file"
            return f"{place}: {lost}; {remedy}."
        if isinstance(channel, Trace) and channel.places:
            sample = channel.sample_of(round_index, clock_s)
            place = channel.places.of(sample, client, lost.direction)
            remedy = f"correct the {WORDS[channel.kind]}, or take this client out of"
            return f"{place} {lost.why}; {remedy} every round."
        remedy = "lower `radio.path_loss_db`, or raise the powers"
        return f"in round {round_index + 1}, {lost}; {remedy}."

    @cached_property
    def emulator_time(self) -> PiecewiseLinear | None:
        """The emulator's measured time, where the config names a table."""
        return measured_time(self.config, self.config.cell.num_clients)

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
        clock_s: float = 0.0,
        seen: Seen = ALL_AS_DRAWN,
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
        clock_s : float
            When it begins on the run's clock, as `start_s` says [s].
        seen : Seen
            What is known of the clients beside the recipe.

        Raises
        ------
        InputError
            If a client is out of reach, or nobody is there.
        """
        cell = self.cell(round_index, num_samples, clock_s, seen)
        present = self.present(round_index, clock_s, seen)
        own = present and limits_of(self.config, cell.num_clients)  # C5 counts these
        return Situation(
            cell=cell,
            costs=costs,
            limits=own or self.limits,
            carried=carried or {},
            present=present,
        )

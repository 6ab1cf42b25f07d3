"""From a config to the cell of each round: who the clients are and how they hear us."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimwave.base.columns import Column, Columns, read_columns
from trimwave.base.errors import InputError
from trimwave.base.quantity import plain
from trimwave.base.streams import stream
from trimwave.base.units import FloatArray, db_to_linear, dbm_to_w
from trimwave.cell.cell import Cell
from trimwave.cell.fading import Rayleigh
from trimwave.cell.link import DIRECTIONS
from trimwave.cell.plausible import (
    HELD,
    MEMORY,
    SAMPLES,
    SHARE_MAX,
    SHARE_MIN,
    SNR,
    SPEED,
)
from trimwave.cell.reach import LEAST_RATE_BPS, OutOfReach, out_of_reach
from trimwave.cell.trace import WORDS, Samples, Trace
from trimwave.model.costs import Costs
from trimwave.plan.plan import Plan, Present, Situation
from trimwave.plan.played import Replay
from trimwave.problem.limits import Limits, beta_bar_from_c5
from trimwave.recipe.config import Config, LimitsConfig
from trimwave.recipe.traces import trace_of

DEFAULT_BETA_BAR = 0.5


@dataclass(frozen=True)
class Environment:
    """The clients of a run, drawn once, and the channel, drawn every round."""

    config: Config
    speed_flops_per_s: FloatArray
    memory_bytes: FloatArray
    channel: Rayleigh | Trace
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
            trace, digest = trace_of(radio)
            trace.require_clients(cell.num_clients)
            return cls(config, speed, memory, trace, {"trace": f"sha256:{digest}"})
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
            If in one of the first rounds a client is out of reach, or nobody is there.
        """
        if not isinstance(self.channel, Trace):
            return
        samples = np.ones(self.config.cell.num_clients)
        if self.replay is not None:
            self.cell(0, samples, self.start_s(0.0))
            return
        for index in range(min(num_rounds, self.channel.num_samples)):
            self.cell(index, samples)

    @cached_property
    def replay(self) -> Replay | None:
        """The trace as it is played forward; None = rounds take what is planned."""
        trace = self.channel
        if not isinstance(trace, Trace) or trace.timeline is None:
            return None
        every = slice(None)
        ones = np.ones(len(trace.ids))
        cells = self._cell(self._traced(trace, every), ones)
        whole_hz = np.full(len(trace.ids), cells.total_bandwidth_hz)
        return Replay(
            timeline=trace.timeline,
            cells=cells,
            present=trace.present,
            carries={
                direction: trace.carries[direction]
                & (cells.link(direction).rate_bps(whole_hz) >= LEAST_RATE_BPS)
                for direction in DIRECTIONS
            },
        )

    def start_s(self, clock_s: float) -> float:
        """Return when a round can begin: now, or when somebody is there [s].

        Raises
        ------
        InputError
            If in no sample of the trace anybody is.
        """
        if self.replay is None:
            return clock_s
        anybody: NDArray[np.bool_] = np.asarray(self.replay.ready.any(axis=1))
        if not anybody.any():
            raise InputError(
                f"{self.config.radio.trace}: no client is ever there with links that "
                "carry anything; correct the trace."
            )
        return self.replay.timeline.next_s(clock_s, anybody)

    def next_sample_s(self, clock_s: float) -> float:
        """Return when the trace's next sample begins; now, where it has no seconds."""
        if self.replay is None or len(self.replay.present) < 2:
            return clock_s
        others = np.ones(len(self.replay.present), dtype=bool)
        others[self.replay.timeline.sample_at(clock_s)] = False
        return self.replay.timeline.next_s(clock_s, others)

    def client_s(self, plan: Plan, start_s: float) -> FloatArray:
        """Return what each client's round takes, [K] [s]: as planned, or played.

        Parameters
        ----------
        plan : Plan
            Of the round.
        start_s : float
            When it begins on the run's clock [s].
        """
        if self.replay is None:
            return plan.total_s
        return self.replay.client_s(plan, start_s)

    def present(self, round_index: int, clock_s: float = 0.0) -> Present | None:
        """Return who can be planned in a round; None = everyone.

        Raises
        ------
        InputError
            If nobody can.
        """
        trace = self.channel
        if not isinstance(trace, Trace):
            return None
        sample = trace.sample_of(round_index, clock_s)
        if self.replay is not None:
            here = self.replay.ready[sample]
        else:
            carries = trace.carries["down"] & trace.carries["up"]
            here = (trace.present & carries)[sample]
        if here.all():
            return None
        if not here.any():
            raise InputError(
                f"{self.config.radio.trace}: in round {round_index + 1} no client is "
                "there; take the round out of the trace, or give it `time_s`, with "
                "which a run waits."
            )
        return Present(clients=np.flatnonzero(here), num_clients=here.size)

    def cell(
        self, round_index: int, num_samples: FloatArray, clock_s: float = 0.0
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

        Raises
        ------
        InputError
            If a client is out of reach, or nobody is there.
        """
        channel, num_clients = self.channel, self.config.cell.num_clients
        if isinstance(channel, Trace):
            sample = channel.sample_of(round_index, clock_s)
            fields = self._traced(channel, sample)
        else:
            fields = self._snr(channel.gains(round_index, num_clients))
        heard = self._cell(fields, num_samples)
        present = self.present(round_index, clock_s)
        if present is not None:
            heard = heard.take(present.clients)
        if (lost := out_of_reach(heard)) is not None:
            raise InputError(self._lost(round_index, clock_s, lost, present))
        return heard

    def _cell(self, traced: Mapping[str, Any], samples: FloatArray) -> Cell:
        """Return the cell of all clients, of one sample or of many, [..., K]."""
        cell, radio = self.config.cell, self.config.radio
        return Cell(
            **{"speed_flops_per_s": self.speed_flops_per_s, **traced},
            memory_bytes=self.memory_bytes,
            num_samples=samples,
            total_bandwidth_hz=cell.total_bandwidth_hz,
            noise=radio.noise,
            max_spectral_efficiency=radio.max_spectral_efficiency or np.inf,
            server_speed_flops_per_s=cell.server_speed_flops_per_s,
        )

    def _snr(self, gains: Mapping[Any, FloatArray]) -> dict[str, Any]:
        """Return the SNRs of gains, noise of the whole band."""
        radio = self.config.radio
        density_w_per_hz = dbm_to_w(radio.noise_psd_dbm_per_hz + radio.noise_figure_db)
        noise_w = density_w_per_hz * self.config.cell.total_bandwidth_hz
        return {
            "snr_down": radio.server_power_w * gains["down"] / noise_w,
            "snr_up": radio.client_power_w * gains["up"] / noise_w,
        }

    def _traced(self, trace: Trace, sample: Samples) -> dict[str, Any]:
        """Return links and speeds of a sample or of all, as `Cell` has them, [..., K].

        Whoever is not there has an SNR of 1.
        """
        if trace.kind == "rate_bps":
            raise InputError(
                f"{self.config.radio.trace}: rates cannot be planned yet; give gains "
                "or SNRs."
            )
        values = trace.linear(sample)
        links = {f"snr_{direction}": one for direction, one in values.items()}
        if trace.kind == "gain_db":
            links = self._snr(values)
        return links | {
            "speed_flops_per_s": trace.speed_of(sample, self.speed_flops_per_s)
        }

    def _lost(
        self,
        round_index: int,
        clock_s: float,
        lost: OutOfReach,
        present: Present | None,
    ) -> str:
        channel = self.channel
        if isinstance(channel, Trace) and channel.places:
            sample = channel.sample_of(round_index, clock_s)
            everyone = np.arange(len(channel.ids))
            client = int((present.clients if present else everyone)[lost.client])
            place = channel.places.of(sample, client, lost.direction)
            remedy = f"correct the {WORDS[channel.kind]}, or take this client out of"
            remedy += " every round"
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
        clock_s: float = 0.0,
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

        Raises
        ------
        InputError
            If a client is out of reach, or nobody is there.
        """
        cell = self.cell(round_index, num_samples, clock_s)
        present = self.present(round_index, clock_s)
        limits = self.limits
        if present is not None:  # C5 counts the clients at hand
            limits = limits_of(self.config, cell.num_clients)
        return Situation(
            cell=cell,
            costs=costs,
            limits=limits,
            carried=carried or {},
            present=present,
        )


def limits_of(config: Config, num_clients: int | None = None) -> Limits:
    """C4 and C5 of a config, C5 from its constants or from beta_bar.

    Parameters
    ----------
    config : Config
        All settings.
    num_clients : int, optional
        How many clients C5 counts; the config's if left out.

    Raises
    ------
    InputError
        If both are given, or the constants are incomplete or infeasible.
    """
    limits = config.limits
    return Limits(
        beta_min=limits.beta_min,
        beta_max=limits.beta_max,
        beta_bar=_beta_bar(
            limits, num_clients or config.cell.num_clients, config.train.batch_size
        ),
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

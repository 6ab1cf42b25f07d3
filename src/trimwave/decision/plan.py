"""What a method sees and what it decides: Situation, Plan, Scheme."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trimwave.base.units import FloatArray, IntArray
from trimwave.cell.cell import Cell
from trimwave.model.costs import Costs
from trimwave.model.submodel import Submodel, Trained
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution


@dataclass(frozen=True, kw_only=True, eq=False)
class Present:
    """Who of a run's clients is there in a round."""

    clients: IntArray
    """[K'] their numbers in the run, ascending: those of the situation's cell."""
    num_clients: int
    """K of the run."""
    client_ids: tuple[str, ...] | None = None
    """K names of the run's clients; None = their numbers."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a method sees when it plans a round."""

    cell: Cell
    """The clients and their links in this round."""
    costs: Costs
    """What any sub-model costs."""
    limits: Limits = field(default_factory=Limits)
    """C4 and C5, for methods that prune."""
    carried: Mapping[str, Any] = field(default_factory=dict)
    """`Plan.carry` of the round before; empty in the first."""
    present: Present | None = None
    """Who of the run's clients the cell has; None = all of them."""
    stage: int = 0
    """Which of the method's stages the round is of."""
    first_step: int | None = None
    """As in `Submodel`, for a method whose stages differ in their local steps."""

    @property
    def clients(self) -> IntArray:
        """[K'] numbers in the run of the cell's clients.

        What a method carries over for each client it keeps by these: the cell of the
        next round may have others.
        """
        if self.present is not None:
            return self.present.clients
        return np.arange(self.cell.num_clients)

    def problem(self, trained: Trained = "full") -> Problem:
        """Return P1 of this round, eq. (10)."""
        work = self.costs.workload(trained)
        return Problem(cell=self.cell, workload=work, limits=self.limits)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """How the server distils the full model into the emulator on public data."""

    initial_steps: int
    """Steps before round one."""
    every_rounds: int
    """Again every so many rounds; 0 = never."""
    steps: int
    """Steps each of those times."""
    kl_weight: float
    """Weight of the KL to the full model beside the hidden-state error."""


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """What a method keeps fixed over a run, and so what the server holds."""

    submodel: Submodel
    """The sub-model that the emulator's test loss is taken on; its `trained_blocks` are
    all that any client may train, its `shared_blocks` all that ever changes."""
    align: Alignment | None = None
    """The method's own emulator alignment; None = as the recipe's `[align]` says."""
    learning_rate: float | None = None
    """The method's own step size; None = as the recipe's `[train]` says."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Rounds of a run in which the same trains; most methods have one, without end.

    Between two stages what the next one does not go on training is merged into the
    model that it starts from: there is one border for all clients of a stage.
    """

    scheme: Scheme
    """What stays fixed over the stage."""
    rounds: int | None = None
    """Rounds after which the next stage begins."""
    least_slope_per_s: float | None = None
    """Or as soon as the test loss of the full model falls by less than this in a
    virtual second, over two rounds of the stage."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a method decides for one round. Everything downstream consumes this.

    Arrays are over all K clients; a client that does not take part has zeros.
    """

    submodels: tuple[Submodel | None, ...]
    """K sub-models; None = not in this round."""
    bandwidth_hz: FloatArray
    """[K] B_k [Hz]."""
    up_bandwidth_hz: FloatArray | None = None
    """[K] share of the uplink's own band under FDD [Hz]; None = B_k serves both."""
    compute_s: FloatArray
    """[K] predicted local fine-tuning time, the server's part included [s]."""
    down_s: FloatArray
    """[K] predicted download time [s]."""
    up_s: FloatArray
    """[K] predicted upload time [s]."""
    down_bits: IntArray
    """[K] bits down in the round."""
    up_bits: IntArray
    """[K] bits up in the round."""
    flops: IntArray
    """[K] FLOPs on the device in the round."""
    memory_bytes: IntArray
    """[K] peak memory on the device, by the model [byte]."""
    install_bits: IntArray
    """[K] what lies on each device before the first round [bit]; not in `down_s`."""
    install_s: float
    """How long its one-time download takes with the best split of the band [s]."""
    binding: tuple[str, ...]
    """K names of what holds x_k: memory (C3), beta_max or beta_min (C4), or nothing."""
    solution: Solution | None = None
    """The solver's own result, before rounding to real heads and neurons."""
    carry: Mapping[str, Any] = field(default_factory=dict)
    """What the method wants to find in the next round's `Situation.carried`; JSON. The
    clients are those who are there: for each of them, by `Situation.clients`."""
    server_s: FloatArray | float = 0.0
    """[K] what of `compute_s` is the server's part [s]."""

    given_s: FloatArray | float = 0.0
    """[K] what of `down_s` and `up_s` goes over links that take no band [s]."""
    energy_j: FloatArray | None = None
    """[K] what each client takes for sending and, where that is known, for computing
    [J]; None = the cell does not know."""
    client_ids: tuple[str, ...] | None = None
    """K names of the clients, as in `Cell`."""

    @property
    def num_clients(self) -> int:
        """K."""
        return len(self.submodels)

    @property
    def scheduled(self) -> NDArray[np.bool_]:
        """[K] who takes part."""
        return np.array([submodel is not None for submodel in self.submodels])

    @property
    def total_s(self) -> FloatArray:
        """[K] T_k [s]."""
        return self.compute_s + self.down_s + self.up_s

    @property
    def latency_s(self) -> float:
        """The round's time, max_k T_k [s]."""
        return float(np.max(self.total_s))

    @property
    def straggler(self) -> int:
        """The client that ends last."""
        return int(np.argmax(self.total_s))

    @property
    def prune_rate(self) -> FloatArray:
        """[K] beta_k; nan for who does not take part."""
        return np.array(
            [np.nan if one is None else 1 - one.kept_fraction for one in self.submodels]
        )

    @property
    def spectrum_utilisation(self) -> float:
        """Share of the band's round that carries bits, sum t_comm,k B_k / (T B)."""
        up_hz, band_hz = self.bandwidth_hz, float(np.sum(self.bandwidth_hz))
        if self.up_bandwidth_hz is not None:
            up_hz = self.up_bandwidth_hz
            band_hz += float(np.sum(up_hz))
        if not band_hz:
            return 0.0
        # Links of a given rate, which take no band, are not beside FDD.
        busy = self.down_s * self.bandwidth_hz + self.up_s * up_hz
        busy = busy - self.given_s * self.bandwidth_hz
        # Rounding may leave a little less than nothing.
        return max(0.0, float(np.sum(busy))) / (self.latency_s * band_hz)

    def record(self) -> dict[str, Any]:
        """Plain numbers for a record or a table, one list entry per client."""
        solution, up_hz = self.solution, self.up_bandwidth_hz
        own_band = {} if up_hz is None else {"up_bandwidth_hz": up_hz.tolist()}
        named = {} if self.client_ids is None else {"client_ids": [*self.client_ids]}
        spent = {} if self.energy_j is None else {"energy_j": self.energy_j.tolist()}
        return {
            **named,
            "scheduled": self.scheduled.tolist(),
            "prune_rate": [
                None if np.isnan(rate) else rate for rate in self.prune_rate.tolist()
            ],
            "bandwidth_hz": self.bandwidth_hz.tolist(),
            **own_band,
            "compute_s": self.compute_s.tolist(),
            "down_s": self.down_s.tolist(),
            "up_s": self.up_s.tolist(),
            "total_s": self.total_s.tolist(),
            "down_bits": self.down_bits.tolist(),
            "up_bits": self.up_bits.tolist(),
            "flops": self.flops.tolist(),
            **spent,
            "memory_bytes": self.memory_bytes.tolist(),
            "install_bits": self.install_bits.tolist(),
            "install_s": self.install_s,
            "binding": list(self.binding),
            "latency_s": self.latency_s,
            "straggler": self.straggler,
            "solver": solution.solver if solution else None,
            "status": str(solution.status) if solution else None,
            "solver_latency_s": solution.latency_s if solution else None,
            "bound_s": solution.bound_s if solution else None,
            "kkt_residual": solution.kkt_residual if solution else None,
            "carry": dict(self.carry),
        }

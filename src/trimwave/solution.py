"""What a solver returns, and what a method returns: Solution, Submodel, Plan."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

from trimwave.problem import Problem
from trimwave.units import FloatArray, IntArray


class Status(StrEnum):
    """How a solver ended."""

    OPTIMAL = "optimal"
    """Globally optimal; `bound_s` and `kkt_residual` prove it."""
    FEASIBLE = "feasible"
    """All constraints hold; nothing is claimed about optimality."""
    ITERATION_LIMIT = "iteration_limit"
    """Feasible, stopped by the iteration limit before its own stopping rule."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A point of P1 and what is known of it."""

    solver: str
    status: Status
    kept: FloatArray
    """[K] x_k = 1 - beta_k."""
    bandwidth_hz: FloatArray
    """[K] B_k [Hz]."""
    latency_s: float
    """max_k T_k [s]."""
    bound_s: float | None = None
    """Certified lower bound on the optimum [s]: no point of P1 is faster."""
    price_hz: float | None = None
    """Band that one more unit of sum x_k costs [Hz]; 0 if C5 is slack."""
    kkt_residual: float | None = None
    """Largest relative violation of the optimality conditions."""
    trace: tuple[float, ...] = ()
    """Latency after each iteration [s]."""
    sweeps: int = 0
    """Iterations until the solver's stopping rule held."""

    @property
    def prune_rate(self) -> FloatArray:
        """[K] beta_k."""
        return 1 - self.kept

    @property
    def gap(self) -> float | None:
        """Relative distance between the value and its bound."""
        if self.bound_s is None:
            return None
        return (self.latency_s - self.bound_s) / self.latency_s


class Solver(Protocol):
    """An algorithm for P1."""

    @property
    def name(self) -> str:
        """What `--solver` calls it."""

    def solve(self, problem: Problem) -> Solution:
        """Solve a problem that has passed `Problem.check`."""


def solve(problem: Problem, solver: Solver) -> Solution:
    """Solve P1 with one algorithm, eq. (10).

    Raises
    ------
    InfeasibleError
        If C3, C4 and C5 exclude each other: which, for whom, by how much.
    """
    problem.check()
    return solver.solve(problem)


@dataclass(frozen=True, kw_only=True, slots=True)
class Submodel:
    """Which part of the model a client gets."""

    emulator_params: int
    """Parameters kept of the emulator: names the kept heads and neurons, since the
    pruning order is one for all."""
    kept_fraction: float
    """The same as a fraction x_k."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a method decides for one round. Everything downstream consumes this."""

    submodels: tuple[Submodel, ...]
    """K sub-models."""
    bandwidth_hz: FloatArray
    """[K] B_k [Hz]."""
    compute_s: FloatArray
    """[K] predicted local fine-tuning time [s]."""
    down_s: FloatArray
    """[K] predicted download time [s]."""
    up_s: FloatArray
    """[K] predicted upload time [s]."""
    down_bits: IntArray
    """[K] package size [bit]."""
    up_bits: IntArray
    """[K] update size [bit]."""
    flops: IntArray
    """[K] FLOPs of the round."""
    binding: tuple[str, ...]
    """K names of what holds x_k: memory (C3), beta_max or beta_min (C4), or nothing."""
    solution: Solution
    """The solver's own result, before rounding to real heads and neurons."""

    @property
    def num_clients(self) -> int:
        """K."""
        return len(self.submodels)

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
        """[K] beta_k."""
        return 1 - np.array([submodel.kept_fraction for submodel in self.submodels])

    @property
    def spectrum_utilisation(self) -> float:
        """Share of the band's round that carries bits, sum t_comm,k B_k / (T B)."""
        busy = float(np.sum((self.down_s + self.up_s) * self.bandwidth_hz))
        return busy / (self.latency_s * float(np.sum(self.bandwidth_hz)))

    def record(self) -> dict[str, Any]:
        """Plain numbers for a record or a table, one list entry per client."""
        return {
            "prune_rate": self.prune_rate.tolist(),
            "bandwidth_hz": self.bandwidth_hz.tolist(),
            "compute_s": self.compute_s.tolist(),
            "down_s": self.down_s.tolist(),
            "up_s": self.up_s.tolist(),
            "total_s": self.total_s.tolist(),
            "down_bits": self.down_bits.tolist(),
            "up_bits": self.up_bits.tolist(),
            "flops": self.flops.tolist(),
            "binding": list(self.binding),
            "latency_s": self.latency_s,
            "straggler": self.straggler,
            "solver": self.solution.solver,
            "status": str(self.solution.status),
            "solver_latency_s": self.solution.latency_s,
            "bound_s": self.solution.bound_s,
            "kkt_residual": self.solution.kkt_residual,
        }


def make_plan(
    problem: Problem, solution: Solution, kept: FloatArray, bandwidth_hz: FloatArray
) -> Plan:
    """Price a solution after rounding to real sub-models, eqs. (6), (8)."""
    latency, work = problem.latency, problem.workload
    params = np.rint(kept * work.emulator_params).astype(np.int64)
    steps = work.num_local_steps
    emulator_flops = np.rint(kept * work.emulator_flops).astype(np.int64)
    count = np.ones_like(params)
    return Plan(
        submodels=tuple(
            Submodel(emulator_params=int(n), kept_fraction=float(x))
            for n, x in zip(params, kept, strict=True)
        ),
        bandwidth_hz=bandwidth_hz,
        compute_s=latency.compute_s(kept),
        down_s=latency.down_s(kept, bandwidth_hz),
        up_s=latency.up_s(bandwidth_hz),
        down_bits=params * work.bits_per_param
        + work.adapter_bits
        + work.overhead_down_bits,
        up_bits=count * (work.update_bits + work.overhead_up_bits),
        flops=steps * (work.adapter_flops + emulator_flops),
        binding=_binding(problem, kept),
        solution=solution,
    )


def _binding(problem: Problem, kept: FloatArray) -> tuple[str, ...]:
    """Name the bound that each x_k sits at, to the size of one prunable unit."""
    sizes = problem.workload.emulator_sizes
    near = 1e-7
    if sizes is not None and sizes.size > 1:
        near = float(np.max(np.diff(sizes)) / problem.workload.emulator_params)
    names = []
    for k, x in enumerate(kept):
        if x >= problem.memory_kept_max[k] - near:
            names.append("memory")
        elif x <= problem.kept_min[k] + near:
            names.append("beta_max")
        elif x >= 1 - problem.limits.beta_min - near:
            names.append("beta_min")
        else:
            names.append("-")
    return tuple(names)

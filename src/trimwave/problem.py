"""P1: the constraints C1-C5, and what violates them, eq. (10)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from trimwave.cell import Cell
from trimwave.errors import InfeasibleError, InputError
from trimwave.latency import RoundLatency
from trimwave.units import FloatArray
from trimwave.workload import Workload

ROUNDING = 1e-9
"""Relative excess that is floating point, not a violation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """C4 and C5."""

    beta_min: float = 0.2
    """Least pruning of any client. # assumed: the letter gives none."""
    beta_max: float = 0.8
    """Most pruning of any client. # assumed: the letter gives none."""
    beta_bar: float = 0.5
    """C5: largest mean pruning. # assumed: Fig. 3 implies 0.493."""

    def __post_init__(self) -> None:
        if not 0 <= self.beta_min <= self.beta_max < 1:
            raise InputError(
                "C4 needs 0 <= `beta_min` <= `beta_max` < 1, got "
                f"{self.beta_min} and {self.beta_max}."
            )
        if not np.isfinite(self.beta_bar):
            raise InputError(f"`beta_bar` must be a number, got {self.beta_bar}.")


def beta_bar_from_c5(
    *,
    c5_xi: float,
    c5_phi: float,
    c5_psi: float,
    gamma_min: float,
    num_clients: int,
    batch_size: int,
) -> float:
    """Largest mean pruning rate that C5 allows, from its own constants.

    Raises
    ------
    InputError
        If a constant is not positive, or C5 fails without any pruning.
    """
    for name, value in (("c5_xi", c5_xi), ("c5_phi", c5_phi), ("c5_psi", c5_psi)):
        if not (np.isfinite(value) and value > 0):
            raise InputError(f"`{name}` of C5 must be positive, got {value}.")
    floor = c5_xi + c5_phi / (num_clients * batch_size)
    beta_bar = (gamma_min - floor) / c5_psi
    if not beta_bar >= 0:
        raise InputError(
            f"C5 is infeasible: xi + phi/(K N) = {floor:g} exceeds `gamma_min` = "
            f"{gamma_min:g} by {floor - gamma_min:g} even without pruning; raise "
            "`gamma_min` or the batch size."
        )
    return beta_bar


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """One constraint that does not hold."""

    constraint: str
    """"C1" to "C5"."""
    client: int | None
    """Which client, or None for the cell."""
    shortfall: float
    """By how much, in the constraint's own unit."""
    message: str
    """The sentence for the user, remedy included."""

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, kw_only=True)
class Problem:
    """P1 of one round: choose kept fractions x_k and shares B_k, eq. (10)."""

    cell: Cell
    workload: Workload
    limits: Limits

    @cached_property
    def latency(self) -> RoundLatency:
        """The coefficients of eq. (9)."""
        cell, work = self.cell, self.workload
        ones = np.ones(cell.num_clients)
        return RoundLatency(
            compute_fixed_s=work.num_local_steps
            * work.adapter_flops
            / cell.speed_flops_per_s,
            compute_emulator_s=work.num_local_steps
            * work.emulator_flops
            / cell.speed_flops_per_s,
            down_fixed_bits=ones * (work.adapter_bits + work.overhead_down_bits),
            down_emulator_bits=ones * work.emulator_bits,
            up_bits=ones * (work.update_bits + work.overhead_up_bits),
            down=cell.link(cell.snr_down),
            up=cell.link(cell.snr_up),
        )

    @cached_property
    def memory_kept_max(self) -> FloatArray:
        """[K] largest x_k that C3 allows; may be negative."""
        room = self.cell.memory_bytes - self.workload.fixed_memory_bytes
        if not self.workload.emulator_memory_bytes:
            return np.where(room >= 0, np.inf, -np.inf)
        return room / self.workload.emulator_memory_bytes

    @cached_property
    def kept_min(self) -> FloatArray:
        """[K] smallest x_k: C4."""
        return np.full(self.cell.num_clients, 1 - self.limits.beta_max)

    @cached_property
    def kept_max(self) -> FloatArray:
        """[K] largest x_k: C4 and C3; meaningful once `check` passes."""
        return np.minimum(1 - self.limits.beta_min, self.memory_kept_max)

    @property
    def kept_total(self) -> float:
        """C5 as sum of x_k >= this, K (1 - beta_bar)."""
        return self.cell.num_clients * (1 - self.limits.beta_bar)

    def check(self) -> None:
        """Raise unless some x_k satisfies C3, C4 and C5.

        Raises
        ------
        InfeasibleError
            Naming every constraint, client and shortfall, with a remedy.
        """
        found = [*self._unreachable_floor(), *self._memory_shortfalls()]
        if not found:
            found = self._mean_shortfall()
        if found:
            raise InfeasibleError(found)

    def _unreachable_floor(self) -> list[Violation]:
        floor = self.workload.min_kept
        excess = floor - (1 - self.limits.beta_max)
        if excess <= ROUNDING:
            return []
        return [
            Violation(
                constraint="C4",
                client=None,
                shortfall=excess,
                message=(
                    f"C4: `beta_max` = {self.limits.beta_max:g} cannot be reached: the "
                    f"floors per block keep {floor:.4f} of the emulator; lower "
                    f"`beta_max` to {np.floor((1 - floor) * 1e4) / 1e4:g}, or lower "
                    "the floors of heads and neurons, `prune.min_neurons` first."
                ),
            )
        ]

    def _memory_shortfalls(self) -> list[Violation]:
        work, found = self.workload, []
        kept = 1 - self.limits.beta_max
        need = work.fixed_memory_bytes + work.emulator_memory_bytes * kept
        for k in np.flatnonzero(self.cell.memory_bytes < need * (1 - ROUNDING)):
            have = self.cell.memory_bytes[k]
            found.append(
                Violation(
                    constraint="C3",
                    client=int(k),
                    shortfall=float(need - have),
                    message=(
                        f"C3: client {k} has {have / 1e9:.3f} GB, short by "
                        f"{(need - have) / 1e9:.3f} GB even at `beta_max` = "
                        f"{self.limits.beta_max:g}; drop the client, raise `beta_max`, "
                        "or lower the batch size."
                    ),
                )
            )
        return found

    def _mean_shortfall(self) -> list[Violation]:
        short = self.kept_total - float(np.sum(self.kept_max))
        if short <= ROUNDING * self.cell.num_clients:
            return []
        reachable = 1 - float(np.mean(self.kept_max))
        cause, remedy = "`beta_min` of C4 forces", "lower `beta_min`"
        if np.any(self.memory_kept_max < 1 - self.limits.beta_min):
            tight = np.flatnonzero(self.memory_kept_max < 1 - self.limits.beta_min)
            cause = f"memory (C3) of clients {tight.tolist()} and C4 force"
            remedy = "give these clients more memory or drop them"
        return [
            Violation(
                constraint="C5",
                client=None,
                shortfall=short / self.cell.num_clients,
                message=(
                    f"C5: mean pruning must not exceed `beta_bar` = "
                    f"{self.limits.beta_bar:g}, but {cause} at least "
                    f"{reachable:.4f}, over by {short / self.cell.num_clients:.4f}; "
                    f"raise `beta_bar`, or {remedy}."
                ),
            )
        ]

    def violations(self, kept: FloatArray, bandwidth_hz: FloatArray) -> list[Violation]:
        """Return what a candidate violates: constraint, client, shortfall."""
        cell, found = self.cell, []

        def add(constraint: str, client: int | None, short: float, what: str) -> None:
            who = "" if client is None else f" client {client}:"
            found.append(
                Violation(
                    constraint=constraint,
                    client=client,
                    shortfall=float(short),
                    message=f"{constraint}:{who} {what} by {short:.6g}.",
                )
            )

        excess = float(np.sum(bandwidth_hz)) - cell.total_bandwidth_hz
        if excess > ROUNDING * cell.total_bandwidth_hz:
            add("C1", None, excess, "bandwidths exceed the band [Hz]")
        for k in np.flatnonzero(~(bandwidth_hz >= 0)):
            add("C2", int(k), -bandwidth_hz[k], "negative bandwidth [Hz]")
        work = self.workload
        over = work.fixed_memory_bytes + work.emulator_memory_bytes * kept
        over = over - cell.memory_bytes
        for k in np.flatnonzero(over > ROUNDING * cell.memory_bytes):
            add("C3", int(k), over[k], "memory exceeded [byte]")
        for k in np.flatnonzero(~(kept >= self.kept_min - ROUNDING)):
            add("C4", int(k), self.kept_min[k] - kept[k], "pruned beyond `beta_max`")
        for k in np.flatnonzero(kept > 1 - self.limits.beta_min + ROUNDING):
            short = kept[k] - (1 - self.limits.beta_min)
            add("C4", int(k), short, "pruned less than `beta_min`")
        missing = (self.kept_total - float(np.sum(kept))) / cell.num_clients
        if missing > ROUNDING:  # a NaN has been named above
            add("C5", None, missing, "mean pruning exceeds `beta_bar`")
        return found

"""P1: the constraints C1-C5, and what violates them, eq. (10)."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from trimwave.base.errors import InfeasibleError
from trimwave.base.tolerances import ROUNDING, SUM_RTOL
from trimwave.base.units import FloatArray
from trimwave.cell.cell import Cell
from trimwave.model.workload import Workload
from trimwave.problem.constraints import Words, c1, c2, c3, c4, c4_of_floor, c5
from trimwave.problem.latency import RoundLatency
from trimwave.problem.limits import Limits
from trimwave.problem.pieces import Piece
from trimwave.problem.shares import share_violations
from trimwave.problem.violation import Violation, at_least, first_violations

NO_WEIGHT = 1.0
"""p_k of C5 where all clients count alike."""


FOREVER_S = 1e30
"""Times from here on are none: the universe is 4e17 s old."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """P1 of one round: choose kept fractions x_k and shares B_k, eq. (10).

    The arrays of the cell may have leading axes, of draws; numbers of a draw are
    [..., 1].
    """

    cell: Cell
    workload: Workload
    limits: Limits
    times: RoundLatency | None = None
    """Round times in place of those of cell and workload."""

    @cached_property
    def latency(self) -> RoundLatency:
        """The coefficients of eq. (9)."""
        if self.times is not None:
            return self.times
        cell, work = self.cell, self.workload
        alike = partial(np.broadcast_to, shape=cell.shape)
        steps_per_flops = work.num_local_steps / cell.speed_flops_per_s
        return RoundLatency(
            compute_fixed_s=steps_per_flops * work.adapter_flops,
            compute_emulator_s=steps_per_flops * work.emulator_flops,
            down_fixed_bits=alike(float(work.adapter_bits + work.overhead_down_bits)),
            down_emulator_bits=alike(float(work.emulator_bits)),
            up_bits=alike(float(work.update_bits + work.overhead_up_bits)),
            down=cell.link("down"),
            up=cell.link("up"),
            emulator_time=cell.emulator_time,
            held=cell.held,
        )

    def memory_at(self, kept: FloatArray) -> FloatArray:
        """b(x_k) of C3: memory that a sub-model needs, in the shape of x [byte]."""
        work = self.workload
        return work.fixed_memory_bytes + work.emulator_memory_bytes * kept

    @property
    def memory_kept_max(self) -> FloatArray:
        """[..., K] largest x_k that C3 allows; may be negative."""
        room = self.cell.memory_bytes - self.workload.fixed_memory_bytes
        if not self.workload.emulator_memory_bytes:
            return np.where(room >= 0, np.inf, -np.inf)
        return room / self.workload.emulator_memory_bytes

    @cached_property
    def kept_min(self) -> FloatArray:
        """[..., K] smallest x_k: C4."""
        return np.broadcast_to(np.float64(1 - self.limits.beta_max), self.cell.shape)

    @cached_property
    def kept_max(self) -> FloatArray:
        """[..., K] largest x_k: C4 and C3; meaningful once `check` passes."""
        low = self.kept_min
        high = np.minimum(1 - self.limits.beta_min, self.memory_kept_max)
        # Memory that is short by no more than rounding holds the least.
        return np.where((high < low) & (high >= low - ROUNDING), low, high)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        """Eq. (9) from the least to the most kept, cut where it or C5 bends in x."""
        damage, weight = self.limits.damage, self.weight
        low, high = self.kept_min, self.kept_max
        if np.any(high < low):
            high = np.maximum(high, low)
        if damage is None:
            pieces = self.latency.pieces(low, high)
            return tuple(replace(piece, weight=weight) for piece in pieces)
        pieces = self.latency.pieces(
            low, high, [1 - np.array(point) for point in damage.points[1:-1]]
        )
        slopes = (damage.slope(1 - (one.start + one.end) / 2) for one in pieces)
        return tuple(
            replace(piece, weight=weight * slope)
            for piece, slope in zip(pieces, slopes, strict=True)
        )

    @cached_property
    def weight(self) -> FloatArray | float:
        """p_k of C5, 1 on average."""
        if not self.limits.weighted:
            return NO_WEIGHT
        samples = self.cell.num_samples
        return samples / np.mean(samples, axis=-1, keepdims=True)

    def avoided_by(self, kept: FloatArray) -> FloatArray:
        """Damage that each client avoids by not pruning at `beta_max`, [..., K]."""
        if self.limits.damage is None:
            return (kept - self.kept_min) * self.weight
        total = np.zeros(())
        for piece in self.pieces:
            on_it = np.clip(kept, piece.start, piece.end) - piece.start
            total = total + on_it * piece.weight
        return total

    def avoided(self, kept: FloatArray) -> FloatArray:
        """All of it, [..., 1]: in the letter's C5 the sum of x_k beyond their least."""
        if self.limits.damage is None and not self.limits.weighted:
            least = self.cell.num_clients * (1 - self.limits.beta_max)
            return np.sum(kept, axis=-1, keepdims=True) - least
        return np.sum(self.avoided_by(kept), axis=-1, keepdims=True)

    @property
    def avoid_min(self) -> float:
        """C5 as `avoided` >= this; negative where C5 asks for less than C4."""
        return self.cell.num_clients * self.avoid_mean

    @cached_property
    def avoid_mean(self) -> float:
        """What C5 asks of a client on average."""
        most, allowed = self.limits.beta_max, self.limits.beta_bar
        if self.limits.damage is not None:
            most, allowed = self.limits.damage(np.array([most, allowed])).tolist()
        return most - allowed

    def c5_size(self, avoided: FloatArray) -> FloatArray:
        """Return what rounding of C5 is relative to, [..., 1].

        What C5 counts is a difference of sums: their rounding is that of all of x.
        """
        steepest = max(float(np.mean(piece.weight)) for piece in self.pieces)
        return avoided + abs(self.avoid_min) + steepest * self.cell.num_clients

    def share_max_hz(self, bands: float = 1.0) -> FloatArray:
        """Largest share that a client may have, [..., K]: so many bands, or its own."""
        most, own = bands * self.cell.total_bandwidth_hz, self.cell.bandwidth_max_hz
        share = np.minimum(most, np.inf if own is None else own)
        return np.broadcast_to(share, self.cell.shape)

    def check(self) -> None:
        """Raise unless some point satisfies C1 to C5.

        Raises
        ------
        InfeasibleError
            Naming every constraint, client and shortfall, with a remedy.
        InputError
            If there are many draws.
        """
        self.cell.require_one_cell("a check of C1 to C5")
        found = [*share_violations(self.cell), *self._unreachable_floor()]
        found += [*self._memory_shortfalls(), *self._mean_shortfall()]
        found = found or [*self._out_of_reach()]
        if found:
            raise InfeasibleError(first_violations(found))

    def _out_of_reach(self) -> Iterator[Violation]:
        """C2 where not even the largest share gets anything across, but for forever."""
        largest_hz = self.share_max_hz()
        with np.errstate(over="ignore"):
            alone_s = self.latency.total_s(self.kept_min, largest_hz)
        for k in np.flatnonzero(~(alone_s < FOREVER_S)).tolist():
            message = (
                f"C2: {self.cell.who(k)} is out of reach: not even its largest share, "
                f"{largest_hz[k]:g} Hz, ends its round within {FOREVER_S:g} s; drop "
                "it, or raise its `bandwidth_max_hz`, SNR or speed, whichever is next "
                "to none."
            )
            yield Violation.of("C2", k, np.inf, message)

    def _unreachable_floor(self) -> Iterator[Violation]:
        """C4 where the floors per block keep more than `beta_max` leaves."""
        floor, limits = self.workload.min_kept, self.limits
        reached = np.floor((1 - floor) * 1e4) / 1e4
        lower = "`beta_max`" if reached >= limits.beta_min else "`beta_min`, `beta_max`"

        def words(k: int | None, short: float) -> str:
            return (
                f"C4: `beta_max` = {limits.beta_max:g} cannot be reached: the "
                f"floors per block keep {floor:.4f} of the emulator; lower "
                f"{lower} to {reached:g}, or lower "
                "the floors of heads and neurons, `prune.min_neurons` first."
            )

        return c4_of_floor(floor, 1 - limits.beta_max, words)

    def _memory_shortfalls(self) -> Iterator[Violation]:
        """C3 where everyone keeps the least."""
        beta_max, have_bytes = self.limits.beta_max, self.cell.memory_bytes
        unit_bytes = self.workload.emulator_memory_bytes or np.inf

        def words(k: int | None, short: float) -> str:
            fitting, remedy = float(self.memory_kept_max[k]), "drop the client"
            rate = at_least(1 - fitting)
            if float(rate) < 1 and float(rate) <= 1 - self.workload.min_kept:
                remedy += f", raise `beta_max` to {rate} or more"
            who = self.cell.who(int(k or 0))
            return (
                f"C3: {who} has {have_bytes[k] / 1e9:.3f} GB, short by "
                f"{at_least(short / 1e9)} GB even at `beta_max` = "
                f"{beta_max:g}; {remedy}, or lower the batch size."
            )

        # As finely as the search tells kept fractions apart.
        slack_bytes = ROUNDING * np.minimum(have_bytes, unit_bytes)
        need_bytes = self.memory_at(np.array(1 - beta_max))
        return c3(need_bytes, have_bytes, words, slack_bytes)

    def _mean_shortfall(self) -> Iterator[Violation]:
        """C5 where everyone keeps the most."""
        limits = self.limits
        what, allowed = "mean pruning must not exceed", limits.beta_bar
        if limits.damage is not None:
            allowed = float(limits.damage(np.array([allowed]))[0])
            what = f"mean damage must not exceed {allowed:g}, that at"
        cause = "`beta_min` of C4 forces"
        remedy = ", or lower `beta_min`" if limits.beta_bar >= 0 else ""
        tight = np.flatnonzero(self.memory_kept_max < 1 - limits.beta_min)
        if tight.size:
            cause = f"memory (C3) of clients {tight.tolist()} and C4 force"
            remedy = ", or give these clients more memory or drop them"

        def words(k: int | None, short: float) -> str:
            raised = limits.beta_bar + short
            if limits.damage is not None:
                least = np.array([allowed + short])
                raised = float(limits.damage.inverse(least)[0])
            return (
                f"C5: {what} `beta_bar` = "
                f"{limits.beta_bar:g}, but {cause} at least "
                f"{allowed + short:.4f}, over by {at_least(short)}; "
                f"raise `beta_bar` by {at_least(raised - limits.beta_bar)}{remedy}."
            )

        kept = np.maximum(self.kept_max, 0.0)  # C3 has said what lies below
        most = self.avoided(kept)
        # As finely as the search: nothing that passes here ends there as infeasible.
        return self._c5(kept, words, float(self.c5_size(most)[0]))

    def _c5(
        self, kept: FloatArray, words: Words | None = None, size: float | None = None
    ) -> Iterator[Violation]:
        clients = self.cell.num_clients
        slack = ROUNDING if size is None else SUM_RTOL * size / clients
        missing = (self.avoid_min - float(self.avoided(kept)[0])) / clients
        return c5(missing, words, slack)

    def violations(
        self,
        kept: FloatArray,
        bandwidth_hz: FloatArray,
        up_bandwidth_hz: FloatArray | None = None,
    ) -> list[Violation]:
        """Return what a candidate violates: constraint, client, shortfall, eq. (10)."""
        cell = self.cell
        found = [*c1(bandwidth_hz, cell.total_bandwidth_hz)]
        if up_bandwidth_hz is not None and cell.up_bandwidth_hz is not None:
            found += c1(up_bandwidth_hz, cell.up_bandwidth_hz, "the uplink's band")
        found += c2(bandwidth_hz, cell.bandwidth_min_hz, cell.bandwidth_max_hz)
        found += c3(self.memory_at(kept), cell.memory_bytes)
        found += c4(kept, self.kept_min, 1 - self.limits.beta_min)
        return [*found, *self._c5(np.fmin(kept, 1.0))]

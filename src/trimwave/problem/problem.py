"""P1: the constraints C1-C5, and what violates them, eq. (10)."""

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from trimwave.base.errors import InfeasibleError
from trimwave.base.tolerances import ROUNDING
from trimwave.base.units import FloatArray
from trimwave.cell.cell import Cell
from trimwave.model.workload import Workload
from trimwave.problem.latency import RoundLatency
from trimwave.problem.limits import Limits
from trimwave.problem.pieces import Piece
from trimwave.problem.violation import Violation, first_violations

NO_WEIGHT = 1.0
"""p_k of C5 where all clients count alike."""


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
        return np.minimum(1 - self.limits.beta_min, self.memory_kept_max)

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
        found = [*self._least_shares_excess(), *self._unreachable_floor()]
        found += self._memory_shortfalls()
        found = found or self._mean_shortfall()
        if found:
            raise InfeasibleError(first_violations(found))

    def _least_shares_excess(self) -> list[Violation]:
        least, most = self.cell.bandwidth_min_hz, self.share_max_hz()
        if least is None:
            return []
        found = [
            Violation(
                constraint="C2",
                client=int(k),
                shortfall=float(least[k] - most[k]),
                message=(
                    f"C2: client {k}'s least share {least[k]:g} Hz exceeds its "
                    f"largest, {most[k]:g} Hz; lower `bandwidth_min_hz`."
                ),
            )
            for k in np.flatnonzero(least > most)
        ]
        excess = float(np.sum(least)) - self.cell.total_bandwidth_hz
        if excess > ROUNDING * self.cell.total_bandwidth_hz:
            message = (
                f"C1: the least shares exceed the band by {excess:g} Hz; lower "
                "`bandwidth_min_hz` or drop clients."
            )
            found.append(
                Violation(
                    constraint="C1", client=None, shortfall=excess, message=message
                )
            )
        return found

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
        num_clients, damage = self.cell.num_clients, self.limits.damage
        short = (self.avoid_min - float(self.avoided(self.kept_max)[0])) / num_clients
        if short <= ROUNDING:
            return []
        what, allowed = "mean pruning must not exceed", self.limits.beta_bar
        if damage is not None:
            allowed = float(damage(np.array([allowed]))[0])
            what = f"mean damage must not exceed {allowed:g}, that at"
        cause, remedy = "`beta_min` of C4 forces", "lower `beta_min`"
        if np.any(self.memory_kept_max < 1 - self.limits.beta_min):
            tight = np.flatnonzero(self.memory_kept_max < 1 - self.limits.beta_min)
            cause = f"memory (C3) of clients {tight.tolist()} and C4 force"
            remedy = "give these clients more memory or drop them"
        return [
            Violation(
                constraint="C5",
                client=None,
                shortfall=short,
                message=(
                    f"C5: {what} `beta_bar` = "
                    f"{self.limits.beta_bar:g}, but {cause} at least "
                    f"{allowed + short:.4f}, over by {short:.4f}; "
                    f"raise `beta_bar`, or {remedy}."
                ),
            )
        ]

    def violations(
        self,
        kept: FloatArray,
        bandwidth_hz: FloatArray,
        up_bandwidth_hz: FloatArray | None = None,
    ) -> list[Violation]:
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
        if up_bandwidth_hz is not None and cell.up_bandwidth_hz is not None:
            excess = float(np.sum(up_bandwidth_hz)) - cell.up_bandwidth_hz
            if excess > ROUNDING * cell.up_bandwidth_hz:
                add("C1", None, excess, "bandwidths exceed the uplink's band [Hz]")
        for k in np.flatnonzero(~(bandwidth_hz >= 0)):
            add("C2", int(k), -bandwidth_hz[k], "negative bandwidth [Hz]")
        least, most = cell.bandwidth_min_hz, cell.bandwidth_max_hz
        if least is not None:
            for k in np.flatnonzero(bandwidth_hz < least * (1 - ROUNDING)):
                add("C2", int(k), least[k] - bandwidth_hz[k], "below its share [Hz]")
        if most is not None:
            for k in np.flatnonzero(bandwidth_hz > most * (1 + ROUNDING)):
                add("C2", int(k), bandwidth_hz[k] - most[k], "above its share [Hz]")
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
        missing = self.avoid_min - float(self.avoided(np.fmin(kept, 1.0))[0])
        missing /= cell.num_clients
        if missing > ROUNDING:  # a NaN has been named above
            add("C5", None, missing, "mean pruning exceeds `beta_bar`")
        return found

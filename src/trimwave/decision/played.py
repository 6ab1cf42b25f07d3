"""What a planned round takes over a trace in seconds: eq. (8) as the links change.

The plan is made with what the base station sees when the round begins, and its shares
stay. Then the download's bits, the local steps and the upload's bits are counted sample
by sample, each at that sample's rate or speed; a client that is not there moves nothing
meanwhile. Shapes: S samples, K clients.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimwave.base.errors import InputError
from trimwave.base.units import FloatArray
from trimwave.cell.cell import Cell
from trimwave.cell.link import Direction
from trimwave.cell.timeline import Timeline
from trimwave.decision.plan import Plan


@dataclass(frozen=True, kw_only=True, eq=False)
class Replay:
    """A trace in seconds as cells: what is played forward."""

    timeline: Timeline
    """When the samples hold."""
    cells: Cell
    """[S, K] what the base station would see in each sample; whoever is not there, or
    whose link carries nothing, has any legal value."""
    present: NDArray[np.bool_]
    """[S, K] who is there."""
    carries: Mapping[Direction, NDArray[np.bool_]]
    """[S, K] whose link carries anything, by direction."""

    @property
    def ready(self) -> NDArray[np.bool_]:
        """[S, K] who can be planned: there, with links that carry something."""
        return self.present & self.carries["down"] & self.carries["up"]

    def start_s(self, clock_s: float) -> float:
        """Return when a round can begin: now, or when somebody is ready [s].

        Raises
        ------
        InputError
            If in no sample anybody is.
        """
        if not self.ready.any():
            raise InputError(
                "`radio.trace`: no client is ever there with links that carry "
                "anything; correct the trace."
            )
        return self.timeline.next_s(clock_s, np.asarray(self.ready.any(axis=1)))

    def next_sample_s(self, clock_s: float) -> float:
        """Return when another sample than now's begins; now, if there is none [s]."""
        others = np.arange(len(self.present)) != self.timeline.sample_at(clock_s)
        return self.timeline.next_s(clock_s, others) if others.any() else clock_s

    def client_s(self, plan: Plan, start_s: float) -> FloatArray:
        """Return T_k as each client's round really goes, [K] [s].

        Parameters
        ----------
        plan : Plan
            Of the round; whoever takes part is ready in the sample at `start_s`.
        start_s : float
            When the round begins on the run's clock [s].
        """
        clients = np.flatnonzero(plan.scheduled)
        cells, up_hz = self.cells.take(clients), plan.up_bandwidth_hz
        share_hz = {
            "down": plan.bandwidth_hz[clients],
            "up": (plan.bandwidth_hz if up_hz is None else up_hz)[clients],
        }
        rate_bps = {
            direction: np.where(
                (self.present & carries)[:, clients],
                cells.link(direction).rate_bps(share_hz[direction]),
                0.0,
            )
            for direction, carries in self.carries.items()
        }
        steps_per_s = self._rounds_per_s(plan, start_s)[:, clients]
        total_s = np.zeros(plan.num_clients)
        for at, k in enumerate(clients.tolist()):
            for per_s, amount in (
                (rate_bps["down"], float(plan.down_bits[k])),
                (steps_per_s, 1.0 if plan.compute_s[k] > 0 else 0.0),
                (rate_bps["up"], float(plan.up_bits[k])),
            ):
                now_s = start_s + float(total_s[k])
                total_s[k] += self.timeline.elapsed_s(per_s[:, at], now_s, amount)
        return total_s

    def _rounds_per_s(self, plan: Plan, start_s: float) -> FloatArray:
        """Return which part of a round's local steps a second is good for, [S, K].

        The device's own part goes with its speed; the server's, which is within each
        step, keeps its time.
        """
        speed = self.cells.speed_flops_per_s
        planned = speed[self.timeline.sample_at(start_s)]
        device_s = plan.compute_s - plan.server_s
        whole_s = np.where(speed == planned, 1.0, planned / speed) * device_s
        whole_s = whole_s + plan.server_s
        with np.errstate(divide="ignore"):
            return np.where(self.present & (whole_s > 0), 1 / whole_s, 0.0)

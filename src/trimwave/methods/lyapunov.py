"""What the Lyapunov planners share: the virtual queue and how a schedule is priced.

Drift plus penalty: a long-term latency target becomes a queue Q_t of the seconds that
the rounds so far ran over it, and every round weighs its own time by Q_t against what
the method wants, by V.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trimwave.base.units import FloatArray, IntArray
from trimwave.decision.plan import Situation
from trimwave.decision.predict import best_band, latency_of
from trimwave.model.submodel import Bill

TARGET_MARGIN = 1.2
"""Latency target over the median time of a round with everyone in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """Who takes part in a round, and how they share the band."""

    clients: IntArray
    """Their numbers, ascending."""
    bandwidth_hz: FloatArray
    """[K] B_k with which they end together; zero for the others [Hz]."""
    round_s: float
    """tau(S, B): when they end [s]."""


def schedule_of(
    situation: Situation, bills: Sequence[Bill], clients: IntArray
) -> Schedule:
    """Give clients the split of the band that is best for them, by bisection.

    Parameters
    ----------
    bills : [K]
        What every client of the cell would pay, scheduled or not.
    clients : IntArray
        Who takes part.

    Raises
    ------
    InfeasibleError
        If the bounds of their shares do not fit the band.
    """
    clients = np.sort(clients)
    latency = latency_of(situation, [bills[k] for k in clients], clients)
    share_hz = best_band(latency, situation.cell.take(clients))
    bandwidth_hz = np.zeros(situation.cell.num_clients)
    bandwidth_hz[clients] = share_hz
    round_s = float(np.max(latency.total_s(np.zeros(clients.size), share_hz)))
    return Schedule(clients=clients, bandwidth_hz=bandwidth_hz, round_s=round_s)


def queue_s(situation: Situation) -> float:
    """Return Q_t [s]: what the rounds before left over; 0 in the first."""
    return float(situation.carried.get("queue_s", 0.0))


def next_carry(
    situation: Situation, round_s: float, everyone_s: float, tau_bar_s: float | None
) -> dict[str, Any]:
    """Return Q_{t+1} = max(0, Q_t + tau_t - tau_bar), and the target's own memory.

    Parameters
    ----------
    round_s : float
        tau_t, the time of the round as planned [s].
    everyone_s : float
        What it would have been with everyone in it [s].
    tau_bar_s : float or None
        The target [s]; None = `TARGET_MARGIN` times the median of `everyone_s` over
        the rounds so far, this one included.
    """
    carry: dict[str, Any] = {}
    if tau_bar_s is None:
        carry["everyone_s"] = [*situation.carried.get("everyone_s", ()), everyone_s]
        tau_bar_s = TARGET_MARGIN * float(np.median(carry["everyone_s"]))
    carry["queue_s"] = max(0.0, queue_s(situation) + round_s - tau_bar_s)
    return carry

"""Split LoRA (Wang et al., TWC 2025, arXiv 2407.02924): the blocks run at the server.

Not SplitLoRA of Lin et al. (arXiv 2407.00952), which has neither links nor scheduling.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trimwave.base.roots import bracket_root
from trimwave.base.units import FloatArray, IntArray
from trimwave.decision.plan import Plan, Scheme, Situation
from trimwave.decision.predict import latency_of, plan_of
from trimwave.methods.common import CommonOptions, require_positive
from trimwave.methods.lyapunov import Schedule, next_carry, queue_s, schedule_of
from trimwave.methods.memory import holders
from trimwave.model.costs import Costs
from trimwave.model.submodel import Bill, Submodel
from trimwave.problem.limits import Limits
from trimwave.problem.violation import ROUNDING
from trimwave.solvers.blocks import band_needed


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitLora(CommonOptions):
    """Embedding and head on the device, blocks at the server, clients by the queue.

    A reconstruction from the published problem statement: the paper's equations could
    not be read. Each round minimises V / |S| + Q_t tau(S, B) over who takes part and
    the split of the band, exactly; the paper's bound is taken as falling with 1 / |S|
    and with the same weight in every round. The head's LoRA factors travel and are
    averaged; those of the blocks live at the server, which a round's clients share.
    """

    v: float = 1.0
    """V: what one more client is worth against the queue's seconds [s^2]."""
    tau_bar_s: float | None = None
    """Long-term target for the time of a round [s]; None = 1.2 times the median, over
    the rounds so far and this one, of the time with everyone in the round: the online
    stand-in for a median over rounds simulated beforehand."""
    scheduling: Literal["lyapunov", "everyone"] = "lyapunov"
    """Choose clients every round, or take all whose memory holds their part."""

    def __post_init__(self) -> None:
        CommonOptions.__post_init__(self)
        require_positive("split_lora", self, "v", "tau_bar_s")

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "Split LoRA"

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Test on the whole model."""
        return Scheme(submodel=_submodel(costs), learning_rate=self.learning_rate)

    def plan(self, situation: Situation) -> Plan:
        """Choose clients, split the band among them, and update the queue."""
        cell, submodel = situation.cell, _submodel(situation.costs)
        bill = situation.costs.bill(submodel)
        able = holders(situation, bill)
        everyone = schedule_of(situation, [bill] * cell.num_clients, able)
        chosen, queue = everyone, queue_s(situation)
        if self.scheduling == "lyapunov" and queue > 0:  # all are best without a queue
            chosen = _best_schedule(situation, bill, able, self.v / queue)
        taking_part = set(chosen.clients.tolist())
        return plan_of(
            situation,
            [submodel if k in taking_part else None for k in range(cell.num_clients)],
            chosen.bandwidth_hz,
            bills=[bill] * chosen.clients.size,
            carry=next_carry(
                situation, chosen.round_s, everyone.round_s, self.tau_bar_s
            ),
        )


def _submodel(costs: Costs) -> Submodel:
    return costs.whole(
        costs.all_blocks, "lora", trains_head=True, sends_frozen=False, runs="split"
    )


def _best_schedule(
    situation: Situation, bill: Bill, able: IntArray, v_over_q_s: float
) -> Schedule:
    """Minimise (V / Q) / |S| + tau(S, B): the cheapest n clients, for every n."""
    bills = [bill] * situation.cell.num_clients
    schedules = [
        schedule_of(situation, bills, _cheapest(situation, bill, able, n))
        for n in range(able.size, 0, -1)
    ]
    return min(schedules, key=lambda one: v_over_q_s / one.clients.size + one.round_s)


def _cheapest(
    situation: Situation, bill: Bill, able: IntArray, num_chosen: int
) -> IntArray:
    """Return the n clients that can end together soonest.

    A deadline can be met by some n clients if and only if the n that need the least
    band for it fit in the band; the smallest such deadline is found by bisection.
    """
    # The server's part is the same for all: its share, by `latency_of` that of everyone
    # instead of n, moves all deadlines alike and changes no choice.
    latency = latency_of(situation, [bill] * able.size, able)
    cell, kept = situation.cell.take(able), np.zeros(able.size)
    band, (least_hz, most_hz) = cell.total_bandwidth_hz, cell.share_bounds_hz

    def needs_hz(deadline_s: float) -> FloatArray:
        return band_needed(latency, kept, deadline_s, least_hz, most_hz)

    def surplus(deadline_s: FloatArray) -> FloatArray:
        needs = np.sort(needs_hz(float(deadline_s[0])))
        return np.array([band - np.sum(needs[:num_chosen])])

    # Nobody ends before having computed; with an nth of what the least shares leave, n
    # have ended by `slowest`, raised so that rounding does not make them need more.
    fastest = np.sort(latency.unshared_s(kept))[num_chosen - 1]
    least = np.zeros(able.size) if least_hz is None else least_hz
    even = least + (band - np.sum(least)) / num_chosen
    even = np.minimum(even, np.inf if most_hz is None else most_hz)
    slowest = np.sort(latency.total_s(kept, even))[num_chosen - 1] * (1 + ROUNDING)
    _, deadline_s = bracket_root(surplus, [fastest], [slowest])
    order = np.argsort(needs_hz(float(deadline_s[0])), kind="stable")
    return able[order[:num_chosen]]

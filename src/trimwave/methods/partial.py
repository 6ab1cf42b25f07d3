"""Partial aggregation (Chen et al., TCOM 2024, arXiv 2204.09746): its scheduling."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trimwave.base.units import IntArray
from trimwave.decision.plan import Plan, Scheme, Situation
from trimwave.decision.predict import latency_of
from trimwave.methods.common import CommonOptions, require_positive
from trimwave.methods.lyapunov import Schedule, next_carry, queue_s, schedule_of
from trimwave.methods.pruning import pruned_plan, pruned_scheme
from trimwave.model.costs import Costs
from trimwave.model.submodel import Bill, Trained
from trimwave.problem.limits import Limits
from trimwave.problem.solution import solve
from trimwave.solvers import get_solver
from trimwave.solvers.blocks import band_needed
from trimwave.solvers.integers import round_to_sizes


@dataclass(frozen=True, kw_only=True, slots=True)
class Partial(CommonOptions):
    """beta_k = beta_bar; as much data as a long-term latency target allows.

    A reconstruction from the published problem statement: each round minimises
    Q_t tau(S, B) - V sum_{k in S} |D_k| / sum |D|, the clients by set expansion and the
    band by bisection. Clients prune and train as with JCPBA, whose split is the reverse
    of the paper's. The paper's energy budget, and its trade of computing against
    transmit power, have no counterpart here. C5 holds over the cell's clients.
    """

    v: float = 1.0
    """V: what all of the data is worth against the queue's seconds [s^2]."""
    tau_bar_s: float | None = None
    """Long-term target for the time of a round [s]; None = 1.2 times the median, over
    the rounds so far and this one, of the time with everyone in the round."""
    adapter: Trained = "full"
    """Train the adapter's weights, or LoRA factors on them."""

    def __post_init__(self) -> None:
        CommonOptions.__post_init__(self)
        require_positive("partial", self, "v", "tau_bar_s")

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "partial agg."

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Test on the emulator pruned at beta_bar."""
        return pruned_scheme(costs, limits, self.adapter, self.learning_rate)

    def plan(self, situation: Situation) -> Plan:
        """Choose clients, split the band among them, and update the queue."""
        problem, costs = situation.problem(self.adapter), situation.costs
        uniform = solve(problem, get_solver("uniform"))
        kept = round_to_sizes(problem, uniform.kept, uniform.bandwidth_hz)
        bills = costs.bills([costs.pruned(x, self.adapter) for x in kept.tolist()])
        everyone = schedule_of(situation, bills, np.arange(kept.size))
        chosen, queue = everyone, queue_s(situation)
        if queue > 0:  # all are best without a queue
            chosen = _expand(situation, bills, everyone, self.v / queue)
        scheduled = np.zeros(kept.size, dtype=bool)
        scheduled[chosen.clients] = True
        return pruned_plan(
            situation,
            self.adapter,
            kept,
            chosen.bandwidth_hz,
            scheduled=scheduled,
            carry=next_carry(
                situation, chosen.round_s, everyone.round_s, self.tau_bar_s
            ),
        )


def _expand(
    situation: Situation, bills: Sequence[Bill], everyone: Schedule, v_over_q_s: float
) -> Schedule:
    """Grow the best single client by whoever lowers tau - (V / Q) data the most.

    It stops where nobody does; everyone at once is tried too, since growth can stop
    at a client whose data alone does not pay for its time.
    """
    samples = situation.cell.num_samples

    def worth_s(clients: IntArray) -> float:
        return v_over_q_s * float(np.sum(samples[clients]) / np.sum(samples))

    best, lowest_s = everyone, np.inf
    taken = np.empty(0, dtype=np.int64)
    while taken.size < samples.size:
        grown = None
        for k in np.setdiff1d(everyone.clients, taken):
            clients = np.append(taken, k)
            # Cheaper than finding tau: can these end soon enough to lower the cost?
            if _fits(situation, bills, clients, lowest_s + worth_s(clients)):
                grown = schedule_of(situation, bills, clients)
                lowest_s = grown.round_s - worth_s(clients)
        if grown is None:
            break
        best, taken = grown, grown.clients
    everyone_s = everyone.round_s - worth_s(everyone.clients)
    return everyone if everyone_s < lowest_s else best


def _fits(
    situation: Situation, bills: Sequence[Bill], clients: IntArray, deadline_s: float
) -> bool:
    """Whether the band lets these clients end by a deadline."""
    latency = latency_of(situation, [bills[k] for k in clients], clients)
    cell = situation.cell.take(clients)
    kept = np.zeros(clients.size)
    needs_hz = band_needed(latency, kept, deadline_s, *cell.share_bounds_hz)
    return bool(np.sum(needs_hz) <= cell.total_bandwidth_hz)

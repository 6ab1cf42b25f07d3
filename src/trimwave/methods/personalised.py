"""Personalised pruning: each device prunes just enough to meet a threshold."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trimwave.decision.bands import even_shares, in_blocks
from trimwave.decision.plan import Plan, Scheme, Situation
from trimwave.methods.common import CommonOptions, require_positive
from trimwave.methods.latency_budget import (
    deadline_of,
    fits,
    kept_by,
    least_kept,
    without_c5,
)
from trimwave.methods.pruning import pruned_plan, pruned_scheme
from trimwave.model.costs import Costs
from trimwave.model.submodel import Trained
from trimwave.problem.limits import Limits
from trimwave.solvers.integers import round_to_sizes


@dataclass(frozen=True, kw_only=True, slots=True)
class Personalised(CommonOptions):
    """Personalised pruning, Liu et al., TSP 2024 (arXiv 2309.01816): its planner.

    The smallest pruning that meets the threshold at the client's share of the band,
    rho_k = [1 - (t_th - t_fixed,k) / t_emulator,k]+, within C3 and C4. Everyone takes
    part: who cannot meet it prunes at `beta_max` and ends late. C5 is not a constraint.

    A reconstruction from the published problem statement. The paper's personal part,
    which stays on the device, and its training are not simulated: clients train the
    shared adapter as with JCPBA.
    """

    threshold_s: float | None = None
    """t_th: time that each client should meet [s]; None = UBFP's in this round."""
    bandwidth: Literal["kkt", "uniform"] = "kkt"
    """``kkt``: the split that minimises sum rho_k; B / K each where not everyone can
    meet the threshold. ``uniform``: B / K each."""
    adapter: Trained = "full"
    """Train the adapter's weights, or LoRA factors on them."""

    def __post_init__(self) -> None:
        CommonOptions.__post_init__(self)
        require_positive("personalised", self, "threshold_s")

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "personalised"

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Test on the emulator pruned at beta_bar, as in the methods it meets."""
        return pruned_scheme(costs, limits, self.adapter, self.learning_rate)

    def plan(self, situation: Situation) -> Plan:
        """Split the band, then let each client prune as little as it may."""
        threshold_s = deadline_of(situation, self.threshold_s, self.adapter)
        problem = without_c5(situation, self.adapter)
        latency = problem.latency
        if self.bandwidth == "kkt" and fits(problem, threshold_s):
            kept, bandwidth_hz = kept_by(problem, threshold_s)
        else:
            cell = problem.cell
            bandwidth_hz = in_blocks(cell, even_shares(cell)).down_hz
            kept = latency.kept_at(bandwidth_hz, threshold_s)
            kept = np.clip(kept, least_kept(problem), problem.kept_max)
            kept = round_to_sizes(problem, kept, bandwidth_hz)
        return pruned_plan(situation, self.adapter, kept, bandwidth_hz)

"""UBFP: uniform bandwidth, fixed pruning; the letter's plainest baseline."""

from dataclasses import dataclass

from trimwave.decision.bands import one_band
from trimwave.decision.plan import Plan, Scheme, Situation
from trimwave.methods.common import CommonOptions
from trimwave.methods.pruning import pruned_plan, pruned_scheme
from trimwave.model.costs import Costs
from trimwave.model.submodel import Trained
from trimwave.problem.limits import Limits
from trimwave.problem.solution import solve
from trimwave.solvers import get_solver
from trimwave.solvers.integers import round_to_sizes


@dataclass(frozen=True, kw_only=True, slots=True)
class Ubfp(CommonOptions):
    """B_k = B / K and beta_k = beta_bar, all else as JCPBA."""

    adapter: Trained = "full"
    """Train the adapter's weights, or LoRA factors on them."""

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "UBFP"

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Test on the emulator pruned at beta_bar."""
        return pruned_scheme(costs, limits, self.adapter, self.learning_rate)

    def plan(self, situation: Situation) -> Plan:
        """Give everyone the same."""
        problem = situation.problem(self.adapter)
        solution = solve(problem, get_solver("uniform"))
        down_hz, up_hz = solution.bandwidth_hz, solution.up_bandwidth_hz
        kept = round_to_sizes(one_band(problem, up_hz), solution.kept, down_hz)
        return pruned_plan(
            situation,
            self.adapter,
            kept,
            down_hz,
            solution,
            up_bandwidth_hz=up_hz,
            problem=problem,
        )

"""LoRA with the base model on the device already: what a practitioner asks first."""

from dataclasses import dataclass

from trimwave.decision.plan import Plan, Scheme, Situation
from trimwave.methods.bands import Bandwidth, fixed_plan
from trimwave.methods.common import CommonOptions, require_positive
from trimwave.model.costs import Costs
from trimwave.model.submodel import Submodel
from trimwave.problem.limits import Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora(CommonOptions):
    """LoRA on every block; only factors travel, the base model is downloaded once.

    Federated LoRA (FedIT, Zhang et al. 2024): FedAvg on the factors. The one-time
    download of the base model is `Plan.install_bits`, apart from the rounds' time.
    """

    blocks: int | None = None
    """How many blocks from the top train; left out = all. Those below stay as they
    were, and cost their forward alone."""
    bandwidth: Bandwidth = "optimal"
    """``optimal``: all clients end together. ``uniform``: B / K each."""

    def __post_init__(self) -> None:
        CommonOptions.__post_init__(self)
        require_positive("lora", self, "blocks")

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "LoRA"

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Test on the whole model."""
        return Scheme(submodel=self._submodel(costs), learning_rate=self.learning_rate)

    def plan(self, situation: Situation) -> Plan:
        """Give everyone the whole model."""
        submodel = self._submodel(situation.costs)
        submodels = [submodel] * situation.cell.num_clients
        return fixed_plan(situation, submodels, self.bandwidth)

    def _submodel(self, costs: Costs) -> Submodel:
        top = costs.top_blocks(self.blocks, "option `blocks` of `lora`")
        return costs.whole(top, "lora", shared_blocks=top, sends_frozen=False)

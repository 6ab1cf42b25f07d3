"""FedBiOT: a layer-dropped emulator that the server aligns, and a LoRA adapter."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from trimwave.base.errors import InputError
from trimwave.decision.plan import Alignment, Plan, Scheme, Situation
from trimwave.methods.bands import Bandwidth, fixed_plan
from trimwave.methods.common import CommonOptions, require_not_negative
from trimwave.model.costs import Costs
from trimwave.model.submodel import Submodel, Trained
from trimwave.problem.limits import Limits


@dataclass(frozen=True, kw_only=True, slots=True)
class FedBiot(CommonOptions):
    """Emulator and adapter by turns, Wu et al., KDD 2024 (arXiv 2406.17706).

    The emulator keeps evenly spaced blocks. Clients train the adapter with a proximal
    term; the server distils the full model with the current adapter into the emulator
    on public data: LoRA factors where the adapter trains LoRA factors, its weights
    where it trains weights.
    """

    drop: float = 0.2
    """rho: part of the emulator's blocks that is dropped."""
    adapter: Trained = "lora"
    """Train LoRA factors on the adapter and the emulator, or their weights."""
    epsilon: float = 0.1
    """Weight of the proximal term."""
    kl_weight: float = 0.9
    """lambda: weight of the KL in the alignment."""
    initial_steps: int = 500
    """Alignment steps before round one."""
    steps: int = 10
    """Alignment steps after every round."""
    download: Literal["full", "delta"] = "full"
    """``full``: the whole package in every round. ``delta``: the frozen blocks once,
    before round one; then what changed."""
    bandwidth: Bandwidth = "uniform"
    """``uniform``: B / K each, as published. ``optimal``: all clients end together."""

    def __post_init__(self) -> None:
        CommonOptions.__post_init__(self)
        if not 0 <= self.drop < 1:
            raise InputError(
                f"option `drop` of `fedbiot` must be in [0, 1), got {self.drop}."
            )
        names = ("epsilon", "kl_weight", "initial_steps", "steps")
        require_not_negative("fedbiot", self, *names)

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "FedBiOT"

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Test on the layer-dropped emulator, and align it."""
        align = Alignment(
            initial_steps=self.initial_steps,
            every_rounds=1 if self.steps else 0,
            steps=max(self.steps, 1),
            kl_weight=self.kl_weight,
        )
        return Scheme(
            submodel=self._submodel(costs),
            align=align,
            learning_rate=self.learning_rate,
        )

    def plan(self, situation: Situation) -> Plan:
        """Give everyone the same emulator."""
        submodel = self._submodel(situation.costs)
        submodels = [submodel] * situation.cell.num_clients
        return fixed_plan(situation, submodels, self.bandwidth)

    def _submodel(self, costs: Costs) -> Submodel:
        kept = kept_blocks(costs.split_index, self.drop)
        aligned = kept if self.initial_steps or self.steps else ()
        return Submodel(
            kept_fraction=len(kept) / costs.split_index,
            emulator_params=len(kept) * costs.shape.block_params,
            kept_blocks=kept,
            trained_blocks=costs.adapter_blocks,
            shared_blocks=(*aligned, *costs.adapter_blocks),
            trained=self.adapter,
            sends_frozen=self.download == "full",
            proximal_weight=self.epsilon,
            **costs.update,
        )


def kept_blocks(num_blocks: int, drop: float) -> tuple[int, ...]:
    """Return the emulator blocks that stay: evenly spaced, both ends among them.

    Kept block i is floor(i (L - 1) / (n - 1)) of n = round(L (1 - drop)), FedBiOT.
    """
    count = max(1, round(num_blocks * (1 - drop)))
    if count == 1:
        return (0,)
    at = np.arange(count) * (num_blocks - 1) // (count - 1)
    return tuple(at.tolist())

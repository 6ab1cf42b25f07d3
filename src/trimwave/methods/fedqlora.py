"""FedQLoRA: LoRA over a base that each client holds quantised to its memory."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trimwave.base.errors import InputError
from trimwave.decision.plan import Plan, Scheme, Situation
from trimwave.methods.bands import Bandwidth, fixed_plan
from trimwave.methods.common import CommonOptions, require_not_negative
from trimwave.model.costs import Costs
from trimwave.model.pricing import QUANTISED_BITS
from trimwave.model.submodel import Submodel
from trimwave.problem.limits import Limits
from trimwave.problem.violation import at_least

WIDTHS = tuple(sorted(QUANTISED_BITS, reverse=True))


@dataclass(frozen=True, kw_only=True, slots=True)
class FedQlora(CommonOptions):
    """Quantisation-aware local terms, shared LoRA (OpenReview uWMQxtmyYz).

    Client k holds Q_k(W) + G_k, G_k the truncated SVD of W - Q_k(W), so that the shared
    LoRA factors do not learn to make up for one client's quantisation error. G_k stays
    on the device. Reconstruction from the abstract; the alternating refit of its
    iFedQLoRA variant is not built.
    """

    bits: Literal["memory", "mixed", "4", "8", "16"] = "memory"
    """Width of the base's weights. ``memory``: the largest of 16, 8 and 4 that fits.
    ``mixed``: 4 for the half of the clients with the least memory, 8 for the others."""
    memory_share: float = 1.0
    """Part of a device's memory that fine-tuning may take, for ``bits=memory``."""
    rank: int = 8
    """Rank of G_k; 0 = none, which is plain QLoRA."""
    bandwidth: Bandwidth = "optimal"
    """``optimal``: all clients end together. ``uniform``: B / K each."""

    def __post_init__(self) -> None:
        CommonOptions.__post_init__(self)
        if not 0 < self.memory_share <= 1:
            raise InputError(
                "option `memory_share` of `fedqlora` must be in (0, 1], got "
                f"{self.memory_share}."
            )
        require_not_negative("fedqlora", self, "rank")
        if self.memory_share < 1 and self.bits != "memory":
            warnings.warn(
                f"option `memory_share` of `fedqlora` is without effect with "
                f"bits={self.bits}.",
                stacklevel=4,
            )

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "FedQLoRA"

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Test the shared LoRA factors on the unquantised model."""
        return Scheme(
            submodel=self._submodel(costs, 16), learning_rate=self.learning_rate
        )

    def plan(self, situation: Situation) -> Plan:
        """Choose each client's width."""
        costs = situation.costs
        of_width = {width: self._submodel(costs, width) for width in WIDTHS}
        submodels = [of_width[width] for width in self._widths(situation)]
        return fixed_plan(situation, submodels, self.bandwidth)

    def _widths(self, situation: Situation) -> list[int]:
        memory = situation.cell.memory_bytes
        if self.bits == "memory":
            costs = situation.costs
            needs = {
                width: costs.bill(self._submodel(costs, width)).memory_bytes
                for width in WIDTHS
            }
            return [self._fitting(needs, have) for have in memory.tolist()]
        if self.bits == "mixed":
            rank = np.argsort(np.argsort(memory, kind="stable"), kind="stable")
            return np.where(rank < memory.size / 2, 4, 8).tolist()
        return [int(self.bits)] * memory.size

    def _fitting(self, needs: Mapping[int, float], memory_bytes: float) -> int:
        """Return the widest that fits, or the narrowest, which C3 then refuses.

        `needs` is the memory that each width takes, the widest first [byte].
        """
        for width, need in needs.items():
            if need <= memory_bytes * self.memory_share:
                return width
        if need <= memory_bytes:
            raise InputError(
                f"option `memory_share` = {self.memory_share:g} of `fedqlora`: "
                f"{width} bits need {need / 1e9:.3f} of a client's "
                f"{memory_bytes / 1e9:.3f} GB; raise it to "
                f"{at_least(need / memory_bytes)}."
            )
        return WIDTHS[-1]

    def _submodel(self, costs: Costs, width: int) -> Submodel:
        return costs.whole(
            costs.all_blocks,
            "lora",
            sends_frozen=False,
            weight_bits=width,
            compensation_rank=0 if width == 16 else self.rank,
        )

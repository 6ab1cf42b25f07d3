"""DEFT: each device trains its own group of blocks, the deep ones where it is cheap.

A reconstruction from the published problem statement (Wu, Chen, Huang, IEEE TWC 2025,
arXiv 2407.09873), whose equations we could not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trimwave.base.errors import InfeasibleError, InputError
from trimwave.base.units import FloatArray, IntArray
from trimwave.decision.plan import Plan, Scheme, Situation
from trimwave.decision.predict import best_band, latency_of, plan_of
from trimwave.methods.common import CommonOptions, require_not_negative
from trimwave.methods.matching import (
    joint_matching,
    threshold_matching,
    unmatched_group,
)
from trimwave.model.costs import Costs
from trimwave.model.submodel import Bill, Submodel, Trained
from trimwave.problem.limits import Limits
from trimwave.problem.violation import ROUNDING, Violation
from trimwave.solvers.blocks import band_needed


@dataclass(frozen=True, kw_only=True, slots=True)
class Deft(CommonOptions):
    """Depth-aware fine-tuning: block groups are matched to devices, one each.

    A group's depth sets what its device pays, since the gradient must reach it. Devices
    left without a group stay idle in the round.
    """

    groups: int = 0
    """Groups of consecutive blocks; 0 = one per client, at most one per block."""
    bandwidth: Literal["joint", "uniform"] = "joint"
    """``joint``: matching and band together, optimal. ``uniform``: the band is shared
    evenly by the devices that take part, and the matching is optimal for that."""
    download: Literal["full", "delta"] = "full"
    """``full``: the whole model every round. ``delta``: it lies on the device, and what
    has been trained so far travels."""
    adapter: Trained = "full"
    """Train a group's weights, or LoRA factors on them."""
    local_steps: int = 0
    """Steps per round; 0 = the recipe's, 1 = one gradient, as in the paper."""
    accounting: Literal["proper", "fig3"] = "proper"
    """``proper``: weight gradients for the own group only, as for every method.
    ``fig3``: for all blocks above it too, and the head twice, which fits Fig. 3."""

    def __post_init__(self) -> None:
        CommonOptions.__post_init__(self)
        require_not_negative("deft", self, "groups", "local_steps")

    @property
    def label(self) -> str:
        """What tables and pictures call it."""
        return "DEFT"

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Test the whole model, all of which trains, by parts."""
        self._check_groups(costs)
        return Scheme(
            submodel=self._submodel(costs, costs.all_blocks),
            learning_rate=self.learning_rate,
        )

    def plan(self, situation: Situation) -> Plan:
        """Match groups to devices and split the band."""
        costs, cell = situation.costs, situation.cell
        parts = [
            self._submodel(costs, blocks)
            for blocks in self._block_groups(costs, cell.num_clients)
        ]
        bills = [self._bill(costs, part) for part in parts]
        fits = self._fits(situation, parts, bills)
        owners, share_hz = self._match(situation, bills, fits)
        submodels: list[Submodel | None] = [None] * cell.num_clients
        for part, owner in zip(parts, owners.tolist(), strict=True):
            submodels[owner] = part
        bandwidth_hz = np.zeros(cell.num_clients)
        bandwidth_hz[owners] = share_hz
        by_client = [bills[part] for part in np.argsort(owners)]
        return plan_of(situation, submodels, bandwidth_hz, bills=by_client)

    def _check_groups(self, costs: Costs) -> None:
        if self.groups > costs.num_blocks:
            raise InputError(
                f"option `groups` of `deft` must be at most the {costs.num_blocks} "
                f"blocks of {costs.shape.name}, got {self.groups}."
            )

    def _block_groups(self, costs: Costs, num_clients: int) -> list[tuple[int, ...]]:
        """Cut the blocks into groups as equal as possible, nearest the output first.

        The larger groups are the deeper ones, so that every cost grows with depth.
        """
        self._check_groups(costs)
        if self.groups > num_clients:
            raise InputError(
                f"fewer devices than block groups: option `groups` of `deft` is "
                f"{self.groups}, each for a client of its own, and the cell has "
                f"{num_clients}; set it to {num_clients} or less, or to 0 for as many "
                "as there are clients, or add clients."
            )
        num_groups = self.groups or min(num_clients, costs.num_blocks)
        cuts = np.array_split(np.arange(costs.num_blocks), num_groups)
        return [tuple(blocks.tolist()) for blocks in reversed(cuts)]

    def _submodel(self, costs: Costs, blocks: tuple[int, ...]) -> Submodel:
        return costs.whole(
            blocks,
            self.adapter,
            sends_frozen=self.download == "full",
            num_local_steps=self.local_steps or None,
        )

    def _bill(self, costs: Costs, part: Submodel) -> Bill:
        bill = costs.bill(part)
        if self.accounting == "proper":
            return bill
        reached = costs.num_blocks - part.trained_blocks[0]
        forward = costs.shape.block_forward_flops(costs.batch_size, costs.seq_len)
        flops = (costs.num_blocks + 2 * reached) * forward
        flops += 2 * costs.shape.head_forward_flops(costs.tokens)
        return replace(bill, step_flops=flops)

    def _fits(
        self, situation: Situation, parts: Sequence[Submodel], bills: Sequence[Bill]
    ) -> NDArray[np.bool_]:
        """[K, L] whose memory holds which group, C3; raise if no matching is left."""
        have_bytes = situation.cell.memory_bytes
        need_bytes = np.array([bill.memory_bytes for bill in bills])
        fits = need_bytes <= have_bytes[:, None] * (1 + ROUNDING)
        group = unmatched_group(np.sum(fits, axis=1), len(bills))
        if group is None:
            return fits
        blocks, need = parts[group].trained_blocks, float(need_bytes[group])
        must = len(bills) - group
        able = np.sum(fits[:, group])
        message = (
            f"C3: block group {group + 1} of {len(bills)} (training blocks {blocks[0]} "
            f"to {blocks[-1]}) takes {need / 1e9:.3f} GB, which {able} of "
            f"{have_bytes.size} clients have; groups this deep need {must}; "
            f"{self._remedies(situation, len(bills))}."
        )
        short = need - float(np.sort(have_bytes)[-must])
        raise InfeasibleError(
            [Violation(constraint="C3", client=None, shortfall=short, message=message)]
        )

    def _remedies(self, situation: Situation, num_groups: int) -> str:
        ways = ["lower the batch size or `train.seq_len`"]
        if self.adapter == "full":
            ways.append("set option `adapter` of `deft` to lora")
            if num_groups < min(situation.cell.num_clients, situation.costs.num_blocks):
                ways.append("raise option `groups` of `deft`")
        ways.append("add clients with more memory")
        return ", ".join(ways[:-1]) + ", or " + ways[-1]

    def _match(
        self, situation: Situation, bills: Sequence[Bill], fits: NDArray[np.bool_]
    ) -> tuple[IntArray, FloatArray]:
        """Return each group's owner and its share of the band, both [L]."""
        num_clients, num_groups = fits.shape
        cell, band_hz = situation.cell, situation.cell.total_bandwidth_hz
        clients = np.repeat(np.arange(num_clients), num_groups)
        pairs = latency_of(situation, [*bills] * num_clients, clients)
        kept = np.zeros(clients.size)  # there is no pruning

        def where_it_fits(values: FloatArray) -> FloatArray:
            return np.where(fits, values.reshape(fits.shape), np.inf)

        even_hz = np.full(clients.size, band_hz / num_groups)
        owners = threshold_matching(where_it_fits(pairs.total_s(kept, even_hz)))
        if self.bandwidth == "uniform":
            return owners, even_hz[:num_groups]

        bounds = cell.take(clients).share_bounds_hz

        def latency_s(matching: IntArray) -> float:
            latency = latency_of(situation, bills, matching)
            share_hz = best_band(latency, cell.take(matching))
            return float(np.max(latency.total_s(np.zeros(num_groups), share_hz)))

        owners = joint_matching(
            owners,
            band_hz,
            lambda limit_s: where_it_fits(band_needed(pairs, kept, limit_s, *bounds)),
            latency_s,
        )
        latency = latency_of(situation, bills, owners)
        return owners, best_band(latency, cell.take(owners))

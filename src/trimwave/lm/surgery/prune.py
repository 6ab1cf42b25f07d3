"""Pruning as it is done to a model: smaller tensors, no masks."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from trimwave.base.errors import InputError
from trimwave.lm.surgery.blocks import Cut, cut_block, cut_width, unit_indices
from trimwave.lm.surgery.ranking import KeptSet, Ranking
from trimwave.lm.surgery.split import SplitModel
from trimwave.model.shape import ModelShape


def prune_emulator(split: SplitModel, kept: KeptSet) -> nn.ModuleList:
    """Copy the emulator without the units outside `kept`: smaller tensors, no masks.

    Raises
    ------
    InputError
        If the split's emulator has been pruned already.
    """
    _require_unpruned(split)
    return nn.ModuleList(
        cut_block(
            split.emulator[b], split.arch, split.shape, kept.groups[b], kept.neurons[b]
        )
        for b in kept.blocks
    ).eval()


def _require_unpruned(split: SplitModel) -> None:
    present = sum(p.numel() for p in split.emulator.parameters())
    if present != split.split_index * split.shape.block_params:
        raise InputError(
            f"the emulator has {present} parameters and was pruned already; prune "
            "the split that `split_model` returned."
        )


class NestedEmulator:
    """An emulator with its units in the order of the ranking.

    A smaller one is then the leading part of every tensor: a view, so that nothing is
    copied per client (but GPT-2's fused queries, keys and values, whose leading part is
    in three pieces).

    Parameters
    ----------
    split : SplitModel
        Its emulator is unpruned.
    ranking : Ranking
        Of its units.
    received : callable
        What becomes of a tensor on its way to a client, such as rounding.
    """

    def __init__(
        self,
        split: SplitModel,
        ranking: Ranking,
        received: Callable[[Tensor], Tensor] = lambda tensor: tensor,
    ) -> None:
        _require_unpruned(split)
        self._ranking, self._shape = ranking, split.shape
        self._cuts = {cut.path: cut for cut in split.arch.cuts}
        self._blocks = [
            {
                path: received(self._ordered(block, path, value.detach()))
                for path, value in module.named_parameters()
            }
            for block, module in enumerate(split.emulator)
        ]

    def _ordered(self, block: int, path: str, value: Tensor) -> Tensor:
        if path not in self._cuts:
            return value
        cut, ranking = self._cuts[path], self._ranking
        groups, neurons = ranking.group_order(block), ranking.neurons_of(block)
        order = unit_indices(cut.kind, self._shape, groups, neurons)
        rows = torch.as_tensor(order, device=value.device)
        return value.index_select(cut.axis, rows)

    def tensors(self, num_params: int) -> dict[str, Tensor]:
        """Return the emulator of exactly a size by ``<block>.<path>``.

        Raises
        ------
        InputError
            If no emulator has that size.
        """
        return {
            f"{block}.{path}": _leading(
                value, self._cuts.get(path), self._shape, *units
            )
            for block, units in self._ranking.counts(num_params).items()
            for path, value in self._blocks[block].items()
        }


def _leading(
    value: Tensor,
    cut: Cut | None,
    shape: ModelShape,
    num_groups: int,
    num_neurons: int,
) -> Tensor:
    """Return the part of a parameter that belongs to the first units."""
    if cut is None:
        return value
    width = cut_width(cut.kind, shape, num_groups, num_neurons)
    if cut.kind != "fused_qkv":
        return value.narrow(cut.axis, 0, width)
    parts = torch.unflatten(value, cut.axis, (3, -1)).narrow(
        cut.axis + 1, 0, width // 3
    )
    return parts.flatten(cut.axis, cut.axis + 1)

"""Slices of a pruned emulator: what one size of it has beyond a smaller one.

Kept sets are nested, so an emulator is its slices one after another, and a client that
holds some of them is sent the rest alone. A slice is named tensors like a package; of
each tensor it has the rows or columns of its own units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trimwave.lm.surgery.blocks import Architecture, Cut, cut_width
from trimwave.lm.wire.ledger import Tensors, entry_of
from trimwave.model.shape import ModelShape

Counts = Mapping[int, tuple[int, int]]
"""Groups and neurons of each block at a size, as `Ranking.counts` returns them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slicer:
    """Cuts emulators of one model into slices, and puts them together."""

    arch: Architecture
    shape: ModelShape

    def between(
        self, tensors: Mapping[str, Tensor], low: Counts, high: Counts
    ) -> Tensors:
        """Return what an emulator has beyond a smaller one.

        Parameters
        ----------
        tensors : mapping
            Of an emulator of at least the size of `high`, units in the ranking's order.
        low, high : mapping
            Units of the smaller and of the larger one; `low` is empty for nothing.
        """
        found: Tensors = {}
        for name, value in tensors.items():
            part, _, path = entry_of(name)
            if part not in high:
                continue
            cut = self._cuts.get(path)
            if cut is None:  # comes with the first unit of its block
                if part not in low:
                    found[name] = value
                continue
            ends = low.get(int(part)), high.get(int(part))
            first, end = (self._width(cut, units) for units in ends)
            if end > first:
                found[name] = _narrowed(value, cut, first, end)
        return found

    def joined(self, slices: Sequence[Mapping[str, Tensor]]) -> Tensors:
        """Return the emulator that consecutive slices are, the first one first."""
        pieces: dict[str, list[Tensor]] = {}
        for one in slices:
            for name, value in one.items():
                pieces.setdefault(name, []).append(value)
        return {
            name: _joined(values, self._cuts.get(entry_of(name).path))
            for name, values in pieces.items()
        }

    @property
    def _cuts(self) -> dict[str, Cut]:
        return {cut.path: cut for cut in self.arch.cuts}

    def _width(self, cut: Cut, units: tuple[int, int] | None) -> int:
        return cut_width(cut.kind, self.shape, *units) if units else 0


def _narrowed(value: Tensor, cut: Cut, first: int, end: int) -> Tensor:
    if cut.kind != "fused_qkv":
        return value.narrow(cut.axis, first, end - first)
    parts = torch.unflatten(value, cut.axis, (3, -1))
    parts = parts.narrow(cut.axis + 1, first // 3, (end - first) // 3)
    return parts.flatten(cut.axis, cut.axis + 1)


def _joined(values: Sequence[Tensor], cut: Cut | None) -> Tensor:
    if len(values) == 1 or cut is None:
        return values[-1]
    if cut.kind != "fused_qkv":
        return torch.cat([*values], dim=cut.axis)
    parts = [torch.unflatten(value, cut.axis, (3, -1)) for value in values]
    return torch.cat(parts, dim=cut.axis + 1).flatten(cut.axis, cut.axis + 1)

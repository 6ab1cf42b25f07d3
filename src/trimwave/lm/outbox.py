"""What a server sends down: the tensors of each sub-model, with the values that arrive.

One outbox per stage of a run. What it rounds once for all clients of a round is made
anew as the model changes.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from trimwave.lm.learnt import Learnt, with_learnt
from trimwave.lm.surgery.prune import NestedEmulator
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.wire.ledger import (
    HEAD,
    Tensors,
    bare,
    by_part,
    entry_of,
    tensors_of,
    where,
)
from trimwave.lm.wire.package import Wire
from trimwave.lm.wire.small import crossed
from trimwave.lm.wire.tensor_files import read_tensors, save_tensors
from trimwave.lm.workbench import StoredBlocks, Workbench
from trimwave.model.submodel import Submodel
from trimwave.runs.roles import Delivery

RESIDUAL_FILE = "residual-down.safetensors"
"""In a checkpoint: what updates in 8 bits have rounded off on the way down."""


class Outbox:
    """Delivers sub-models of one stage.

    Parameters
    ----------
    bench : Workbench
        With the ranking and the original blocks as devices store them.
    split : SplitModel
        The server's own, which changes in place.
    reference : Submodel
        The stage's: its largest package.
    finished : sequence of Learnt
        What earlier stages have learnt, which devices merge into what they store.
    """

    def __init__(
        self,
        bench: Workbench,
        split: SplitModel,
        reference: Submodel,
        finished: Sequence[Learnt] = (),
    ) -> None:
        self._bench, self._split = bench, split
        sent = where(tensors_of(split), reference.travels_down)
        small = where(sent, reference.changes) if reference.update_bits else ()
        self.wire = Wire.fitting(sent, bench.config.model.bits_per_param, small)
        self._on_air: Tensors = {}
        self._residual: Tensors = {}
        self._nested: NestedEmulator | None = None
        self._finished = [
            replace(one, tensors=_arriving_as(one.tensors, self.wire.dtype))
            for one in finished
            if one.tensors
        ]
        self._merged: dict[tuple[int, int], StoredBlocks] = {}

    def deliver(self, submodel: Submodel) -> Delivery:
        """Return what a client with a sub-model gets, eq. (2).

        The tensors are the server's own, shared by all clients of the round; those that
        travel have the values that arrive.
        """
        pruned, whole = self._pruned(submodel), tensors_of(self._split)
        if pruned:
            border = self._split.split_index
            whole = where(whole, lambda part, _: part == HEAD or int(part) >= border)
        sent = where(pruned, submodel.travels_down)
        for name, value in where(whole, submodel.travels_down).items():
            sent[name] = self._arriving(name, value)
        here = _without(pruned | whole, sent)
        stored, merged = self._stored(where(here, submodel.lies_installed), submodel)
        return Delivery(
            sent=sent,
            installed=here | merged,
            unmerged={bare(name): value for name, value in (here | stored).items()},
            finished=self._finished,
        )

    def round_ended(self) -> None:
        """Make anew what was made of what trains."""
        self._on_air.clear()

    def emulator_changed(self) -> None:
        """Make anew what was made of the emulator too."""
        self._on_air.clear()
        self._nested = None

    def _pruned(self, submodel: Submodel) -> Tensors:
        """Return the emulator as arriving views, where it is pruned by the ranking."""
        if submodel.kept_blocks is not None or not self._split.emulator:
            return {}
        if submodel.is_installed_whole:
            return {}  # the original blocks, wherever the border is
        if self._nested is None:
            ranking = self._bench.ranking
            self._nested = NestedEmulator(self._split, ranking, self.wire.crossed)
        return self._nested.tensors(submodel.emulator_params)

    def _arriving(self, name: str, value: Tensor) -> Tensor:
        """Return the value that arrives, rounded once for all clients of a round.

        What integers of 8 bits cannot say is added to the next round's value.
        """
        if name not in self._on_air and name in self.wire.small:
            whole = value + self._residual[name] if name in self._residual else value
            self._on_air[name] = crossed(whole)
            self._residual[name] = whole - self._on_air[name]
        elif name not in self._on_air:
            self._on_air[name] = self.wire.crossed(value)
        return self._on_air[name]

    def _stored(self, tensors: Tensors, submodel: Submodel) -> tuple[Tensors, Tensors]:
        """Return the originals that the device stores, and what it merged them to."""
        if not tensors:
            return {}, {}
        bits, rank = submodel.weight_bits, submodel.compensation_rank
        original = self._bench.stored_blocks(bits, rank)
        if self._finished and (bits, rank) not in self._merged:
            self._merged[bits, rank] = self._with_finished(original)
        merged = self._merged[bits, rank] if self._finished else original
        return _named_as(tensors, original), _named_as(tensors, merged)

    def _with_finished(self, blocks: StoredBlocks) -> StoredBlocks:
        """Return what devices store with what finished stages have learnt."""
        tensors = {
            f"{number}.{path}": value
            for number, block in blocks.items()
            for path, value in block.items()
        }
        for one in self._finished:
            tensors = with_learnt(tensors, one, self._split.arch, self.wire.dtype)
        return {int(part): block for part, block in by_part(tensors).items()}

    def save(self, folder: Path) -> None:
        """Write what was rounded off, if anything was."""
        if self._residual:
            save_tensors(folder / RESIDUAL_FILE, self._residual)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        self.emulator_changed()
        self._residual.clear()
        if (path := folder / RESIDUAL_FILE).exists():
            device = self._split.device
            self._residual.update(read_tensors(path, str(device)))


def _arriving_as(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    return {name: value.cpu().to(dtype) for name, value in tensors.items()}


def _named_as(tensors: Tensors, blocks: StoredBlocks) -> Tensors:
    found = {}
    for name in tensors:
        part, _, path = entry_of(bare(name))
        found[name] = blocks[int(part)][path]
    return found


def _without(tensors: Tensors, others: Tensors) -> Tensors:
    return {name: value for name, value in tensors.items() if name not in others}

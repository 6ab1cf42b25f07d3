"""A run that a device is part of: its model, its rows, itself as a client."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from trimwave.lm.data.encode import Encoded
from trimwave.lm.kit import Kit
from trimwave.lm.states.cache import StateCache
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.train.client import Client
from trimwave.lm.wire.slices import Slicer
from trimwave.lm.workbench import deal_again

File = Sequence[Any]
"""A blob as a letter names it: its digest and its length [byte]."""


def files_to_join(head: Mapping[str, Any]) -> list[File]:
    """Return the blobs that a device joins by."""
    return [head["shell"], *(one[1:] for one in head["tokenizer"])]


@dataclass
class Joined:
    """A run that this device is part of."""

    id: str
    kits: Sequence[Kit]
    """Of each stage."""
    shell: File
    """The blob of what all stages' models have around their blocks."""
    stage: int
    base: SplitModel
    """The model of the stage, without weights in its blocks."""
    tokenizer: Any
    own_rows: tuple[Encoded, ...] | None
    digests: frozenset[str]
    """Blobs of the shell and the tokenizer."""
    states: StateCache | None = None
    """What frozen blocks made of rows."""
    _clients: dict[int, Client] = field(default_factory=dict)

    @property
    def kit(self) -> Kit:
        """How a client of the stage is made up."""
        return self.kits[self.stage]

    @property
    def key(self) -> str:
        """What is kept from round to round of a stage is known by."""
        return f"{self.id}/{self.stage}"

    def in_stage(self, stage: int, shell: Mapping[str, Tensor]) -> "Joined":
        """Return the same run in another stage.

        Parameters
        ----------
        shell : mapping
            What the blob of that name holds.
        """
        return replace(
            self, stage=stage, base=self.kits[stage].base(shell), _clients={}
        )

    @property
    def slicer(self) -> Slicer:
        """Put slices of its emulator together."""
        return Slicer(arch=self.base.arch, shape=self.base.shape)

    def client(self, number: int) -> Client:
        """Return this device as a client of the run."""
        if number not in self._clients:
            rows = self.own_rows
            if rows is None:
                rows = deal_again(self.kit.config, self.tokenizer).clients[number]
            client = self.kit.client(number, self.base, rows, self.states)
            self._clients = {number: client}
        return self._clients[number]

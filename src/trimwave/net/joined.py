"""A run that a device is part of: its model, its rows, itself as a client."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    kit: Kit
    """Of the stage."""
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
    def key(self) -> str:
        """What is kept from round to round of a stage is known by."""
        return f"{self.id}/{self.stage}"

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

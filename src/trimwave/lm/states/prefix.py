"""The frozen blocks of a model as they are needed: one after another."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from trimwave.lm.states.frozen import Digests, embedding_digest
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.wire.ledger import HEAD, Tensors, by_part, entry_of

Blocks = Callable[[], Iterator[tuple[int, Tensors]]]
"""Yields blocks in their order: number, and tensors by their path in the block."""


@dataclass(frozen=True)
class Prefix:
    """Blocks below the lowest that trains, from wherever they lie."""

    digest: bytes
    """Of their tensors, or of the files that they come in."""
    blocks: Blocks

    @classmethod
    def taken(
        cls, package: Mapping[str, Tensor], border: int, digests: Digests
    ) -> tuple["Prefix", Tensors]:
        """Return the blocks of a package below a border, and the rest of it."""
        below: Tensors = {}
        rest: Tensors = {}
        for name, value in package.items():
            part = entry_of(name).part
            own = below if part != HEAD and int(part) < border else rest
            own[name] = value
        parts = sorted((int(part), own) for part, own in by_part(below).items())
        return cls(digests.of_all(below), lambda: iter(parts)), rest

    def digest_under(self, split: SplitModel, digests: Digests) -> bytes:
        """Return the digest with that of the embedding and the config."""
        own = embedding_digest(split, digests)
        return hashlib.sha256(own + self.digest).digest()

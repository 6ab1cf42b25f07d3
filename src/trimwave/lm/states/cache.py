"""States of rows, computed once and kept: in memory first, then on a disk.

A state is what the embedding and the frozen blocks make of a row. Where nothing below
the lowest trained block ever changes, it is the same in every step.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers
from safetensors.torch import load, save
from torch import Tensor

from trimwave.lm.data.encode import Batch
from trimwave.lm.states.files import StateFolder
from trimwave.lm.states.formats import Format, Packed, num_bytes, packed, unpacked
from trimwave.lm.states.frozen import Digests, bytes_of
from trimwave.lm.states.prefix import Prefix
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.wire.receive import received_block
from trimwave.recipe.config import TrainConfig

LAYOUT = 1
"""Another number wherever a state is kept in another way than before."""


@dataclass
class _Part:
    """What is kept of one frozen part."""

    last_round: int = 0
    """When it was asked for."""
    memory: dict[str, Packed] = field(default_factory=dict)
    """States by key."""
    on_disk: set[str] = field(default_factory=set)
    """Keys of others."""


class StateCache:
    """Keeps states by key, in the order in which they come, until it is full.

    No row is put out for another: in an epoch each is asked for once, and what was used
    last would be asked for last. A frozen part that the round and the one before did
    not ask for is no more, as after an alignment; what is kept of it makes room.

    Parameters
    ----------
    kept_as : Format
        Numbers that a state is kept in.
    memory_bytes : int
        What states may take in memory [byte].
    folder : StateFolder, optional
        Takes what does not fit into memory.
    """

    def __init__(
        self, kept_as: Format, memory_bytes: int, folder: StateFolder | None = None
    ) -> None:
        self.kept_as = kept_as
        self.memory_bytes = memory_bytes
        self.used_bytes = 0
        self._folder = folder
        self._round = 0
        self._parts: dict[bytes, _Part] = {}
        self.digests = Digests()

    @classmethod
    def of(
        cls, config: TrainConfig, folder: Path, num_clients: int = 1
    ) -> "StateCache | None":
        """Return the cache that a recipe asks for, with its files in a folder.

        Of several clients in one process it has the room of all.
        """
        if config.state_cache == "off" or not config.keeps_states:
            return None
        quota_bytes = int(num_clients * config.state_disk_bytes)
        files = StateFolder(folder, quota_bytes) if quota_bytes else None
        memory_bytes = int(num_clients * config.state_memory_bytes)
        return cls(config.state_cache, memory_bytes, files)

    def under(
        self, split: SplitModel, tensors: Mapping[str, Tensor], round_index: int
    ) -> "States":
        """Return the states under one frozen part.

        Parameters
        ----------
        split : SplitModel
            Split at the lowest block that trains.
        tensors : mapping
            All blocks by name, as they came.
        round_index : int
            When they are asked for.
        """
        frozen = self.digests.of_frozen(split, tensors)
        return self.under_digest(split, frozen, round_index)

    def under_digest(
        self, split: SplitModel, frozen: bytes, round_index: int
    ) -> "States":
        """Return the states under a frozen part that has a digest already."""
        self._round = round_index
        self._parts.setdefault(frozen, _Part()).last_round = round_index
        return States(self, split, frozen)

    def get(self, frozen: bytes, key: str) -> Packed | None:
        """Return what is kept of a frozen part under a key."""
        part = self._parts[frozen]
        kept = part.memory.get(key)
        if kept is None and self._folder is not None:
            data = self._folder.read(key)
            if data is not None:
                kept = load(data)
                part.on_disk.add(key)
                self._remember(part, key, kept)
        return kept

    def put(self, frozen: bytes, key: str, kept: Packed) -> None:
        """Keep a state of a frozen part if there is room."""
        part = self._parts[frozen]
        # Copies: a view would hold the whole batch that it is of.
        own = {name: value.to("cpu", copy=True) for name, value in kept.items()}
        if not self._remember(part, key, own) and self._folder is not None:
            self._folder.write(key, save(own))
            part.on_disk.add(key)

    def _remember(self, part: _Part, key: str, kept: Packed) -> bool:
        if self.used_bytes + num_bytes(kept) > self.memory_bytes:
            self._forget_old()
        fits = self.used_bytes + num_bytes(kept) <= self.memory_bytes
        if fits:
            part.memory[key] = kept
            self.used_bytes += num_bytes(kept)
        return fits

    def _forget_old(self) -> None:
        """Make room of what is kept of frozen parts that are no more."""
        for frozen, part in [*self._parts.items()]:
            if part.last_round < self._round - 1:
                del self._parts[frozen]
                self.used_bytes -= sum(map(num_bytes, part.memory.values()))
                if self._folder is not None:
                    self._folder.release(part.on_disk)


@dataclass
class States:
    """States under one frozen part."""

    cache: StateCache
    split: SplitModel
    """Split at the lowest block that trains."""
    frozen: bytes
    """Digest of what lies below it."""
    computed: set[str] = field(default_factory=set)
    """Keys of the rows that had to be computed."""
    _ahead: dict[str, Packed] = field(default_factory=dict)
    """States that are there ahead of the steps, also where there was no room: of all
    rows of a round whose frozen blocks are gone by then."""

    def make_ahead(self, rows: Iterable[Tensor], prefix: Prefix) -> None:
        """Make the states that rows lack, block by block over all of them.

        Parameters
        ----------
        rows : iterable of [s]
            Tokens of the rows of a round, without padding.
        prefix : Prefix
            The frozen blocks: each is asked for once, and let go of.
        """
        device = self.split.device
        lacking = {self._key(row, device.type): row for row in rows}
        for key in [*lacking]:  # held until the round ends: a file can go meanwhile
            if (found := self.cache.get(self.frozen, key)) is not None:
                self._ahead[key] = found
                del lacking[key]
        if not lacking:
            return
        hidden = {
            key: self.split.embedded(row[None].to(device))
            for key, row in lacking.items()
        }
        for number, tensors in prefix.blocks():
            block = received_block(self.split, number, tensors, torch.float32)
            for key in hidden:
                hidden[key] = self.split.through(block, hidden[key])
            del block, tensors
        for key in lacking:
            self._ahead[key] = self._kept(key, hidden.pop(key))

    def features(self, batch: Batch) -> Tensor:
        """Return what the adapter reads of a batch; zeros where it is padding.

        What is not kept is computed, and has the values at once that are read later.

        Returns
        -------
        features : [N, s, H]
            As `SplitModel.features`, rounded to what is kept.
        """
        device = self.split.device
        rows = [
            ids[:length]
            for ids, length in zip(batch.input_ids, batch.lengths, strict=True)
        ]
        keys = [self._key(row, device.type) for row in rows]
        kept: dict[str, Packed] = {}
        fresh: dict[str, Tensor] = {}
        for key, row in zip(keys, rows, strict=True):
            found = kept.get(key) or self._ahead.get(key)
            found = found or self.cache.get(self.frozen, key)
            if found is None:
                fresh[key] = row
            else:
                kept[key] = found
        kept |= self._computed(fresh, device)
        features = torch.zeros(
            *batch.input_ids.shape, self.split.shape.hidden_size, device=device
        )
        for index, (key, row) in enumerate(zip(keys, rows, strict=True)):
            state = {name: value.to(device) for name, value in kept[key].items()}
            features[index, : len(row)] = unpacked(state)
        return features

    def _computed(
        self, rows: Mapping[str, Tensor], device: torch.device
    ) -> dict[str, Packed]:
        """Return the states of rows by key, and keep them.

        One row at a time: beside others its last bits would depend on which those are,
        and a resumed run, which has kept nothing, would not be the unbroken one.
        """
        assert not (rows and self._ahead), "no frozen blocks to compute rows with"
        return {
            key: self._kept(key, self.split.features(row[None].to(device)))
            for key, row in rows.items()
        }

    def _kept(self, key: str, features: Tensor) -> Packed:
        """Return what is read later of a row's features, [1, s, H], and keep it."""
        state = packed(features[0], self.cache.kept_as)
        self.cache.put(self.frozen, key, state)
        self.computed.add(key)
        return state

    def _key(self, row: Tensor, device: str) -> str:
        """Return the digest of all that a kept state depends on."""
        half = torch.is_autocast_enabled(device)
        numbers = torch.get_autocast_dtype(device) if half else torch.float32
        # Other versions, and other ways to attend, add in another order.
        versions = torch.__version__, transformers.__version__
        attends = getattr(self.split.shell.config, "_attn_implementation", None)
        how = (LAYOUT, self.cache.kept_as, device, numbers, *versions, attends)
        digest = hashlib.sha256(repr(how).encode() + self.frozen)
        digest.update(bytes_of(row))
        return digest.hexdigest()

"""The nested order in which heads and neurons are kept.

One ranking serves every client: a smaller emulator is a subset of a larger one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from trimwave.base.errors import DamagedError, InputError
from trimwave.base.stored import SEAL, digest_of, write_atomic
from trimwave.base.units import IntArray

GROUP, CHUNK, BLOCK = 0, 1, 2
"""Kinds of units: an attention group, a chunk of neurons, a whole block."""


@dataclass(frozen=True, eq=False, slots=True)
class KeptSet:
    """What one size of the emulator keeps; a block that is gone is no key."""

    groups: Mapping[int, IntArray]
    """Kept attention groups by block, ascending."""
    neurons: Mapping[int, IntArray]
    """Kept neurons by block, ascending."""

    @property
    def blocks(self) -> tuple[int, ...]:
        """Surviving blocks, ascending."""
        return tuple(sorted(self.groups))


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """The nested order in which units are kept; the floors come first.

    Unit i is group or chunk `index[i]` of block `block[i]`. Chunk c of a block is
    neurons c * round_to onwards of its row of `neuron_order`.
    """

    num_blocks: int
    """Blocks of the unpruned emulator."""
    num_groups: int
    """Attention groups of an unpruned block, G."""
    num_neurons: int
    """Neurons of an unpruned block, F."""
    group_params: int
    """Parameters of one group."""
    neuron_params: int
    """Parameters of one neuron."""
    fixed_params: int
    """Parameters of one block that no unit owns."""
    round_to: int
    """Neurons of one chunk; the last chunk of a block may be smaller."""
    num_floor_units: int
    """Leading units that are always kept."""
    kind: IntArray
    """GROUP, CHUNK or BLOCK, [U]."""
    block: IntArray
    """[U]."""
    index: IntArray
    """Which group or chunk of the block, [U]; 0 for a whole block."""
    neuron_order: IntArray
    """Neurons of each block, most important first, [blocks, F]."""

    @property
    def unit_params(self) -> IntArray:
        """Parameters of every unit, [U]."""
        left = self.num_neurons - self.index * self.round_to
        chunk = np.minimum(left, self.round_to) * self.neuron_params
        whole = (
            self.num_groups * self.group_params
            + self.num_neurons * self.neuron_params
            + self.fixed_params
        )
        return np.choose(self.kind, [np.int64(self.group_params), chunk, whole])

    @cached_property
    def sizes(self) -> IntArray:
        """Parameters of the emulator at every attainable prefix, ascending."""
        whole_blocks = bool((self.kind == BLOCK).any())
        fixed = 0 if whole_blocks else self.num_blocks * self.fixed_params
        sizes = fixed + np.cumsum(self.unit_params)[self.num_floor_units - 1 :]
        sizes.setflags(write=False)
        return sizes

    def _num_units(self, num_params: int) -> int:
        """Return how many leading units an emulator of a size has."""
        position = int(np.searchsorted(self.sizes, num_params))
        if position == len(self.sizes) or self.sizes[position] != num_params:
            near = self.sizes[max(position - 1, 0) : position + 1].tolist()
            raise InputError(
                f"no emulator has exactly {num_params} parameters; nearest: {near}."
            )
        return self.num_floor_units + position

    def kept(self, num_params: int) -> KeptSet:
        """Return what an emulator of exactly `num_params` parameters keeps.

        Raises
        ------
        InputError
            If no prefix has that size; pick one of `sizes`.
        """
        counts = self.counts(num_params)
        groups = {b: np.sort(self.group_order(b)[:g]) for b, (g, _) in counts.items()}
        neurons = {b: np.sort(self.neurons_of(b)[:n]) for b, (_, n) in counts.items()}
        return KeptSet(groups, neurons)

    def counts(self, num_params: int) -> dict[int, tuple[int, int]]:
        """Return how many groups and neurons each surviving block keeps at a size.

        They are the first of `group_order` and of `neurons_of`.

        Raises
        ------
        InputError
            If no prefix has that size; pick one of `sizes`.
        """
        first = slice(self._num_units(num_params))
        kind, block = self.kind[first], self.block[first]

        def per_block(which: int) -> IntArray:
            return np.bincount(block[kind == which], minlength=self.num_blocks)

        groups, chunks, whole = map(per_block, (GROUP, CHUNK, BLOCK))
        neurons = np.minimum(chunks * self.round_to, self.num_neurons)
        groups = np.where(whole > 0, self.num_groups, groups)
        neurons = np.where(whole > 0, self.num_neurons, neurons)
        return {
            int(b): (int(groups[b]), int(neurons[b])) for b in np.flatnonzero(groups)
        }

    def group_order(self, block: int) -> IntArray:
        """Attention groups of a block, most important first, [G]."""
        here = self.index[(self.block == block) & (self.kind == GROUP)]
        return here if here.size else np.arange(self.num_groups)

    def neurons_of(self, block: int) -> IntArray:
        """Neurons of a block, most important first, [F]."""
        order: IntArray = self.neuron_order[block]
        return order if order.size else np.arange(self.num_neurons)

    def size_of(self, kept_fraction: float) -> int:
        """Largest attainable emulator of at most a kept fraction, in parameters."""
        target = kept_fraction * float(self.sizes[-1]) * (1 + 1e-12)
        fitting = self.sizes[self.sizes <= target]
        return int(fitting[-1] if fitting.size else self.sizes[0])

    def digest(self) -> str:
        """SHA-256 over all fields: the same on any machine."""
        digest = hashlib.sha256(self._metadata().encode())
        for name, array in self._arrays().items():
            digest.update(f"{name}{array.shape}".encode())
            digest.update(array.astype("<i8").tobytes())
        return digest.hexdigest()

    def save(self, path: Path, key: str = "") -> None:
        """Write a safetensors file that `load` reads back exactly.

        Parameters
        ----------
        path : Path
            Written whole or not at all.
        key : str
            What the ranking is of; `load` asks for the same.
        """
        metadata = {"ranking": self._metadata(), SEAL: self._seal(key)}
        write_atomic(path, save(self._arrays(), metadata=metadata))

    @classmethod
    def load(cls, path: Path, key: str = "") -> "Ranking":
        """Read what `save` wrote under the same key.

        Raises
        ------
        DamagedError
            If the file is, to the last value, not that.
        OSError
            If it cannot be read.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}
            ranking = cls(**json.loads(metadata["ranking"]), **arrays)
            # Unsigned, say, the same bytes have the same digest and another meaning.
            integers = all(array.dtype == np.int64 for array in arrays.values())
            whole = integers and metadata[SEAL] == ranking._seal(key)
        except (SafetensorError, ValueError, TypeError, KeyError, AttributeError):
            raise DamagedError(
                f"{path} is not a ranking that trimwave saved, or is of a version "
                f"before 0.4."
            ) from None
        if not whole:
            raise DamagedError(
                f"{path} is damaged, or the ranking of something else: its content "
                f"does not match its `{SEAL}`."
            )
        return ranking

    def _seal(self, key: str) -> str:
        return digest_of([key, self.digest()])

    def _arrays(self) -> dict[str, IntArray]:
        return {
            f.name: getattr(self, f.name) for f in fields(self) if f.type is not int
        }

    def _metadata(self) -> str:
        ints = {f.name: getattr(self, f.name) for f in fields(self) if f.type is int}
        return json.dumps(ints)

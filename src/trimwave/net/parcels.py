"""What a client is sent in a round, from what the server delivers.

Two ways: what the client trains goes with the message, for it changes every round; what
is frozen goes as blobs, named by their content, which the client fetches if it has them
not. A pruned emulator is cut into slices at borders that all clients share, so that who
keeps more has the others' slices too, and that a slice held already is not sent again.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trimwave.base.errors import RunError
from trimwave.base.stored import disk_errors, read_sealed, write_sealed
from trimwave.base.units import BITS_PER_BYTE
from trimwave.lm.surgery.ranking import Ranking
from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.wire.ledger import HEAD, Tensors, entry_of, where
from trimwave.lm.wire.package import Wire
from trimwave.lm.wire.slices import Slicer
from trimwave.model.submodel import Submodel
from trimwave.net.blobs.store import Blob, BlobStore
from trimwave.runs.roles import Delivery

SLICE_BYTES = 8 << 20
"""Size of a slice between shared borders: small against a package, so that little is
fetched twice after a break, and large against what a request takes."""

HEADER_BYTES = 1 << 10
"""Most that safetensors says of a tensor, and of a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parcel:
    """What one client is sent."""

    slices: Sequence[Blob]
    """The pruned emulator, slice by slice."""
    units: Mapping[int, tuple[int, int]]
    """Groups and neurons of each of its blocks."""
    blobs: Sequence[Blob]
    """What else travels and is frozen, a block each."""
    prefix: Sequence[tuple[int, Blob]]
    """Of the installed blocks, those that run before the steps, one by one."""
    body: bytes
    """What the client trains, as it arrives, in safetensors; in 8 bits what others
    train too."""
    expected: Mapping[str, tuple[Any, Any]]
    """Shape and type of each tensor of its update."""
    finished: Sequence[tuple[Blob, float]]
    """What earlier stages have learnt, which it merges into what lies installed, and
    what scales the factors in it."""
    installed: Sequence[Blob]
    """What lies installed, a block each, which it keeps after the round."""
    kept: Mapping[int, Blob]
    """Slices that it keeps, in order, by the size that each ends at."""

    @property
    def head(self) -> dict[str, Any]:
        """What the message says of them."""
        ahead = {one for _, one in self.prefix}
        return {
            "slices": [[one.digest, one.num_bytes] for one in self.slices],
            "units": self.units,
            "blobs": [[one.digest, one.num_bytes] for one in self.blobs],
            "installed": [
                [one.digest, one.num_bytes]
                for one in self.installed
                if one not in ahead
            ],
            "prefix": [
                [number, one.digest, one.num_bytes] for number, one in self.prefix
            ],
            "finished": [
                [alpha, one.digest, one.num_bytes] for one, alpha in self.finished
            ],
            "keep": [*self.keep],
        }

    @property
    def keep(self) -> list[str]:
        """Blobs that it keeps after the round, by digest."""
        finished = (one for one, _ in self.finished)
        own = *self.installed, *finished, *self.kept.values()
        return [one.digest for one in own]

    @property
    def most_bytes(self) -> int:
        """Longest that an update may be: the tensors asked for, and their header."""
        forms = self.expected.values()
        return HEADER_BYTES * (1 + len(forms)) + sum(
            math.prod(shape) * dtype.itemsize for shape, dtype in forms
        )

    @property
    def digests(self) -> set[str]:
        """Of all blobs."""
        return {*self.keep, *(one.digest for one in (*self.slices, *self.blobs))}


@dataclass
class Packer:
    """Makes parcels; the blobs lie in its store."""

    split: SplitModel
    """The model, for where its parts are."""
    ranking: Ranking
    bits_per_param: int
    """Number format on the air."""
    store: BlobStore
    quota_params: int
    """What a client keeps of the emulator between rounds; 0 = nothing."""
    notes: Path
    """File of what clients keep, for a server that is begun anew."""
    joins: Collection[str] = ()
    """Digests of what a device joins by, which stays: one may come at any time."""
    version: int | None = None
    """Of the emulator that the slices are of."""
    kept: dict[int, dict[int, Blob]] = field(default_factory=dict)
    """What each client keeps of it, as `Parcel.kept`: where its slices end, further
    slices do too."""
    _slices: dict[tuple[int, int], Blob] = field(default_factory=dict)
    _parts: dict[object, tuple[Blob, list[Tensor]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.notes.exists():
            with suppress(RunError):  # damaged: some slices are fetched again
                self._recall(read_sealed(self.notes, "version", "kept"))

    def _recall(self, noted: Mapping[str, Any]) -> None:
        """Go on with what was noted, if the blobs are still there."""
        kept = {
            int(client): {end: Blob(*blob) for end, *blob in slices}
            for client, slices in noted["kept"].items()
        }
        if all(self.store.has(one) for own in kept.values() for one in own.values()):
            self.version, self.kept = noted["version"], kept
            for own in kept.values():
                borders = zip([0, *own], own, strict=False)
                self._slices |= dict(zip(borders, own.values(), strict=True))

    def parcel(
        self, client: int, submodel: Submodel, delivery: Delivery, version: int
    ) -> Parcel:
        """Return what a client is sent in a round.

        Parameters
        ----------
        client : int
            Its number.
        submodel : Submodel
            What it holds in the round.
        delivery : Delivery
            The tensors of it.
        version : int
            Of the emulator: as long as it is the same, so are the slices.
        """
        if version != self.version:
            self._slices.clear()
            self.kept.clear()
            self.version = version
        trained = where(delivery.sent, submodel.trains)
        small = submodel.update_bits is not None
        # In 8 bits also what others train: a blob would bring it in 16.
        changing = where(delivery.sent, submodel.changes) if small else trained
        frozen = {n: one for n, one in delivery.sent.items() if n not in changing}
        slices: list[Blob] = []
        kept = self.kept.get(client, {})
        if submodel.is_sliced:
            border = submodel.trained_blocks[0]
            pruned = where(frozen, lambda part, _: part != HEAD and int(part) < border)
            frozen = {n: one for n, one in frozen.items() if n not in pruned}
            if pruned:
                ends = self._ends(client, submodel.emulator_params)
                slices = self._sliced(ends, pruned)
                kept = kept | {
                    end: one
                    for end, one in zip(ends, slices, strict=True)
                    if end <= self.quota_params
                }
        installed, prefix = [], []
        for part, own in sorted_parts(delivery.unmerged):
            blob = self._part(part, own)
            installed.append(blob)
            if submodel.streams_prefix and int(str(part)) < submodel.trained_blocks[0]:
                prefix.append((int(str(part)), blob))
        wire = Wire.fitting(changing, self.bits_per_param, changing if small else ())
        arriving = torch.float32 if small else wire.dtype
        sent_up = where(trained, submodel.travels_up)
        return Parcel(
            slices=slices,
            units=self._units(submodel.emulator_params) if slices else {},
            blobs=[self._part(part, own) for part, own in sorted_parts(frozen)],
            body=wire.encode(changing),
            expected={name: (one.shape, arriving) for name, one in sent_up.items()},
            prefix=prefix,
            finished=[
                (self._part(f"stage {at}", one.tensors), one.lora_alpha)
                for at, one in enumerate(delivery.finished)
            ],
            installed=installed,
            kept=kept,
        )

    def arrived(self, parcels: Mapping[int, Parcel]) -> None:
        """Note what clients keep that are known to have got it.

        Raises
        ------
        RunError
            If the disk refuses.
        """
        now = self.kept | {k: {**one.kept} for k, one in parcels.items() if one.kept}
        if now != self.kept:
            self.kept = now
            plain = {
                str(k): [[end, one.digest, one.num_bytes] for end, one in own.items()]
                for k, own in now.items()
            }
            with disk_errors(self.notes, "earlier rounds are saved", "resume"):
                write_sealed(self.notes, {"version": self.version, "kept": plain})

    def keep_only(self, parcels: Sequence[Parcel]) -> None:
        """Drop blobs that no parcel, nobody who joins or keeps slices may ask for."""
        wanted = {*self.joins}.union(*(one.digests for one in parcels))
        if self.quota_params:
            wanted |= {blob.digest for blob in self._slices.values()}
        self.store.keep_only(wanted)
        self._slices = {
            k: one for k, one in self._slices.items() if one.digest in wanted
        }
        parts = self._parts.items()
        self._parts = {key: one for key, one in parts if one[0].digest in wanted}

    def _ends(self, client: int, size: int) -> list[int]:
        """Return the sizes that a client's slices end at.

        A client that holds more than it needs is told of the slices it has: the last
        one may reach beyond `size`, and the client takes the beginning of it.
        """
        own = self.kept.get(client, {})
        borders, most = self._shared_borders | own.keys(), max(own, default=0)
        last = min((one for one in borders if size <= one <= most), default=size)
        return sorted({one for one in borders if one < last} | {last})

    def _sliced(self, ends: list[int], tensors: Tensors) -> list[Blob]:
        slicer = Slicer(arch=self.split.arch, shape=self.split.shape)
        found = []
        for low, high in zip([0, *ends], ends, strict=False):
            key = low, high
            if key not in self._slices:
                units = self._units(low), self._units(high)
                self._slices[key] = self._put(slicer.between(tensors, *units))
            found.append(self._slices[key])
        return found

    @property
    def _shared_borders(self) -> set[int]:
        """Sizes that every client's emulator is cut at."""
        sizes = self.ranking.sizes
        step = SLICE_BYTES * BITS_PER_BYTE // self.bits_per_param
        wanted = np.arange(int(sizes[0]) + step, int(sizes[-1]), step)
        chosen = sizes[np.unique(np.searchsorted(sizes, wanted))]
        borders = {int(sizes[0]), *chosen.tolist(), self.quota_params}
        return borders - {0}  # no quota is no border

    def _units(self, size: int) -> dict[int, tuple[int, int]]:
        return self.ranking.counts(size) if size else {}

    def _part(self, part: object, tensors: Tensors) -> Blob:
        """Return the blob of a block that travels whole; made again if it changed."""
        key = (
            part,
            *((name, one.data_ptr(), one._version) for name, one in tensors.items()),
        )
        if key not in self._parts:
            # The tensors are kept with it, so that no other takes their place.
            self._parts[key] = self._put(tensors), [*tensors.values()]
        return self._parts[key][0]

    def _put(self, tensors: Tensors) -> Blob:
        return self.store.put(self._wire(tensors).encode(tensors))

    def _wire(self, tensors: Mapping[str, Tensor]) -> Wire:
        return Wire.fitting(tensors, self.bits_per_param)


def sorted_parts(tensors: Mapping[str, Tensor]) -> list[tuple[object, Tensors]]:
    """Return tensors by part, the blocks in their order, by their full names."""
    names: dict[object, Tensors] = {}
    for name, value in tensors.items():
        names.setdefault(entry_of(name).part, {})[name] = value
    return sorted(names.items(), key=lambda one: str(one[0]).zfill(6))

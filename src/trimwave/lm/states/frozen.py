"""What a frozen part is, as a digest: states are of it and of nothing else."""

import hashlib
import json
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trimwave.lm.surgery.split import SplitModel
from trimwave.lm.wire.ledger import where

NAMES_ONLY = ("_name_or_path", "transformers_version", "architectures", "dtype")
"""Keys of a model's config that no forward depends on."""


def computation_of(config: Any) -> str:
    """Return what a model's config says beyond its tensors: norms, angles, windows."""
    fields = {k: v for k, v in config.to_dict().items() if k not in NAMES_ONLY}
    return json.dumps(fields, sort_keys=True, default=str)


def bytes_of(tensor: Tensor) -> memoryview:
    """Return a tensor's values as they lie in memory, without a copy on the CPU."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


class Digests:
    """SHA-256 of tensors; what lives on unchanged is read once.

    A digest is known again by the tensor itself, which must still be there, and by
    torch's count of changes in place. Never by its address: that of a tensor that is
    gone is given to another. Writes past torch (through `.data` or NumPy) do not count.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], tuple[weakref.ref[Tensor], int, bytes]] = {}

    def of(self, tensor: Tensor) -> bytes:
        """Return the digest of values, type and shape."""
        # A view is made anew each time it is asked for; what it looks at stays.
        owner = tensor if tensor._base is None else tensor._base
        layout = tensor.storage_offset(), tensor.stride(), tensor.shape, tensor.dtype
        place = (id(owner), *layout)
        known = self._known.get(place)
        if known and known[0]() is owner and known[1] == tensor._version:
            return known[2]
        digest = hashlib.sha256(f"{tensor.dtype}{[*tensor.shape]}".encode())
        digest.update(bytes_of(tensor))
        all_known = self._known
        gone = weakref.ref(owner, lambda _: all_known.pop(place, None))
        all_known[place] = gone, tensor._version, digest.digest()
        return digest.digest()

    def of_all(self, tensors: Mapping[str, Tensor], beside: bytes = b"") -> bytes:
        """Return the digest of named tensors, after what they stand beside."""
        digest = hashlib.sha256(beside)
        for name in sorted(tensors):
            digest.update(name.encode() + b" " + self.of(tensors[name]))
        return digest.digest()

    def of_frozen(self, split: SplitModel, tensors: Mapping[str, Tensor]) -> bytes:
        """Return the digest of all that a row's state depends on but its tokens.

        Parameters
        ----------
        split : SplitModel
            Split at the lowest block that trains; its embeddings and config count.
        tensors : mapping
            All blocks by name, as they came: other objects in each round are read
            again.
        """
        frozen = where(
            tensors, lambda part, _: part != "head" and int(part) < split.split_index
        )
        return self.of_all(frozen, embedding_digest(split, self))


def embedding_digest(split: SplitModel, digests: Digests) -> bytes:
    """Return the digest of a model's embeddings and of what its config says."""
    base = getattr(split.shell, split.arch.base)
    found = {
        f"{name}.{path}": value
        for name in filter(None, (split.arch.embedding, split.arch.positions))
        for path, value in base.get_submodule(name).named_parameters()
    }
    return digests.of_all(found, computation_of(split.shell.config).encode())

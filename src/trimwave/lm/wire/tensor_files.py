"""Named parameters to a safetensors file and back, for checkpoints."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from trimwave.base.errors import RunError, one_line
from trimwave.lm.wire.ledger import Tensors

ALPHA = "lora_alpha"
"""In a file's metadata: what the LoRA factors in it are scaled by, times r."""


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write parameters by name."""
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    # Written by Python, so that a full disk is an OSError like any other.
    path.write_bytes(save(plain, metadata=metadata))


def read_tensors(path: Path, device: str = "cpu") -> Tensors:
    """Read what `save_tensors` wrote.

    Raises
    ------
    RunError
        If it is no such file, or not all of one.
    """
    try:
        tensors: Tensors = load_file(path, device)
    except (SafetensorError, OSError) as error:
        raise RunError(
            f"{path} cannot be read: {one_line(error)}; put a sound copy there, or "
            "start a new run."
        ) from None
    return tensors


def load_tensors(path: Path, into: dict[str, nn.Parameter]) -> None:
    """Read what `save_tensors` wrote into parameters of the same names.

    Raises
    ------
    RunError
        If the file is damaged, or the tensors are not those of this model.
    """
    tensors = read_tensors(path)
    if tensors.keys() != into.keys():
        odd = sorted(tensors.keys() ^ into.keys())[0]
        raise RunError(f"{path} does not fit the model: tensor `{odd}`.")
    with torch.no_grad():
        for name, value in into.items():
            value.copy_(tensors[name])


def metadata_of(path: Path) -> dict[str, str]:
    """Read what was written beside the tensors."""
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}

"""What a folder's safetensors files hold, from their names and headers alone.

Reading a header takes microseconds, so that whatever is wrong with gigabytes of
weights is said before they are read.
"""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError, one_line
from trimwave.model.config_file import parsed, refuse_pointer

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "U64": 8,
    "I32": 4,
    "U32": 4,
    "I16": 2,
    "U16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "F8_E8M0": 1,
    "F8_E4M3FNUZ": 1,
    "F8_E5M2FNUZ": 1,
    "C64": 8,
}
LARGEST_HEADER = 100_000_000
"""Bytes; the limit of the safetensors library."""
OTHER_FORMATS = {
    ".bin": "pickled PyTorch weights",
    ".pt": "pickled PyTorch weights",
    ".pth": "pickled PyTorch weights",
    ".ckpt": "a pickled checkpoint",
    ".pkl": "pickled weights",
    ".gguf": "GGUF weights",
    ".ggml": "GGML weights",
    ".h5": "TensorFlow weights",
    ".msgpack": "Flax weights",
    ".onnx": "an ONNX graph",
    ".npz": "NumPy arrays",
    ".tflite": "a TensorFlow Lite graph",
}
"""What lies in place of safetensors, by the ending of the file."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor of a safetensors file."""

    dtype: str
    """As safetensors spells it: F32, BF16, I8, ..."""
    shape: tuple[int, ...]
    file: str
    """The file that it lies in."""


def weight_files(folder: Path, name: str) -> list[str]:
    """Return the safetensors files that transformers reads, with the index if any.

    Raises
    ------
    InputError
        If there are none, or a shard is missing; says what lies there instead.
    """
    refuse_pointer(folder / SINGLE)
    if (folder / SINGLE).is_file():
        return [SINGLE]
    if (folder / INDEX).is_file():
        return [INDEX, *sorted(set(_index(folder).values()))]
    raise InputError(_instead(folder, name))


def stored_tensors(folder: Path, name: str) -> dict[str, Stored]:
    """Return every tensor of a folder's weights by name.

    Raises
    ------
    InputError
        If a file is missing, cut or not safetensors, or the index does not fit.
    """
    found: dict[str, Stored] = {}
    for file in weight_files(folder, name):
        if file == INDEX:
            continue
        for tensor, stored in _header(folder, file).items():
            if tensor in found:
                raise InputError(
                    f"tensor `{one_line(tensor)}` of `{name}` lies in {file} and in "
                    f"{found[tensor].file}; copy the model's files again."
                )
            found[tensor] = stored
    if not (folder / SINGLE).is_file():
        _check_index(folder, found)
    return found


def _index(folder: Path) -> dict[str, str]:
    path = folder / INDEX
    try:
        content = parsed(path.read_bytes(), path)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}).") from None
    index = content.get("weight_map")
    if not isinstance(content.get("metadata"), dict):  # transformers reads it first
        raise InputError(
            f'{path} has no `metadata`; add `"metadata": {{}}`, or copy it again.'
        )
    if not (
        isinstance(index, dict)
        and index
        and all(isinstance(file, str) for file in index.values())
    ):
        raise InputError(
            f"{path} has no `weight_map` from tensors to files; copy it again."
        )
    for file in index.values():
        refuse_pointer(folder / Path(file).name)
        plain = file.endswith(".safetensors") and Path(file).name == file
        if not plain or not (folder / file).is_file():
            raise InputError(
                f"{path} names `{one_line(file)}`, which is not in the folder; copy "
                f"the missing part of the weights there."
            )
    return index


def _check_index(folder: Path, found: dict[str, Stored]) -> None:
    for tensor, file in _index(folder).items():
        if tensor not in found or found[tensor].file != file:
            raise InputError(
                f"{folder / INDEX} says that `{one_line(tensor)}` lies in {file}, "
                f"where it is not; copy the model's files again."
            )


def _header(folder: Path, file: str) -> dict[str, Stored]:
    """Read the names, types and shapes of a safetensors file, checked in full."""
    path = folder / file
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            (length,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\xff"))
            if length > min(size - 8, LARGEST_HEADER):
                raise InputError(
                    f"{path} is cut or not safetensors ({size} bytes, a header of "
                    f"{length} expected); copy it again."
                )
            header = json.loads(stream.read(length).decode())
        return _entries(header, size - 8 - length, file)
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}).") from None
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged: its header is wrong ({one_line(error)}); copy it "
            f"again."
        ) from None


def _entries(header: Any, num_bytes: int, file: str) -> dict[str, Stored]:
    """Check that tensors fill a file without a gap; a ValueError says what does not."""
    header.pop("__metadata__", None)
    found, spans = {}, []
    for tensor, entry in header.items():
        shape, (start, stop) = entry["shape"], entry["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (*shape, start, stop)):
            raise ValueError(f"`{tensor}` has a size that is no number")
        if stop - start != math.prod(shape) * DTYPE_BYTES[entry["dtype"]]:
            raise ValueError(f"`{tensor}` has other bytes than its shape needs")
        found[tensor] = Stored(entry["dtype"], tuple(shape), file)
        spans.append((start, stop))
    end = 0
    for start, stop in sorted(spans):
        if start != end:
            raise ValueError(f"tensors overlap or leave a gap at byte {end}")
        end = stop
    if end != num_bytes:
        raise ValueError(f"it promises {end} bytes of tensors, there are {num_bytes}")
    return found


def _instead(folder: Path, name: str) -> str:
    files = sorted(file.name for file in folder.iterdir())
    shards = [file for file in files if file.endswith(".safetensors")]
    if shards:
        return (
            f"`{name}` has safetensors ({shards[0]}) but neither {SINGLE} nor {INDEX}; "
            f"name the file as `save_pretrained` does, or copy the index."
        )
    for file in files:
        other = OTHER_FORMATS.get(Path(file).suffix.lower())
        if other and not file.startswith("training_args"):
            return (
                f"`{name}` has {other} only ({file}), which are not read here; load "
                f"them where you trust them and write safetensors: "
                f"`AutoModelForCausalLM.from_pretrained(...).save_pretrained(...)`."
            )
    return (
        f"`{name}` has no weights: no {SINGLE} lies beside its config.json; copy them "
        f"there."
    )

"""A model folder's config.json: read, and refused where it says it cannot be used.

Without torch: a plan reads it as a run does, so that both refuse the same folders.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimwave.base.decode import LFS_POINTER
from trimwave.base.errors import InputError, one_line

CONFIG = "config.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
"""What PEFT writes; transformers loads it too, where it lies beside weights."""
QUANTISED_KEYS = ("quantization_config", "compression_config", "quantization")
"""Where configs say that weights are quantised; the second is of older
compressed-tensors, the third of MLX."""
QUANTISED_FILES = ("quantize_config.json", "quant_config.json", "hf_quant_config.json")
"""Where GPTQ, AWQ and ModelOpt say it beside the config."""


def local_path(name: str) -> Path | None:
    """Return the path that a model's name stands for, None if nothing is there.

    Raises
    ------
    InputError
        If something is there that is no folder that can be read.
    """
    try:
        path = Path(name).expanduser()
        if path.is_symlink() and not path.exists():
            raise InputError(f"`{name}` is a link to nothing; name the model's folder.")
        if not path.exists():
            return None
        is_folder = path.is_dir()
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of no user
        raise InputError(
            f"cannot read `{one_line(name)}` ({one_line(error)}); name a folder that "
            f"can be read."
        ) from None
    if not is_folder:
        raise InputError(
            f"`{name}` is a file; name the Hugging Face folder with config.json, "
            f"tokenizer and safetensors weights."
        )
    return path


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Read a folder's config.json.

    Parameters
    ----------
    folder : Path
        Of a Hugging Face model.
    name : str
        What to call it in errors.

    Raises
    ------
    InputError
        If there is none, it is no JSON object, or it says that the model cannot be
        used here: quantised, LoRA factors, code of its own, no decoder.
    """
    path = folder / CONFIG
    try:
        files = sorted(file.name for file in folder.iterdir())
        _refuse_adapter(files, name)
        if CONFIG not in files:
            raise InputError(_without_config(name, files))
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {error.filename or path} ({error.strerror or error}); make "
            f"it readable, or name another folder."
        ) from None
    config = parsed(data, path)
    _refuse_quantised(config, files, name)
    _refuse_code(config, files, name)
    _refuse_no_decoder(config, name)
    return config


def refuse_pointer(path: Path) -> None:
    """Refuse what Git leaves in place of a large file that it did not fetch.

    Raises
    ------
    InputError
        If the file is such a pointer, or a link to nothing.
    """
    if path.is_symlink() and not path.exists():
        raise InputError(
            f"{path} is a link to nothing; fetch or copy the file that it stands for."
        )
    if not path.is_file():
        return
    with path.open("rb") as file:
        start = file.read(len(LFS_POINTER))
    if start == LFS_POINTER:
        raise InputError(
            f"{path} is a Git LFS pointer, not the file itself; run `git lfs pull` in "
            f"{path.parent}."
        )


def parsed(data: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object in the bytes of a file.

    Raises
    ------
    InputError
        If they are something else.
    """
    try:
        content = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not JSON: {one_line(error)}; copy the file again."
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{path} is no JSON object; copy the file again.")
    return content


def _without_config(name: str, files: list[str]) -> str:
    found = ", ".join(files[:3]) + (", ..." if len(files) > 3 else "")
    there = f"there is {found}" if files else "the folder is empty"
    return (
        f"`{name}` has no config.json ({there}); name a folder as `save_pretrained` "
        f"makes it."
    )


def _refuse_adapter(files: list[str], name: str) -> None:
    found = [file for file in ADAPTER_FILES if file in files]
    if not found:
        return
    if CONFIG in files:
        raise InputError(
            f"`{name}` holds LoRA factors ({found[0]}) beside the model's weights; "
            f"merge them with PEFT (`merge_and_unload`, then `save_pretrained`), or "
            f"move them out of the folder."
        )
    raise InputError(
        f"`{name}` holds LoRA factors alone ({found[0]}), no model; merge them into "
        f"their base with PEFT (`merge_and_unload`, then `save_pretrained`) and name "
        f"that folder."
    )


def _refuse_quantised(config: Mapping[str, Any], files: list[str], name: str) -> None:
    keys = [key for key in QUANTISED_KEYS if config.get(key) is not None]
    beside = [file for file in QUANTISED_FILES if file in files]
    if keys:
        where = f"`{keys[0]}` of its config.json"
        method = _method(config[keys[0]])
    elif beside:
        where, method = beside[0], ""
    else:
        return
    raise InputError(
        f"`{name}` is already quantised{method}, says {where}: heads and neurons of "
        f"quantised weights cannot be cut or trained; bring the unquantised weights."
    )


def _method(settings: object) -> str:
    if not isinstance(settings, Mapping):
        return ""
    method = settings.get("quant_method") or settings.get("format") or ""
    if not method and {"load_in_4bit", "load_in_8bit"} & set(settings):
        method = "bitsandbytes"
    if not method and "bits" in settings:
        method = f"{settings['bits']} bits"
    return f" ({one_line(method)})" if method else ""


def _refuse_code(config: Mapping[str, Any], files: list[str], name: str) -> None:
    stems = ("modeling", "configuration", "tokenization")
    code = [f for f in files if f.endswith(".py") and f.partition("_")[0] in stems]
    if config.get("auto_map") is None and not code:
        return
    where = code[0] if code else "`auto_map` of its config.json"
    raise InputError(
        f"`{name}` comes with code of its own ({where}), which is never run here; "
        f"bring a model of an architecture that transformers has itself, or remove "
        f"the code if the model is one."
    )


def _refuse_no_decoder(config: Mapping[str, Any], name: str) -> None:
    if config.get("is_encoder_decoder") is True:
        kind = "an encoder-decoder model (`is_encoder_decoder`)"
    elif config.get("is_causal") is False:
        kind = "an encoder (`is_causal` is false)"
    elif config.get("model_type") == "gpt2" and config.get("add_cross_attention"):
        kind = "half of an encoder-decoder model (`add_cross_attention`)"
    else:
        return
    raise InputError(
        f"`{name}` is {kind}; only decoders can be split and pruned; bring a causal "
        f"language model."
    )

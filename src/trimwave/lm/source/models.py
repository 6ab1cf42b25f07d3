"""Load a causal language model and its tokenizer, wherever they come from."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from trimwave.base.errors import InputError, nearest
from trimwave.lm.source.fetch import RECEIPT, fetch, quiet_transformers
from trimwave.model.names import KNOWN_MODELS

HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]
"""What is taken of a repository: no pickled weights, no other frameworks' formats."""


def load_model(
    name: str, dtype: torch.dtype = torch.float32, console: Console | None = None
) -> tuple[Any, Any, dict[str, Any]]:
    """Load a model by name.

    Parameters
    ----------
    name : str
        A name in `zoo.KNOWN_MODELS`, a local Hugging Face folder, or ``owner/name`` on
        the hub.
    dtype : torch.dtype
        Type of the weights in memory.
    console : rich.console.Console, optional
        Where the progress of a fetch is shown; the error stream if not given.

    Returns
    -------
    model, tokenizer
        The model in evaluation mode, on the CPU; the tokenizer has a padding token.
    revision : dict
        For the manifest: name, source and what pins it.

    Raises
    ------
    InputError
        If there is no such model, or it cannot be had or read.
    """
    known = KNOWN_MODELS.get(name)
    local = Path(name).expanduser()
    if known and known.hub is None:
        folder = fetch(name, console or Console(stderr=True))
        pinned = json.loads((folder / RECEIPT).read_text())
        del pinned["file_bytes"]
    elif known is None and local.is_dir():
        folder = local
        pinned = {"source": "local folder", "sha256": _weights_sha256(folder)}
    elif known is None and (name.count("/") != 1 or name[0] in "/~."):
        raise InputError(
            f"unknown model `{name}`; name a local Hugging Face folder, `owner/name` "
            f"of the hub, or a known name; {nearest(name, KNOWN_MODELS)}"
        )
    else:
        repository = known.hub if known and known.hub else name
        folder = _hub_folder(repository)
        # A snapshot's folder is named by its commit.
        pinned = {"source": f"hub: {repository}", "commit": folder.name}
    model, tokenizer = _load_folder(folder, name, dtype)
    return model, tokenizer, {"name": name, **pinned}


def _weights_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _hub_folder(repository: str) -> Path:
    """Return the folder of a snapshot, fetched if the hub can be reached."""
    from huggingface_hub import HfApi, snapshot_download

    try:
        # Asked first: other calls would retry for half a minute.
        commit = HfApi().model_info(repository, timeout=20).sha
        return Path(
            snapshot_download(
                repository,
                revision=commit,
                allow_patterns=HUB_FILES,
                ignore_patterns=["*/*"],
            )
        )
    except Exception as error:
        # The hub raises classes of whichever HTTP library it was built on.
        reason, cause = (str(error).strip().splitlines() or [""])[0], error
    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except OSError:
        raise InputError(
            f"could not read `{repository}` from the Hugging Face hub "
            f"({type(cause).__name__}: {reason}), and it is not in the local cache; "
            f"check the name and the network, copy the model's folder here and name "
            f"its path, or use `smollm2-135m`, which needs no hub."
        ) from cause


def _load_folder(folder: Path, name: str, dtype: torch.dtype) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not (folder / "config.json").is_file():
        raise InputError(
            f"`{name}` has no config.json; name a folder as `save_pretrained` makes it."
        )
    try:
        with quiet_transformers():
            model, report = AutoModelForCausalLM.from_pretrained(
                str(folder),
                dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
            )
            tokenizer = AutoTokenizer.from_pretrained(
                str(folder), local_files_only=True
            )
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"could not load the model `{name}`: {error} Model, tokenizer and "
            f"safetensors weights must lie in one folder."
        ) from error
    if report["missing_keys"]:
        absent = ", ".join(sorted(report["missing_keys"])[:3])
        raise InputError(
            f"the weights of `{name}` lack {len(report['missing_keys'])} tensors, "
            f"{absent} among them; the file is not whole, or of another model."
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model, tokenizer

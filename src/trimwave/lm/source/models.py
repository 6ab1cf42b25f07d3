"""Load a causal language model and its tokenizer, wherever they come from."""

from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from transformers import AutoConfig, AutoModelForCausalLM

from trimwave.base.errors import InputError, nearest, one_line
from trimwave.base.receipt import DIGESTS, RECEIPT, digests_of, read_receipt
from trimwave.lm.source.fetch import fetch
from trimwave.lm.source.fits import check_tensors
from trimwave.lm.source.hub import FILES, model_folder
from trimwave.lm.source.others import loading
from trimwave.lm.source.tokens import check_tokens, load_tokenizer
from trimwave.lm.source.weights import stored_tensors, weight_files
from trimwave.model.config_file import local_path, read_config
from trimwave.model.names import KNOWN_MODELS
from trimwave.model.shape import ModelShape

PROBE_TOKENS = 16


def load_model(
    name: str,
    dtype: torch.dtype = torch.float32,
    console: Console | None = None,
    revision: str = "",
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
    revision : str
        Commit, branch or tag of a repository of the hub; empty = its main branch.

    Returns
    -------
    model, tokenizer
        The model in evaluation mode, on the CPU; the tokenizer has a padding token.
    facts : dict
        For the manifest: name, source, and the SHA-256 of every file read, so that
        another content is another model whatever its name.

    Raises
    ------
    InputError
        If there is no such model, or it cannot be had, read or used.
    """
    known = KNOWN_MODELS.get(name)
    local = None if known else local_path(name)
    if known and known.hub is None:
        folder = fetch(name, console or Console(stderr=True))
        pinned = read_receipt(folder)
    elif local is not None:
        folder, pinned = local, {"source": "local folder"}
    elif known is None and (name.count("/") != 1 or name[0] in "/~."):
        raise InputError(
            f"unknown model `{name}`; name a local Hugging Face folder, `owner/name` "
            f"of the hub, or a known name; {nearest(name, KNOWN_MODELS)}"
        )
    else:
        repository = known.hub if known and known.hub else name
        folder = model_folder(repository, revision)
        # A snapshot's folder is named by its commit.
        pinned = {"source": f"hub: {repository}", "commit": folder.name}
    model, tokenizer, digests = _load_folder(folder, name, dtype)
    return model, tokenizer, {"name": name, **pinned, DIGESTS: digests}


def _load_folder(
    folder: Path, name: str, dtype: torch.dtype
) -> tuple[Any, Any, dict[str, str]]:
    """Load model and tokenizer; also the SHA-256 of every file they came from."""
    with loading(f"the model `{name}`"):
        config = read_config(folder, name)
        shape = ModelShape.from_config(config, name)
        if config.get("transformers_weights") is not None:
            raise InputError(
                f"the config of `{name}` names its weights (`transformers_weights`); "
                f"remove that key and call the file model.safetensors."
            )
        stored = stored_tensors(folder, name)
        tokenizer = load_tokenizer(folder, name)
        check_tokens(tokenizer, shape.vocab_size, name)
        as_read = AutoConfig.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        check_tensors(stored, shape, as_read, name)
        digests = digests_of(folder, _used_files(folder, name))
        model = _load_weights(folder, name, dtype)
        _check_values(model, shape, name)
    return model, tokenizer, digests


def _used_files(folder: Path, name: str) -> list[str]:
    """Return the files that a result can depend on."""
    weights = weight_files(folder, name)
    others = [
        file.name
        for file in folder.iterdir()
        if any(file.match(pattern) for pattern in FILES)
        and file.suffix != ".safetensors"
        and file.name not in (RECEIPT, *weights)
    ]
    return [*weights, *others]


def _load_weights(folder: Path, name: str, dtype: torch.dtype) -> Any:
    model, report = AutoModelForCausalLM.from_pretrained(
        str(folder),
        dtype=dtype,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    # Their names and shapes fit; should transformers still have made one up, say so.
    made_up = sorted(map(str, (*report["missing_keys"], *report["mismatched_keys"])))
    if made_up:
        raise InputError(
            f"transformers found no weights for {len(made_up)} tensors of `{name}`, "
            f"{one_line(', '.join(made_up[:3]))} among them."
        )
    return model


def _check_values(model: Any, shape: ModelShape, name: str) -> None:
    """Refuse weights that are no numbers, and a model that does not run."""
    for tensor, value in model.named_parameters():
        # One pass and no copy: 0.04 s for 135 million parameters.
        if not torch.stack(value.detach().aminmax()).isfinite().all():
            raise InputError(
                f"tensor `{tensor}` of `{name}` holds NaN or infinite values; copy the "
                f"weights again, or bring those of another checkpoint."
            )
    if sum(value.numel() for value in model.parameters()) != shape.total_params:
        raise InputError(
            f"the config of `{name}` ties the head to the embedding "
            f"(`tie_word_embeddings`), and its weights hold two that differ; set it to "
            f"false if the head is a table of its own."
        )
    # A few tokens: a wrong sliding window shows from the second on.
    length = min(PROBE_TOKENS, shape.context_length)
    with torch.no_grad():
        logits = model(torch.zeros(1, length, dtype=torch.long)).logits
    if not logits.isfinite().all():
        raise InputError(
            f"`{name}` computes NaN or infinite logits; its weights or its config.json "
            f"are damaged."
        )

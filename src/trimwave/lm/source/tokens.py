"""Load a folder's tokenizer, and refuse one that does not go with its model."""

from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError
from trimwave.lm.source.others import loading
from trimwave.model.config_file import parsed, refuse_pointer

TOKENIZER_FILES = (
    ("tokenizer.json",),
    ("tokenizer.model",),
    ("vocab.json", "merges.txt"),
)
"""Any one of these makes a tokenizer of the known architectures."""
PROBE = "Question: 2 + 2?\nAnswer: four."


def load_tokenizer(folder: Path, name: str) -> Any:
    """Load a tokenizer with an end and a padding token.

    Raises
    ------
    InputError
        If its files are missing or wrong, it brings code of its own, or it has no end
        token.
    """
    from transformers import AutoTokenizer

    for file in {file for files in TOKENIZER_FILES for file in files}:
        refuse_pointer(folder / file)
    # Without them transformers makes an empty tokenizer up.
    if not any(
        all((folder / file).is_file() for file in files) for files in TOKENIZER_FILES
    ):
        raise InputError(
            f"`{name}` has no tokenizer (tokenizer.json, tokenizer.model, or "
            f"vocab.json with merges.txt); copy the files of its tokenizer there."
        )
    settings = folder / "tokenizer_config.json"
    if settings.is_file() and "auto_map" in parsed(settings.read_bytes(), settings):
        raise InputError(
            f"the tokenizer of `{name}` comes with code of its own (`auto_map` of "
            f"tokenizer_config.json), which is never run here; save it as a fast "
            f"tokenizer."
        )
    with loading(f"the tokenizer of `{name}`"):
        tokenizer = AutoTokenizer.from_pretrained(
            str(folder), local_files_only=True, trust_remote_code=False
        )
        end = tokenizer.eos_token_id
    if not isinstance(end, int):
        raise InputError(
            f"the tokenizer of `{name}` has no end token, which every answer ends "
            f"with; set `eos_token` in its tokenizer_config.json."
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def check_tokens(tokenizer: Any, num_embeddings: int, name: str) -> None:
    """Refuse a tokenizer whose tokens would index beyond the embedding.

    Rows beyond the tokens are fine: many models pad their vocabulary.

    Raises
    ------
    InputError
        If there are fewer rows than tokens, or a plain sentence has no tokens.
    """
    with loading(f"the tokenizer of `{name}`"):
        largest = max(tokenizer.get_vocab().values(), default=-1)
        num_tokens = max(len(tokenizer), largest + 1)
        probe = tokenizer(PROBE)["input_ids"]
    if num_tokens > num_embeddings:
        raise InputError(
            f"the tokenizer of `{name}` has {num_tokens} tokens, its model only "
            f"{num_embeddings} embeddings; bring the tokenizer that it was trained "
            f"with, or resize the embeddings (`resize_token_embeddings`) and save."
        )
    if not probe:
        raise InputError(
            f"the tokenizer of `{name}` makes no tokens of `{PROBE.splitlines()[0]}`; "
            f"copy the files of its tokenizer again."
        )

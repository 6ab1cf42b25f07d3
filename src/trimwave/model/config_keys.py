"""The keys of a config that a shape depends on, as transformers reads them.

Each architecture has keys, defaults and null values of its own. They are tables here
so that a plan needs no torch; ``tests/lm/surgery/test_config_keys.py`` holds them
against transformers' classes.
"""

from collections.abc import Mapping
from typing import Any

from trimwave.base.errors import InputError, nearest, one_line

LARGEST_SIZE = 2**31 - 1
LARGEST_MODEL = 10**15
"""Parameters; a hundred times the largest model there is, and counts stay exact."""

GPT2_ALIASES = {
    "hidden_size": "n_embd",
    "max_position_embeddings": "n_positions",
    "num_attention_heads": "n_head",
    "num_hidden_layers": "n_layer",
}
"""GPT-2's `attribute_map`: where both stand in a config, the left one counts."""

_SIZES = ("hidden_size", "num_attention_heads", "num_hidden_layers")
_GPT2_SIZES = ("n_embd", "n_head", "n_layer")

DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gpt2": {
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_inner": None,
        "tie_word_embeddings": True,
    },
    "llama": {
        "vocab_size": 32000,
        "intermediate_size": 11008,
        "num_key_value_heads": None,
        "head_dim": None,
        "max_position_embeddings": 2048,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
    },
    "mistral": {
        "vocab_size": 32000,
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "head_dim": None,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    },
    "qwen2": {
        "vocab_size": 151936,
        "intermediate_size": 22016,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
    },
    "qwen3": {
        "vocab_size": 151936,
        "intermediate_size": 22016,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "max_position_embeddings": 32768,
        "attention_bias": False,
        "tie_word_embeddings": False,
    },
}
"""What transformers takes where a config lacks a key, by `model_type`. A key that is
not here, such as `attention_bias` of Qwen2, has no effect there. A config that lacks
one of the sizes that make a model, such as `hidden_size`, is refused instead."""

MODEL_TYPES = tuple(DEFAULTS)
PRUNED_PREFIX = "trimwave-"
"""Before the `model_type` of a model that `save_pruned` wrote."""

_NULL_IS_DERIVED = {
    "gpt2": ("n_inner",),
    "llama": ("num_key_value_heads", "head_dim"),
    "mistral": ("head_dim",),
    "qwen2": ("num_key_value_heads",),
    "qwen3": ("num_key_value_heads",),
}
"""Keys in which null stands for what follows from the others."""


def shape_fields(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the fields of a `ModelShape` but its name.

    Raises
    ------
    InputError
        If the architecture is not in the table, a key is missing, or a value is of
        another kind than transformers takes, or out of range.
    """
    if not isinstance(config, Mapping):
        raise InputError(f"the config of {name} is no JSON object.")
    model_type = config.get("model_type", "")
    if str(model_type).startswith(PRUNED_PREFIX):
        raise InputError(
            f"{name} was pruned by trimwave already; name the model that it was "
            f"pruned from."
        )
    if not isinstance(model_type, str) or model_type not in MODEL_TYPES:
        shown = one_line(model_type)
        raise InputError(
            f"architecture `{shown}` of {name} is not in the table; "
            f"{nearest(shown, MODEL_TYPES)}"
        )
    if model_type == "gpt2":
        return _gpt2(_checked(_unaliased(config), name, model_type, _GPT2_SIZES), name)
    return _llama(_checked(config, name, model_type, _SIZES), name, model_type)


def _unaliased(config: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {GPT2_ALIASES[k]: v for k, v in config.items() if k in GPT2_ALIASES}
    return {**config, **renamed}


def _checked(
    config: Mapping[str, Any], name: str, model_type: str, sizes: tuple[str, ...]
) -> dict[str, Any]:
    """Return every key that counts, with its default where it is not given."""
    missing = [key for key in sizes if key not in config]
    if missing:
        raise InputError(
            f"the config of {name} has no key `{missing[0]}`; copy the config.json "
            f"that lies beside the weights."
        )
    keys = {**dict.fromkeys(sizes, 0), **DEFAULTS[model_type]}
    if model_type == "qwen2" and "head_dim" in config:
        keys["head_dim"] = 0  # no key of its class, and honoured where it is given
    derived = _NULL_IS_DERIVED[model_type]
    found = {}
    for key, default in keys.items():
        found[key] = value = config.get(key, default)
        if not (value is None and key in derived):
            _check_value(key, value, isinstance(default, bool), name)
    return found


def _check_value(key: str, value: object, switch: bool, name: str) -> None:
    if switch:
        fits, wanted = isinstance(value, bool), "true or false"
    else:
        whole = isinstance(value, int) and not isinstance(value, bool)
        fits = whole and 1 <= value <= LARGEST_SIZE  # type: ignore[operator]
        wanted = f"a whole number from 1 to {LARGEST_SIZE}"
    if not fits:
        raise InputError(
            f"`{key}` in the config of {name} must be {wanted}, got "
            f"{one_line(repr(value), 40)}."
        )


def _check_multiple(key: str, value: int, of: str, divisor: int, name: str) -> None:
    if value % divisor:
        raise InputError(
            f"`{key}` in the config of {name} must be a multiple of `{of}`, got "
            f"{value} and {divisor}."
        )


def _gpt2(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    hidden, heads = config["n_embd"], config["n_head"]
    _check_multiple("n_embd", hidden, "n_head", heads, name)
    inner = config["n_inner"]
    return {
        "model_type": "gpt2",
        "num_blocks": config["n_layer"],
        "hidden_size": hidden,
        "intermediate_size": 4 * hidden if inner is None else inner,
        "num_heads": heads,
        "num_kv_heads": heads,
        "head_dim": hidden // heads,
        "vocab_size": config["vocab_size"],
        "context_length": config["n_positions"],
        "gated_mlp": False,
        "qkv_bias": True,
        "output_bias": True,
        "mlp_bias": True,
        "norm_params": 4 * hidden,
        "position_params": config["n_positions"] * hidden,
        "final_norm_params": 2 * hidden,
        "tied_head": config["tie_word_embeddings"],
    }


def _llama(config: Mapping[str, Any], name: str, model_type: str) -> dict[str, Any]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    if model_type == "llama":  # asked by its class even where `head_dim` is given
        _check_multiple("hidden_size", hidden, "num_attention_heads", heads, name)
    head_dim = config.get("head_dim") or hidden // heads
    _check_value("head_dim", head_dim, False, name)
    kv_heads = config["num_key_value_heads"] or heads
    _check_multiple("num_attention_heads", heads, "num_key_value_heads", kv_heads, name)
    bias = config.get("attention_bias", False)
    qk_norm = 2 * head_dim if model_type == "qwen3" else 0
    return {
        "model_type": model_type,
        "num_blocks": config["num_hidden_layers"],
        "hidden_size": hidden,
        "intermediate_size": config["intermediate_size"],
        "num_heads": heads,
        "num_kv_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": config["vocab_size"],
        "context_length": config["max_position_embeddings"],
        "gated_mlp": True,
        "qkv_bias": model_type == "qwen2" or bias,
        "output_bias": bias,
        "mlp_bias": config.get("mlp_bias", False),
        "norm_params": 2 * hidden + qk_norm,
        "final_norm_params": hidden,
        "tied_head": config["tie_word_embeddings"],
    }

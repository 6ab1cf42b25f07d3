"""Whether stored tensors are those of a config's model, before any is read.

transformers makes up tensors that are missing or of another shape at random, with a
log line; here they are refused.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch

from trimwave.base.errors import InputError, one_line
from trimwave.lm.source.weights import Stored
from trimwave.lm.surgery.blocks import ARCHITECTURES
from trimwave.model.shape import ModelShape

WEIGHT_DTYPES = ("F64", "F32", "F16", "BF16")
IGNORED = re.compile(r"(^|\.)(attn\.(bias|masked_bias)|rotary_emb\.inv_freq)$")
"""Buffers that old versions of transformers saved and new ones make afresh."""

Shapes = dict[str, tuple[int, ...]]


def check_tensors(
    stored: Mapping[str, Stored], shape: ModelShape, config: Any, name: str
) -> None:
    """Refuse weights that are not, tensor by tensor, those of the config.

    Parameters
    ----------
    stored : mapping
        What the files hold.
    shape : ModelShape
        Read off the same config.
    config : PreTrainedConfig
        As transformers reads it.
    name : str
        What to call the model.

    Raises
    ------
    InputError
        If a tensor is missing, of another shape or type, or not of this model.
    """
    arch = ARCHITECTURES[shape.model_type]
    found = {
        tensor.removeprefix(arch.base + "."): entry
        for tensor, entry in stored.items()
        if not IGNORED.search(tensor)
    }
    # First, so that a wrong number never makes a million blocks to compare with.
    _check_num_blocks(found, arch.blocks, shape.num_blocks, name)
    expected = _expected(config, arch.base)
    embedding, head = f"{arch.embedding}.weight", f"{arch.head}.weight"
    if shape.tied_head and (embedding in found or head in found):
        either = found.get(embedding) or found[head]
        found = {embedding: either, head: either, **found}
    _check_types(found, name)
    _check_names(found, expected, head, name)
    for tensor, entry in found.items():
        if entry.shape != expected[tensor]:
            raise InputError(
                f"tensor `{one_line(tensor)}` of `{name}` has shape "
                f"{list(entry.shape)}, its config asks for {list(expected[tensor])}; "
                f"weights and config.json are of two models."
            )


def _check_num_blocks(
    found: Mapping[str, Stored], blocks: str, num_blocks: int, name: str
) -> None:
    numbers = {
        int(match[1])
        for tensor in found
        if (match := re.match(rf"{blocks}\.(\d{{1,9}})\.", tensor))
    }
    count = max(numbers, default=-1) + 1
    if count < num_blocks:
        raise InputError(
            f"the weights of `{name}` lack blocks: they have {count}, its config says "
            f"{num_blocks}; the file is not whole, or of another model."
        )
    if count > num_blocks:
        raise InputError(
            f"the weights of `{name}` have {count} blocks, its config says "
            f"{num_blocks}; weights and config.json are of two models."
        )


def _expected(config: Any, base: str) -> Shapes:
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return {
        tensor.removeprefix(base + "."): tuple(value.shape)
        for tensor, value in model.state_dict().items()
    }


def _check_types(found: Mapping[str, Stored], name: str) -> None:
    for tensor, entry in found.items():
        if entry.dtype not in WEIGHT_DTYPES:
            raise InputError(
                f"tensor `{one_line(tensor)}` of `{name}` is stored as {entry.dtype}: "
                f"the weights are already quantised; bring them in float32, float16 or "
                f"bfloat16."
            )


def _check_names(
    found: Mapping[str, Stored], expected: Shapes, head: str, name: str
) -> None:
    missing = sorted(set(expected) - set(found))
    extra = sorted(set(found) - set(expected))
    if any("lora_" in tensor for tensor in extra):
        raise InputError(
            f"the weights of `{name}` hold LoRA factors; merge them with PEFT "
            f"(`merge_and_unload`, then `save_pretrained`)."
        )
    if head in missing and extra:
        raise InputError(
            f"`{name}` has `{one_line(extra[0])}` where a language model has its head; "
            f"bring a causal language model, no classifier or encoder."
        )
    if missing == [head]:
        raise InputError(
            f"the weights of `{name}` have no `{head}`, and its config does not tie it "
            f"to the embedding; set `tie_word_embeddings` to true if it is tied."
        )
    if missing:
        raise InputError(
            f"the weights of `{name}` lack {len(missing)} tensors, "
            f"{', '.join(missing[:3])} among them; the file is not whole, or of "
            f"another model."
        )
    if extra:
        raise InputError(
            f"the weights of `{name}` hold {len(extra)} tensors that its config does "
            f"not know, {one_line(', '.join(extra[:3]))} among them; weights and "
            f"config.json are of two models."
        )

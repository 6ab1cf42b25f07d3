"""Answers by greedy decoding: the likeliest token, until the end of sequence."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trimwave.base.errors import InputError
from trimwave.lm.data.border import start_ids

BATCH_ROWS = 16


def greedy(
    model: Any, tokenizer: Any, prompts: Sequence[str], max_new_tokens: int
) -> list[str]:
    """Return what a causal LM answers to some prompts.

    Parameters
    ----------
    model : PreTrainedModel
        Such as `SplitModel.joined`; not touched.
    tokenizer : transformers tokenizer
    prompts : [K] of str
        Put behind what the tokenizer puts before a text, as in training.
    max_new_tokens : int
        Longest answer [tokens]; shorter where the model's context ends.

    Returns
    -------
    [K] of str
        Answers as they are, a leading space included; no special tokens.

    Raises
    ------
    InputError
        If a prompt has no tokens, or fills the context.
    """
    start = start_ids(tokenizer)
    ids = [
        start + list(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        for prompt in prompts
    ]
    answers = greedy_tokens(model, tokenizer, ids, max_new_tokens)
    return [tokenizer.decode(one, skip_special_tokens=True) for one in answers]


def greedy_tokens(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
) -> list[list[int]]:
    """Return answers as `greedy` does, from tokens to tokens.

    Prompts of like length share a batch, padded on the left. In which batch a prompt is
    depends on the prompts alone.

    Returns
    -------
    [K] of list of int
        The token that ended an answer is its last; without one it was cut.

    Raises
    ------
    InputError
        If a prompt has no tokens, or fills the context.
    """
    _check_prompts(prompts, model.config.max_position_embeddings)
    model = _decoding(model, tokenizer, max_new_tokens)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers: list[list[int]] = [[] for _ in prompts]
    for first in range(0, len(order), BATCH_ROWS):
        batch = order[first : first + BATCH_ROWS]
        found = _answer(model, [prompts[index] for index in batch])
        for index, answer in zip(batch, found, strict=True):
            answers[index] = answer
    return answers


def _check_prompts(prompts: Sequence[Sequence[int]], context_length: int) -> None:
    for number, prompt in enumerate(prompts):
        if not 0 < len(prompt) < context_length:
            raise InputError(
                f"prompt {number} has {len(prompt)} tokens; an answer needs at least "
                f"1, and fewer than the model's context of {context_length}."
            )


def _decoding(model: Any, tokenizer: Any, max_new_tokens: int) -> Any:
    """Return a shallow copy of a model that decodes greedily, whatever it came with."""
    from transformers import GenerationConfig

    ends = getattr(model.generation_config, "eos_token_id", None)
    ends = ends if isinstance(ends, list) else [ends]
    ends = sorted({one for one in (*ends, tokenizer.eos_token_id) if one is not None})
    copied = copy.copy(model)
    copied.generation_config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        use_cache=True,
        eos_token_id=ends,
        pad_token_id=ends[0],
    )
    return copied


def _answer(model: Any, prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the answers of one batch, up to what ended them."""
    config = model.generation_config
    longest, device = max(map(len, prompts)), next(model.parameters()).device
    input_ids = torch.full((len(prompts), longest), config.pad_token_id)
    mask = torch.zeros_like(input_ids)
    for row, prompt in enumerate(prompts):
        input_ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    room = model.config.max_position_embeddings - longest
    with torch.no_grad():
        output: Tensor = model.generate(
            input_ids=input_ids.to(device),
            attention_mask=mask.to(device),
            max_new_tokens=min(config.max_new_tokens, room),
        )
    return [
        _ended(row, config.eos_token_id) for row in output[:, longest:].cpu().tolist()
    ]


def _ended(tokens: list[int], ends: Sequence[int]) -> list[int]:
    """Cut what stands behind the first token that ends an answer."""
    found = (number for number, token in enumerate(tokens) if token in ends)
    return tokens[: next(found, len(tokens)) + 1]

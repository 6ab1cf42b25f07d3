"""Rows to token tensors, and which rows a local step sees."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trimwave.base.errors import InputError, nearest
from trimwave.base.streams import stream
from trimwave.lm.data.rows import Row

TOO_LONG = ("error", "drop", "truncate")

IGNORED = -100
"""Label of a position without a loss; the value that torch ignores."""


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """One row in tokens."""

    input_ids: torch.Tensor
    """Prompt, answer, end of sequence [s]."""
    answer_start: int
    """Position of the answer's first token."""


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Rows side by side, padded on the right."""

    input_ids: torch.Tensor
    """Tokens [N, s]."""
    labels: torch.Tensor
    """The same tokens, `IGNORED` where no loss is taken [N, s]; not shifted."""
    num_answer_tokens: int
    """Labels that are predicted: what a mean loss is a mean over."""


def encode(
    rows: Sequence[Row], tokenizer: Any, max_tokens: int, too_long: str = "error"
) -> list[Encoded]:
    """Tokenise rows, prompt and answer apart so that their border is exact.

    Parameters
    ----------
    rows : sequence of Row
    tokenizer : transformers tokenizer
        Where it puts a beginning-of-sequence token before a text, so does this.
    max_tokens : int
        Longest row, prompt and answer together [tokens].
    too_long : str
        What to do with a longer one: ``"error"``, ``"drop"``, or ``"truncate"``, which
        cuts the beginning of the prompt and, if that is not enough, the end of the
        answer.

    Raises
    ------
    InputError
        If a row is too long under ``"error"``, or every row is under ``"drop"``.
    """
    if too_long not in TOO_LONG:
        raise InputError(
            f"unknown `too_long` {too_long!r}; {nearest(too_long, TOO_LONG)}"
        )
    if max_tokens < 2:
        raise InputError(f"`max_tokens` must be at least 2, got {max_tokens}.")
    if tokenizer.eos_token_id is None:
        raise InputError(
            "the tokenizer has no end-of-sequence token, so a model could not learn "
            "where an answer ends; set `eos_token` in its tokenizer_config.json."
        )
    start = _start_ids(tokenizer)
    prompts = _tokenise([row.prompt for row in rows], tokenizer)
    answers = _tokenise([_spaced_answer(row) for row in rows], tokenizer)
    pairs = [
        (start + prompt, [*answer, tokenizer.eos_token_id])
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    fitting = _fit(pairs, len(start), max_tokens, too_long)
    return [Encoded(torch.tensor(p + a), len(p)) for p, a in fitting]


def _tokenise(texts: list[str], tokenizer: Any) -> list[list[int]]:
    if not texts:
        return []
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]


def _start_ids(tokenizer: Any) -> list[int]:
    """Return what the tokenizer puts before a text: BOS, or nothing."""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for first in range(len(full) - len(bare) + 1):
        if full[first : first + len(bare)] == bare:
            return list(full[:first])
    raise InputError(
        f"the tokenizer turns `a` into {full} with special tokens and {bare} without; "
        f"it must only add tokens before and after."
    )


def _spaced_answer(row: Row) -> str:
    """Put a space before the answer, unless there is white space, or no prompt."""
    if not row.prompt or row.prompt[-1].isspace() or row.answer[:1].isspace():
        return row.answer
    return " " + row.answer


Pair = tuple[list[int], list[int]]


def _fit(
    pairs: list[Pair], num_start: int, max_tokens: int, too_long: str
) -> list[Pair]:
    lengths = [len(prompt) + len(answer) for prompt, answer in pairs]
    over = [i for i, length in enumerate(lengths) if length > max_tokens]
    if not over:
        return pairs
    excess = (
        f"{len(over)} of {len(pairs)} rows have more than `max_tokens` {max_tokens}, "
        f"the longest {max(lengths)}"
    )
    if too_long == "error":
        raise InputError(
            f"row {over[0]} has {lengths[over[0]]} tokens ({excess}); raise "
            f"`max_tokens`, or set `too_long` to `drop` or `truncate`."
        )
    if too_long == "drop" and len(over) == len(pairs):
        raise InputError(f"no row is left: {excess}; raise `max_tokens`.")
    verb = "dropped" if too_long == "drop" else "truncated"
    warnings.warn(f"{verb}: {excess}.", UserWarning, stacklevel=3)
    if too_long == "drop":
        return [p for p, n in zip(pairs, lengths, strict=True) if n <= max_tokens]
    return [_truncated(*pair, num_start, max_tokens) for pair in pairs]


def _truncated(
    prompt: list[int], answer: list[int], num_start: int, max_tokens: int
) -> Pair:
    # The prompt's end holds the cue, without which the answer makes no sense.
    excess = max(0, len(prompt) + len(answer) - max_tokens)
    prompt = prompt[:num_start] + prompt[num_start + excess :]
    return prompt, answer[: max_tokens - len(prompt)]


def collate(items: Sequence[Encoded], pad_id: int) -> Batch:
    """Pad rows to the longest one, and mask what is not to be learnt.

    Parameters
    ----------
    items : [N] of Encoded
    pad_id : int
        Token to pad with.
    """
    longest = max(len(item.input_ids) for item in items)
    input_ids = torch.full((len(items), longest), pad_id)
    labels = torch.full((len(items), longest), IGNORED)
    for index, item in enumerate(items):
        stop = len(item.input_ids)
        # Nothing comes before position 0 to predict it from.
        start = max(item.answer_start, 1)
        input_ids[index, :stop] = item.input_ids
        labels[index, start:stop] = item.input_ids[start:]
    return Batch(input_ids, labels, int((labels != IGNORED).sum()))


def batch_indices(
    seed: int, client: int, step: int, batch_size: int, num_rows: int
) -> np.ndarray:
    """Return the rows of one local step, without replacement within an epoch.

    Parameters
    ----------
    seed : int
        The run's seed.
    client : int
        Whose rows.
    step : int
        Local steps the client has done in the run before this one.
    batch_size : int
        Rows of a step, N; a batch may reach over the end of an epoch.
    num_rows : int
        Rows the client has.

    Returns
    -------
    [N]
        Row numbers. They depend on the arguments alone, so every method sees the same
        batches and a run resumes at any step.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(positions, num_rows)
    rows = np.empty(batch_size, dtype=np.int64)
    for epoch in np.unique(epochs):
        order = stream(seed, "batches", client, int(epoch)).permutation(num_rows)
        here = epochs == epoch
        rows[here] = order[offsets[here]]
    return rows

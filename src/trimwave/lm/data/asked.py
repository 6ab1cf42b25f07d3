"""What task metrics ask of a model: prompts to answer, labels to choose from."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from trimwave.base.errors import InputError
from trimwave.lm.data.border import start_ids
from trimwave.lm.data.encode import Encoded, Encoder
from trimwave.lm.data.rows import Row
from trimwave.lm.data.scores import MARK, final_number
from trimwave.recipe.config import Config, DataConfig

Tokens = tuple[int, ...]

OF_NUMBERS = ("exact_match", "tokens_per_s")
"""Metrics of rows whose answers end in a number."""

OF_LABELS = ("accuracy", "f1")
"""Metrics of rows whose answers are labels."""

UNBOUNDED_TOKENS = 2**31


@dataclass(frozen=True, slots=True)
class Prompt:
    """A row to answer."""

    tokens: Tokens
    """What stands before the answer in training."""
    number: Decimal | None
    """What the true answer comes to; None if it comes to no number."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A row to label."""

    shared: Tokens
    """What all options begin with: the prompt, and what all labels begin with."""
    options: tuple[Tokens, ...]
    """What comes then, label by label."""
    true: int
    """The row's label, by its number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The rows that a run's metrics are taken on."""

    names: tuple[str, ...]
    """Which metrics."""
    prompts: tuple[Prompt, ...]
    """Rows to answer; empty where no metric is of answers."""
    choices: tuple[Choice, ...]
    """Rows to label; empty where no metric is of labels."""


def asked_of(
    config: Config,
    tokenizer: Any,
    test: Sequence[tuple[Row, Encoded]],
    others: Iterable[Row],
) -> Asked | None:
    """Choose metrics, and rows for them.

    Parameters
    ----------
    config : Config
        Its `metrics`; of its `data`, how rows are written out and how long they are.
    tokenizer : transformers tokenizer
    test : [n] of (Row, Encoded)
        Test rows, of which the first `num_rows` are taken.
    others : iterable of Row
        More rows of the same source: their labels are to choose from too.

    Returns
    -------
    Asked or None
        None if metrics are never due, or there are none for such rows.

    Raises
    ------
    InputError
        If a metric is named for which there are no rows.

    Warns
    -----
    UserWarning
        If none is named and there is none for such rows.
    """
    metrics, data = config.metrics, config.data
    if not metrics.every_rounds:
        return None
    taken = test[: metrics.num_rows]
    prompts = [
        Prompt(_before_answer(encoded), final_number(row.answer))
        for row, encoded in taken
        if row.prompt
    ]
    numbered = [prompt for prompt in prompts if prompt.number is not None]
    labelled = [row for row, _ in taken if _is_labelled(row)]
    names: tuple[str, ...] = metrics.names
    if not names:
        names = (*OF_NUMBERS * bool(numbered), *OF_LABELS * bool(labelled))
        if not names:
            _warn_of_none(len(taken))
            return None
    _check_names(names, prompts, numbered, labelled, len(taken))
    if "exact_match" in names:
        prompts = numbered
    return Asked(
        names=names,
        prompts=tuple(prompts) if {*names} & {*OF_NUMBERS} else (),
        choices=tuple(_choices(labelled, _labels(test, others), tokenizer, data))
        if {*names} & {*OF_LABELS}
        else (),
    )


def _before_answer(encoded: Encoded) -> Tokens:
    """Return the tokens before the answer, the last one if there are several."""
    return tuple(encoded.input_ids[: encoded.spans[-1][0]].tolist())


def _is_labelled(row: Row) -> bool:
    """Whether to answer a row is to label it."""
    return bool(row.prompt) and row.label is not None and row.label == row.answer


def _labels(test: Sequence[tuple[Row, Encoded]], others: Iterable[Row]) -> list[str]:
    rows = [*(row for row, _ in test), *others]
    return sorted({str(row.label) for row in rows if _is_labelled(row)})


def _warn_of_none(num_rows: int) -> None:
    warnings.warn(
        f"`metrics.` keys are without effect: of the first {num_rows} test rows no "
        f"answer has a number behind `{MARK}`, and none is a label.",
        stacklevel=4,
    )


def _check_names(
    names: Sequence[str],
    prompts: Sequence[Prompt],
    numbered: Sequence[Prompt],
    labelled: Sequence[Row],
    num_rows: int,
) -> None:
    """Raise if there is no row for a metric that is named."""
    rows_of = {
        "exact_match": (numbered, f"an answer with a number behind `{MARK}`"),
        "tokens_per_s": (prompts, "a prompt"),
        "accuracy": (labelled, "a label for an answer"),
        "f1": (labelled, "a label for an answer"),
    }
    for name in names:
        rows, what = rows_of[name]
        if not rows:
            raise InputError(
                f"`metrics.names` has `{name}`, but of the first {num_rows} test rows "
                f"none has {what}; leave it out."
            )


def _choices(
    rows: Sequence[Row], labels: Sequence[str], tokenizer: Any, data: DataConfig
) -> Iterable[Choice]:
    """Yield each row with every label for an answer, tokenised as in training."""
    encoder = Encoder(tokenizer, UNBOUNDED_TOKENS, template=data.template)
    first = len(start_ids(tokenizer))
    for row in rows:
        labelled = [_answering(row, label) for label in labels]
        whole = [
            one.input_ids[: one.spans[-1][1]].tolist()
            for one in encoder.encode({"test": labelled})["test"]
        ]
        options = [_without_end(one, tokenizer) for one in whole]
        if any(_begins(one, other) for one in options for other in options):
            options = whole
        common = _num_common(options)
        # As a training row that is too long: the prompt's beginning goes.
        excess = max(0, max(map(len, whole)) - data.max_tokens)
        shared = (*options[0][:first], *options[0][first + excess : common])
        yield Choice(
            shared=shared,
            options=tuple(tuple(one[common:]) for one in options),
            true=labels.index(str(row.label)),
        )


def _answering(row: Row, label: str) -> Row:
    """Return a row with another label for its answer."""
    turns = list(row.turns)
    for place in reversed(range(len(turns))):
        if turns[place].is_learnt:
            turns[place] = turns[place]._replace(text=label)
            break
    return replace(row, answer=label, turns=tuple(turns))


def _without_end(ids: list[int], tokenizer: Any) -> list[int]:
    """Return a row without the special tokens that end it."""
    ends = {*tokenizer.all_special_ids}
    while ids[-1] in ends:
        ids = ids[:-1]
    return ids


def _begins(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether a text is the beginning of a longer one."""
    return len(one) < len(other) and other[: len(one)] == one


def _num_common(options: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all options begin with, each keeping one of its own."""
    shortest = min(map(len, options)) - 1
    for number, tokens in enumerate(zip(*options, strict=False)):
        if number == shortest or len({*tokens}) > 1:
            return number
    return shortest

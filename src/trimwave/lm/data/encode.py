"""Rows to token tensors, and which rows a local step sees."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trimwave.base.errors import InputError, nearest
from trimwave.lm.data.border import Spans, start_ids, tokenise
from trimwave.lm.data.rows import Row
from trimwave.lm.data.script import TEMPLATES, Writer

TOO_LONG = ("error", "drop", "truncate")

IGNORED = -100
"""Label of a position without a loss; the value that torch ignores."""

Tokens = tuple[list[int], Spans]
"""A row's tokens, with the special ones, and which of them are answers."""


@dataclass(frozen=True, eq=False, slots=True)
class Encoded:
    """One row in tokens."""

    input_ids: torch.Tensor
    """Prompt, answer, end of sequence [s]."""
    answer_start: int
    """Position of the (first) answer's first token."""
    answers: tuple[tuple[int, int], ...] = ()
    """Where each answer begins and where it ends, the end left out, if there are
    several or if tokens follow; empty = one answer, from `answer_start` to the end."""

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Begin and end of each answer."""
        return self.answers or ((self.answer_start, len(self.input_ids)),)


@dataclass(frozen=True, eq=False, slots=True)
class Batch:
    """Rows side by side, padded on the right."""

    input_ids: torch.Tensor
    """Tokens [N, s]."""
    labels: torch.Tensor
    """The same tokens, `IGNORED` where no loss is taken [N, s]; not shifted."""
    num_answer_tokens: int
    """Labels that are predicted: what a mean loss is a mean over."""
    lengths: tuple[int, ...]
    """Tokens of each row, padding left out [N]."""


class Encoder:
    """Rows to tokens: prompts and answers as one text, in which answers are marked.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        Where it puts a beginning-of-sequence token before a text, so does this.
    max_tokens : int
        Longest row, prompt and answer together [tokens].
    too_long : str
        What to do with a longer one: ``"error"``; ``"drop"``, for which `fits` is to be
        asked before rows are dealt out; or ``"truncate"``, which cuts the beginning of
        the first prompt and, if that is not enough, the end of the row.
    template : str
        How rows are written out, see `Writer`.

    Raises
    ------
    InputError
        If an argument is none of these, or the tokenizer cannot end an answer.
    """

    def __init__(
        self,
        tokenizer: Any,
        max_tokens: int,
        too_long: str = "error",
        template: str = "auto",
    ) -> None:
        if template not in TEMPLATES:
            raise InputError(
                f"unknown `template` {template!r}; {nearest(template, TEMPLATES)}"
            )
        if too_long not in TOO_LONG:
            raise InputError(
                f"unknown `too_long` {too_long!r}; {nearest(too_long, TOO_LONG)}"
            )
        if max_tokens < 2:
            raise InputError(f"`max_tokens` must be at least 2, got {max_tokens}.")
        if tokenizer.eos_token_id is None:
            raise InputError(
                "the tokenizer has no end-of-sequence token, so a model could not "
                "learn where an answer ends; set `eos_token` in its "
                "tokenizer_config.json."
            )
        self._tokenizer = tokenizer
        self._start = start_ids(tokenizer)
        self._writer = Writer(tokenizer, template)
        self.max_tokens = max_tokens
        self.too_long = too_long

    def fits(self, rows: Sequence[Row]) -> list[bool]:
        """Say of each row whether it is to be kept: under ``"drop"``, if it fits."""
        if self.too_long != "drop":
            return [True] * len(rows)
        return [len(ids) <= self.max_tokens for ids, _ in self._tokens(rows)]

    @property
    def templates(self) -> str:
        """How rows were written out so far: ``chat``, ``plain`` or both."""
        return ", ".join(sorted(self._writer.used))

    def encode(self, parts: Mapping[str, Sequence[Row]]) -> dict[str, list[Encoded]]:
        """Tokenise the rows of some parts, each to one `Encoded`, in their order.

        Parameters
        ----------
        parts : mapping of str to sequence of Row
            Rows by the name of their part, for messages.

        Raises
        ------
        InputError
            If a row is too long, but under ``"truncate"``.

        Warns
        -----
        UserWarning
            Once, if rows were truncated; says how many of which part.
        """
        found = {part: self._tokens(rows) for part, rows in parts.items()}
        self._check_lengths(parts, found)
        return {
            part: [_encoded(*self._cut(*one)) for one in own]
            for part, own in found.items()
        }

    def _tokens(self, rows: Sequence[Row]) -> list[Tokens]:
        """Return the tokens of each row, with the special ones."""
        end = [self._tokenizer.eos_token_id]
        scripts = [self._writer.write(row) for row in rows]
        found = []
        for script, (ids, spans) in zip(
            scripts, tokenise(scripts, self._tokenizer), strict=True
        ):
            if script.framed:
                shift = len(self._start)
                *others, (first, _) = ((a + shift, b + shift) for a, b in spans)
                ids = self._start + ids + end
                spans = (*others, (first, len(ids)))
            found.append((ids, spans))
        return found

    def _check_lengths(
        self, parts: Mapping[str, Sequence[Row]], found: Mapping[str, list[Tokens]]
    ) -> None:
        lengths = {part: [len(ids) for ids, _ in own] for part, own in found.items()}
        over = {
            part: [i for i, length in enumerate(own) if length > self.max_tokens]
            for part, own in lengths.items()
        }
        if not any(over.values()):
            return
        counts = ", ".join(
            f"{len(indices)} of {len(parts[part])} {part} rows"
            for part, indices in over.items()
            if indices
        )
        longest = max(max(own, default=0) for own in lengths.values())
        excess = (
            f"{counts} have more than `data.max_tokens` = {self.max_tokens} tokens, "
            f"the longest {longest}"
        )
        if self.too_long == "truncate":
            warnings.warn(f"truncated: {excess}.", UserWarning, stacklevel=3)
            return
        part = next(part for part, indices in over.items() if indices)
        first = over[part][0]
        raise InputError(
            f"{parts[part][first].origin} has {lengths[part][first]} tokens ({excess});"
            f" raise `data.max_tokens`, or set `data.too_long` to `drop` or `truncate`."
        )

    def _cut(self, ids: list[int], spans: Spans) -> Tokens:
        excess = len(ids) - self.max_tokens
        if excess <= 0:
            return ids, spans
        # The prompt's end holds the cue, without which the answer makes no sense.
        first = len(self._start) if ids[: len(self._start)] == self._start else 0
        gone = min(excess, spans[0][0] - first)
        ids = [*ids[:first], *ids[first + gone :]][: self.max_tokens]
        moved = ((a - gone, min(b - gone, len(ids))) for a, b in spans)
        return ids, tuple((a, b) for a, b in moved if a < b)


def _encoded(ids: list[int], spans: Spans) -> Encoded:
    one = len(spans) == 1 and spans[0][1] == len(ids)
    return Encoded(torch.tensor(ids), spans[0][0], () if one else spans)


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
        input_ids[index, :stop] = item.input_ids
        for first, end in item.spans:
            # Nothing comes before position 0 to predict it from.
            start = max(first, 1)
            labels[index, start:end] = item.input_ids[start:end]
    lengths = tuple(len(item.input_ids) for item in items)
    return Batch(input_ids, labels, int((labels != IGNORED).sum()), lengths)


def answer_share(rows: Iterable[Encoded]) -> float:
    """Return the part of the rows' tokens that are predicted: where `collate` labels.

    Averages over rows, so that long ones count by their length.
    """
    answers = tokens = 0
    for row in rows:
        answers += sum(end - max(first, 1) for first, end in row.spans)
        tokens += len(row.input_ids)
    return answers / tokens

"""Where answers begin and end in the tokens of prompts and answers as one text.

Apart, the answer would get other tokens than it has behind its prompt: a tokenizer that
puts a word mark before every text (Llama 2's, Mistral's) puts a second one into the
middle. So the text is tokenised whole, as it is when the model is used, and then cut:

- The first token that ends after the prompt's last character is the answer's first.
- An answer with more text behind it ends before the first token that begins there.
- So a token across a border belongs to the answer: the loss covers the whole answer,
  and with it what that one token holds of the prompt.
- Without offsets (tokenizers written in Python) the prompt is tokenised alone too, and
  the prompt's part are the tokens that both begin with. A token across the border is
  none of them; where the answer changes how the prompt's last word is cut, a few tokens
  of the prompt are learnt along with the answer.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from trimwave.base.errors import InputError

Spans = tuple[tuple[int, int], ...]
"""Where answers begin and end, the end left out; in order."""


class Script(NamedTuple):
    """A text to learn from."""

    text: str
    """Prompts and answers, without tokens before and after."""
    spans: Spans
    """Characters of the answers."""
    framed: bool = True
    """Tokens are still to be put before it and after it."""


def tokenise(
    scripts: Sequence[Script], tokenizer: Any
) -> Iterator[tuple[list[int], Spans]]:
    """Tokenise texts whole, without special tokens but for those written out in them.

    Parameters
    ----------
    scripts : sequence of Script
        White space between prompt and answer is in either.
    tokenizer : transformers tokenizer

    Yields
    ------
    ids : list of int
        Tokens of the text.
    spans : Spans
        Which of them are the answers'.
    """
    if not scripts:
        return
    fast = bool(tokenizer.is_fast)
    found = tokenizer(
        [script.text for script in scripts],
        add_special_tokens=False,
        return_offsets_mapping=fast,
        verbose=False,
    )
    for index, script in enumerate(scripts):
        ids = list(found["input_ids"][index])
        offsets = found["offset_mapping"][index] if fast else None
        place = partial(_token_at, tokenizer, script.text, ids, offsets)
        yield ids, tuple((place(a, True), place(b, False)) for a, b in script.spans)


def _token_at(
    tokenizer: Any,
    text: str,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]] | None,
    at: int,
    starts: bool,
) -> int:
    """Return which token a span that starts, or ends, at a character is cut before."""
    if at in (0, len(text)):  # a word mark before a text is its own
        return len(ids) if at else 0
    if offsets is not None:
        return _border(offsets, at, starts)
    alone = tokenizer(text[:at], add_special_tokens=False, verbose=False)
    return _num_common(ids, alone["input_ids"])


def _border(offsets: Sequence[tuple[int, int]], at: int, starts: bool) -> int:
    """Return the first token of what starts at a character, or behind what ends there.

    A token across that character is an answer's, on either side.
    """
    after = (
        number
        for number, (first, end) in enumerate(offsets)
        if (end > at if starts else first >= at)
    )
    return next(after, len(offsets))


def _num_common(ids: Sequence[int], others: Sequence[int]) -> int:
    """Return how many tokens two lists both begin with."""
    pairs = enumerate(zip(ids, others, strict=False))
    apart = (number for number, (one, other) in pairs if one != other)
    return next(apart, min(len(ids), len(others)))


def start_ids(tokenizer: Any) -> list[int]:
    """Return what the tokenizer puts before a text: BOS, or nothing.

    Raises
    ------
    InputError
        If it changes a text in another way than by tokens before and after.
    """
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    full = tokenizer("a")["input_ids"]
    for first in range(len(full) - len(bare) + 1):
        if full[first : first + len(bare)] == bare:
            return list(full[:first])
    raise InputError(
        f"the tokenizer turns `a` into {full} with special tokens and {bare} without; "
        f"it must only add tokens before and after."
    )

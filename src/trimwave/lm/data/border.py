"""Where a prompt ends in the tokens of prompt and answer as one text.

Apart, the answer would get other tokens than it has behind its prompt: a tokenizer that
puts a word mark before every text (Llama 2's, Mistral's) puts a second one into the
middle. So the text is tokenised whole, as it is when the model is used, and then cut:

- The first token that ends after the prompt's last character is the answer's first.
- So a token across the border belongs to the answer: the loss covers the whole answer,
  and with it what that one token holds of the prompt.
- Without offsets (tokenizers written in Python) the prompt is tokenised alone too, and
  the prompt's part are the tokens that both begin with. A token across the border is
  none of them; where the answer changes how the prompt's last word is cut, a few tokens
  of the prompt are learnt along with the answer.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from trimwave.base.errors import InputError


def tokenise(
    texts: Sequence[tuple[str, str]], tokenizer: Any
) -> Iterator[tuple[list[int], int]]:
    """Tokenise pairs of prompt and answer, without special tokens.

    Parameters
    ----------
    texts : sequence of (str, str)
        Prompts and answers; white space between them is in either.
    tokenizer : transformers tokenizer

    Yields
    ------
    ids : list of int
        Tokens of prompt + answer as one text.
    border : int
        How many of them are the prompt's.
    """
    if not texts:
        return
    whole = [prompt + answer for prompt, answer in texts]
    fast = bool(tokenizer.is_fast)
    found = tokenizer(
        whole, add_special_tokens=False, return_offsets_mapping=fast, verbose=False
    )
    for index, (prompt, _) in enumerate(texts):
        ids = list(found["input_ids"][index])
        if not prompt:
            yield ids, 0  # a word mark before the text is then the answer's
        elif fast:
            yield ids, _border(found["offset_mapping"][index], len(prompt))
        else:
            alone = tokenizer(prompt, add_special_tokens=False, verbose=False)
            yield ids, _num_common(ids, alone["input_ids"])


def _border(spans: Sequence[tuple[int, int]], prompt_end: int) -> int:
    """Return the number of the first token that ends after a character."""
    after = (number for number, (_, end) in enumerate(spans) if end > prompt_end)
    return next(after, len(spans))


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

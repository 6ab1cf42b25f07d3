"""Scores of answers: the number behind ``####``, accuracy, macro F1. Needs no torch."""

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

MARK = "####"
"""Stands before the result of a worked answer, in GSM8K and what follows it."""

NUMBER = re.compile(rf"{MARK}[ \t]*([$\-\d.,]*\d[\d.,]*)")

NEXT_QUESTION = "Question:"
"""Where lm-evaluation-harness stops reading an answer to GSM8K: what comes is no part
of it."""


def final_number(answer: str) -> Decimal | None:
    """Return the number behind ``####``, as GSM8K's own scorer reads it.

    lm-evaluation-harness (gsm8k.yaml, strict match): the first one counts, up to the
    next question; commas, ``$`` and a trailing dot are dropped. Here 18 and 18.00 are
    the same number, and the space behind ``####`` may be missing.

    Parameters
    ----------
    answer : str
        A worked answer, given or generated.

    Returns
    -------
    Decimal or None
        None if there is no such number.
    """
    found = NUMBER.search(answer.partition(NEXT_QUESTION)[0])
    if not found:
        return None
    digits = found[1].replace(",", "").replace("$", "").removesuffix(".")
    try:
        return Decimal(digits)
    except InvalidOperation:
        return None


def num_correct(found: Sequence[object], true: Sequence[object]) -> int:
    """Return how many of some answers are the true ones."""
    return sum(one == other for one, other in zip(found, true, strict=True))


def macro_f1(found: Sequence[int], true: Sequence[int]) -> float:
    """Return the mean over classes of F1 = 2 TP / (2 TP + FP + FN).

    As scikit-learn's ``f1_score(average="macro")``: a class that is neither true nor
    found anywhere is left out, one that is never found when it is true has 0.

    Parameters
    ----------
    found, true : [K] of int
        Classes of K rows, at least one.
    """
    pairs = list(zip(found, true, strict=True))
    scores = []
    for one in sorted({*found, *true}):
        hits = sum(pair == (one, one) for pair in pairs)
        either = sum(pair.count(one) for pair in pairs)  # 2 TP + FP + FN
        scores.append(2 * hits / either)
    return sum(scores) / len(scores)

"""One test question, answered before training and after a round."""

from dataclasses import dataclass

from trimwave.lm.data.deal import deal_rows
from trimwave.lm.export import base_model
from trimwave.lm.plugged import plug_in, trained_tensors
from trimwave.lm.server import ADAPTER_FILE
from trimwave.lm.train.generate import greedy_tokens
from trimwave.runs.chosen import Chosen


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What two models say to the same question."""

    question: str
    expected: str
    """The answer of the row."""
    before: str
    """By the untrained model."""
    after: str
    """By the whole model with what was trained plugged in."""


def before_and_after(
    chosen: Chosen, row: int = 0, max_new_tokens: int = 160
) -> Answers:
    """Answer a test row of a run by greedy decoding, untrained and trained.

    Parameters
    ----------
    chosen : Chosen
        The round.
    row : int
        Which test row.
    max_new_tokens : int
        Longest answer [tokens].

    Raises
    ------
    InputError
        If model or rows cannot be had, or the model is not the run's any more.
    """
    model, tokenizer = base_model(chosen)
    encoded = deal_rows(chosen.config, tokenizer).test[row]
    ids, start = encoded.input_ids.tolist(), encoded.answer_start

    def answer() -> str:
        (found,) = greedy_tokens(model, tokenizer, [ids[:start]], max_new_tokens)
        return str(tokenizer.decode(found, skip_special_tokens=True))

    before = answer()
    tensors = trained_tensors(chosen.checkpoint / ADAPTER_FILE)
    plug_in(model, tensors, chosen.config.train)
    return Answers(
        question=str(tokenizer.decode(ids[:start], skip_special_tokens=True)),
        expected=str(tokenizer.decode(ids[start:], skip_special_tokens=True)),
        before=before,
        after=answer(),
    )

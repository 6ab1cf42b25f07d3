"""One test question, answered before training and after a round."""

from dataclasses import dataclass

from trimwave.base.errors import InputError
from trimwave.lm.export import base_model
from trimwave.lm.plugged import plug_in_all
from trimwave.lm.train.generate import greedy_tokens
from trimwave.lm.workbench import deal_again
from trimwave.runs.chosen import Chosen
from trimwave.runs.inputs import BASE_MODEL, ROWS, require_inputs


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
        If model or rows cannot be had, the model is not the run's any more, or there
        is no such row.
    """
    require_inputs(chosen.run.folder, chosen.config, BASE_MODEL + ROWS)
    model, tokenizer = base_model(chosen)
    rows = deal_again(chosen.config, tokenizer).test
    if not 0 <= row < len(rows):
        raise InputError(
            f"there is no test row {row}: {chosen.run.folder} has {len(rows)} test "
            f"rows, 0 to {len(rows) - 1}."
        )
    encoded = rows[row]
    ids, start = encoded.input_ids.tolist(), encoded.answer_start
    if not start:
        raise InputError(
            f"test row {row} has nothing to answer: it is a text without a prompt, or "
            f"its prompt was truncated to `data.max_tokens` = "
            f"{chosen.config.data.max_tokens}; take another row."
        )

    def answer() -> str:
        (found,) = greedy_tokens(model, tokenizer, [ids[:start]], max_new_tokens)
        return str(tokenizer.decode(found, skip_special_tokens=True))

    before = answer()
    plug_in_all(model, chosen.checkpoint, chosen.config.train)
    return Answers(
        question=str(tokenizer.decode(ids[:start], skip_special_tokens=True)),
        expected=str(tokenizer.decode(ids[start:], skip_special_tokens=True)),
        before=before,
        after=answer(),
    )

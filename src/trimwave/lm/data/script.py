"""Rows written out, in plain text or by the tokenizer's chat template.

An answer of a template begins where the template, asked for the next turn of the
assistant, ends, and goes on to where the conversation up to it ends. White space behind
the token that ends a turn is not learnt.
"""

from collections.abc import Sequence
from typing import Any

from trimwave.base.errors import InputError, one_line
from trimwave.lm.data.border import Script
from trimwave.lm.data.chat import opening
from trimwave.lm.data.rows import Row, Turn

TEMPLATES = ("auto", "chat", "plain")

DATE = "26 Jul 2024"
"""What Llama 3's templates write where no date is known: a run on another day is then
the same."""


class Writer:
    """Writes rows out.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    template : str
        ``"chat"``: by the tokenizer's chat template; ``"plain"``; or ``"auto"``: chats
        by the template where there is one.

    Attributes
    ----------
    used : set of str
        Which of ``chat`` and ``plain`` rows were written by.

    Raises
    ------
    InputError
        If the template is asked for and the tokenizer has none.
    """

    def __init__(self, tokenizer: Any, template: str) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._has_one = bool(getattr(tokenizer, "chat_template", None))
        self.used: set[str] = set()
        if template == "chat" and not self._has_one:
            raise InputError(
                "the model's tokenizer has no chat template; set `data.template` to "
                "`plain` or `auto`, or take an instruct model."
            )

    def write(self, row: Row) -> Script:
        """Write one row out.

        Raises
        ------
        InputError
            If the template cannot write it, or does not tell where an answer begins.
        """
        if self._template == "chat" and not row.turns:
            raise InputError(
                f"{row.origin} is a text without a prompt, which no chat template "
                f"writes; set `data.template` to `auto` or `plain`."
            )
        asked = self._template == "chat" or row.is_chat and self._template == "auto"
        if asked and self._has_one:
            self.used.add("chat")
            return self._templated(row)
        self.used.add("plain")
        return self._plain_chat(row.turns) if row.is_chat else _plain(row)

    def _plain_chat(self, turns: Sequence[Turn]) -> Script:
        text, spans = "", []
        for turn in turns:
            text += opening(turn)
            start = len(text)
            text += f" {turn.text.strip()}"
            if turn.role == "assistant" and turn is not turns[-1]:
                text += self._tokenizer.eos_token
            if turn.is_learnt:
                spans.append((start, len(text)))
            text += "\n"
        return Script(text[:-1], tuple(spans))

    def _templated(self, row: Row) -> Script:
        turns, whole = row.turns, self._rendered(row, len(row.turns))
        spans = []
        for number, turn in enumerate(turns):
            if not turn.is_learnt:
                continue
            before = self._rendered(row, number, ask=True)
            if not whole.startswith(before):
                raise InputError(_not_a_prefix(row, number))
            spans.append((len(before), self._end(row, number, whole, len(before))))
        text = whole[: spans[-1][1]]
        if not text.endswith(self._ends):
            text += self._tokenizer.eos_token
            spans[-1] = (spans[-1][0], len(text))
        return Script(text, tuple(spans), framed=False)

    def _end(self, row: Row, number: int, whole: str, start: int) -> int:
        """Return where the turn that begins at a character ends."""
        through = self._rendered(row, number + 1)
        end = len(through)
        if not whole.startswith(through):
            # Qwen 3 takes the thoughts out of turns that others follow.
            said = row.turns[number].text.strip()
            mark = through[through.rfind(said) + len(said) :]
            found = whole.find(said + mark, start)
            if said not in through or found < 0:
                raise InputError(_not_a_prefix(row, number))
            end = found + len(said) + len(mark)
        shorter = whole[start:end].rstrip()
        return start + len(shorter) if shorter.endswith(self._ends) else end

    @property
    def _ends(self) -> tuple[str, ...]:
        """Special tokens, one of which ends a turn in most templates."""
        return tuple(self._tokenizer.all_special_tokens)

    def _rendered(self, row: Row, count: int, ask: bool = False) -> str:
        """Return the first turns by the template, and the cue of the next if asked."""
        messages = [
            {"role": turn.role, "content": turn.text} for turn in row.turns[:count]
        ]
        try:
            text = self._tokenizer.apply_chat_template(
                messages,
                tokenize=False,
                add_generation_prompt=ask,
                date_string=DATE,
            )
        except Exception as error:
            # Templates are programs, and say by errors of any kind what they refuse.
            raise InputError(
                f"the tokenizer's chat template does not take {row.origin} "
                f"({one_line(error)}); mend the row, or set `data.template` to `plain`."
            ) from error
        return str(text)


def _plain(row: Row) -> Script:
    """Put a space before the answer, unless there is white space, or no prompt."""
    apart = not row.prompt or row.prompt[-1].isspace() or row.answer[:1].isspace()
    text = row.prompt + ("" if apart else " ") + row.answer
    return Script(text, ((len(row.prompt), len(text)),))


def _not_a_prefix(row: Row, number: int) -> str:
    return (
        f"the tokenizer's chat template writes {row.origin} in another way up to turn "
        f"{number + 1} than as a whole, so where the answer begins cannot be known; "
        f"set `data.template` to `plain`, or give each answer a row of its own."
    )

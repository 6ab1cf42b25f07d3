r"""What a training row is, and how columns of known names become one.

Every kind of row is laid out as a question, a cue and the answer::

    mathematics     Question: {question}\nAnswer: {answer}
    instructions    Question: {instruction}\n{input}\nAnswer: {output}
    Yahoo Answers   Question: {title} {content}\nTopic: {topic}
    other topics    Text: {title} {content}\nTopic: {label}
    plain text      {text}

The space before the answer belongs to the answer; `Encoder` puts it there.

A number is written as text: one without a fraction as a whole number, since a column of
whole numbers with holes comes out of Parquet as 3.0 and NaN; true and false as ``True``
and ``False``. A row is no row if its answer, or all of its prompt, is blank, null or
NaN; a blank prompt that is not laid out (``prompt`` and ``completion``) is a text
without a prompt.
"""

import math
import re
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from trimwave.base.errors import InputError

YAHOO_COLUMNS = ("topic", "question_title", "question_content", "best_answer")

YAHOO_TOPICS = (
    "Society & Culture",
    "Science & Mathematics",
    "Health",
    "Education & Reference",
    "Computers & Internet",
    "Sports",
    "Business & Finance",
    "Entertainment & Music",
    "Family & Relationships",
    "Politics & Government",
)
"""Classes 1 to 10 of Yahoo Answers, Zhang et al. 2015."""

SURROGATE = re.compile("[\ud800-\udfff]")

NUMBERING = frozenset({"id", "idx", "index", "__index_level_0__"})
"""Columns that only number the rows: nobody misses them in a prompt."""

LARGEST_EXACT = 2.0**53
"""Up to here a float without a fraction is a whole number that was meant."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to learn."""

    prompt: str
    """What is given; empty for plain text."""
    answer: str
    """What the loss is taken on."""
    label: str | None = None
    """Class name, if the row has one; the Dirichlet partition goes by it."""
    origin: str = field(default="a row", compare=False)
    """Where it stands, for messages: "line 3 of `train.jsonl`"."""

    @property
    def key(self) -> tuple[str, str]:
        """What two equal rows have in common."""
        return self.prompt, self.answer

    def mended(self) -> "Row":
        """Return the row with U+FFFD for each lone surrogate, or itself without any.

        JSON can hold half of a surrogate pair; no encoding and no tokenizer can.
        """
        if not SURROGATE.search(self.prompt) and not SURROGATE.search(self.answer):
            return self
        label = None if self.label is None else SURROGATE.sub("\ufffd", self.label)
        prompt, answer = (SURROGATE.sub("\ufffd", text) for text in self.key)
        return replace(self, prompt=prompt, answer=answer, label=label)


class Lack(StrEnum):
    """Why a record is no row."""

    BLANK = "blank"
    NULL = "null"
    NAN = "NaN or infinite"


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """How a record with certain columns becomes a row."""

    needs: tuple[str, ...]
    """Columns that identify this layout."""
    parts: tuple[str, ...] = ()
    """Columns of the prompt; a blank or absent one is passed over."""
    answer: str
    """Column of the answer."""
    lead: str = ""
    """Written before the parts."""
    joiner: str = " "
    """Written between the parts."""
    cue: str = ""
    """Written after the parts."""
    is_label: bool = False
    """The answer is a class name."""
    spare: frozenset[str] = frozenset()
    """Columns that public sets of this layout have beside it; left out on purpose."""

    def row(self, record: Mapping[str, object], where: str) -> Row | Lack:
        """Lay one record out; `where` says which, for the error."""
        for column in self.needs:
            if column not in record:
                raise InputError(
                    f"{where} has no column `{column}`, which other rows have; it has "
                    f"{listed(record)}; give every row the same columns."
                )
        lack = self._lack(record)
        if lack:
            return lack
        values = [_text(record.get(column), column, where) for column in self.parts]
        body = self.joiner.join(value for value in values if value.strip())
        answer = _text(record[self.answer], self.answer, where)
        # A prompt given as it is keeps its white space; one that we lay out does not.
        if self.lead:
            body, answer = body.strip(), answer.strip()
        label = answer if self.is_label else None
        return Row(self.lead + body + self.cue, answer, label, where)

    def _lack(self, record: Mapping[str, object]) -> Lack | None:
        answer = _lack_of(record[self.answer])
        prompt = [_lack_of(record.get(column)) for column in self.parts]
        if answer or not prompt or None in prompt:
            return answer
        is_text = not self.lead and prompt[0] is Lack.BLANK
        return None if is_text else prompt[0]

    def used(self, columns: Iterable[str]) -> set[str]:
        """Return the columns that a row is made of."""
        return set(columns) & {*self.parts, self.answer}

    def unused(self, columns: Iterable[str]) -> set[str]:
        """Return the columns whose content no row would have."""
        return set(columns) - self.used(columns) - self.spare - NUMBERING


LAYOUTS = (
    Layout(
        needs=YAHOO_COLUMNS[:3],
        parts=YAHOO_COLUMNS[1:3],
        answer="topic",
        lead="Question: ",
        cue="\nTopic:",
        is_label=True,
        spare=frozenset(YAHOO_COLUMNS[3:]),
    ),
    Layout(
        needs=("instruction", "output"),
        parts=("instruction", "input"),
        answer="output",
        lead="Question: ",
        joiner="\n",
        cue="\nAnswer:",
        spare=frozenset({"text"}),  # Alpaca's own layout of the other three
    ),
    Layout(
        needs=("question", "answer"),
        parts=("question",),
        answer="answer",
        lead="Question: ",
        cue="\nAnswer:",
    ),
    Layout(needs=("prompt", "completion"), parts=("prompt",), answer="completion"),
    Layout(needs=("prompt", "answer"), parts=("prompt",), answer="answer"),
    *(
        Layout(
            needs=(*parts, "label"),
            parts=parts,
            answer="label",
            lead="Text: ",
            cue="\nTopic:",
            is_label=True,
        )
        for parts in (("title", "content"), ("sentence",), ("text",))
    ),
    Layout(needs=("text",), answer="text"),
)
"""Tried in order; the first whose columns are all there is taken."""


def find_layout(columns: Iterable[str], source: str) -> Layout:
    """Return the layout that the columns of a source call for.

    Raises
    ------
    InputError
        If no layout fits; the message lists what was found and what is understood.
    """
    found = set(columns)
    for layout in LAYOUTS:
        if found.issuperset(layout.needs):
            return layout
    understood = "; ".join(" + ".join(layout.needs) for layout in LAYOUTS)
    raise InputError(
        f"`{source}` has the columns {listed(found)}, which no known layout fits; "
        f"rename them to one of: {understood}."
    )


def listed(columns: Iterable[str]) -> str:
    """Return names of columns for a message, in quotes that any terminal can show."""
    return ", ".join(f"`{shown(column)}`" for column in sorted(columns)) or "none"


def shown(value: object) -> str:
    """Return a value for a message: short, and without what a terminal cannot show."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 60 else f"{text[:60]}..."


def _lack_of(value: object) -> Lack | None:
    if value is None:
        return Lack.NULL
    if isinstance(value, float) and not math.isfinite(value):
        return Lack.NAN
    return Lack.BLANK if isinstance(value, str) and not value.strip() else None


def _text(value: object, column: str, where: str) -> str:
    if _lack_of(value):
        return value if isinstance(value, str) else ""
    if isinstance(value, float) and abs(value) < LARGEST_EXACT and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    raise InputError(
        f"column `{column}` of {where} must be text or a number, got {shown(value)}; "
        f"write it as text."
    )

r"""What a training row is, and how columns of known names become one.

Every kind of row is laid out as a question, a cue and the answer::

    mathematics     Question: {question}\nAnswer: {answer}
    instructions    Question: {instruction}\n{input}\nAnswer: {output}
    Yahoo Answers   Question: {title} {content}\nTopic: {topic}
    other topics    Text: {title} {content}\nTopic: {label}
    plain text      {text}

The space before the answer belongs to the answer; ``encode`` puts it there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to learn."""

    prompt: str
    """What is given; empty for plain text."""
    answer: str
    """What the loss is taken on."""
    label: str | None = None
    """Class name, if the row has one; the Dirichlet partition goes by it."""


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

    def row(self, record: Mapping[str, object], where: str) -> Row:
        """Lay one record out; `where` says which, for the error."""
        for column in self.needs:
            if column not in record:
                raise InputError(
                    f"{where} has no column `{column}`, which the first row has; it "
                    f"has {_listed(record)}."
                )
        values = [_text(record.get(column), column, where) for column in self.parts]
        body = self.joiner.join(value for value in values if value.strip())
        answer = _text(record[self.answer], self.answer, where)
        # A prompt given as it is keeps its white space; one that we lay out does not.
        if self.lead:
            body, answer = body.strip(), answer.strip()
        label = answer if self.is_label else None
        return Row(self.lead + body + self.cue, answer, label)


LAYOUTS = (
    Layout(
        needs=YAHOO_COLUMNS[:3],
        parts=YAHOO_COLUMNS[1:3],
        answer="topic",
        lead="Question: ",
        cue="\nTopic:",
        is_label=True,
    ),
    Layout(
        needs=("instruction", "output"),
        parts=("instruction", "input"),
        answer="output",
        lead="Question: ",
        joiner="\n",
        cue="\nAnswer:",
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
        f"`{source}` has the columns {_listed(found)}, which no known layout fits; "
        f"rename them to one of: {understood}."
    )


def _listed(columns: Iterable[str]) -> str:
    return ", ".join(f"`{column}`" for column in sorted(columns)) or "none"


def _text(value: object, column: str, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise InputError(
        f"column `{column}` of {where} must be text or a number, got {value!r}."
    )

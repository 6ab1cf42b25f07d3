r"""How columns of known names become a row.

Every kind of row is laid out as a question, a cue and the answer::

    mathematics     Question: {question}\nAnswer: {answer}
    with a context  Context: {context}\nQuestion: {question}\nAnswer: {answer}
    instructions    Question: {instruction}\n{input}\nAnswer: {output}
    Yahoo Answers   Question: {title} {content}\nTopic: {topic}
    other topics    Text: {title} {content}\nTopic: {label}
    plain text      {text}
    chat            System: {system}\nUser: {question}\nAssistant: {answer}

The space before the answer belongs to the answer; `Encoder` puts it there. Of several
answers to one question the first counts.

A row is no row if its answer, or all of its prompt, is blank, null or NaN; a blank
prompt that is not laid out (``prompt`` and ``completion``) is a text without a prompt.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from trimwave.base.errors import InputError
from trimwave.lm.data.chat import (
    MessagesLayout,
    PairLayout,
    history_of,
)
from trimwave.lm.data.rows import Lack, Row, Turn, lack_of, listed, text_of

NUMBERING = frozenset({"id", "idx", "index", "__index_level_0__"})
"""Columns that only number the rows: nobody misses them in a prompt."""

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


class Layout(Protocol):
    """How a record with certain columns becomes a row."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that identify this layout."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns that a row is made of, where they are there."""

    @property
    def spare(self) -> frozenset[str]:
        """Columns that public sets have beside it; left out on purpose."""

    @property
    def nests(self) -> bool:
        """Some of them hold lists or tables."""

    def row(self, record: Mapping[str, object], where: str) -> Row | Lack:
        """Lay one record out; `where` says which, for the error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextLayout:
    """A prompt of some columns, an answer of one."""

    needs: tuple[str, ...]
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
    context: tuple[str, ...] = ()
    """Column of what the question is about, written before it."""
    several: bool = False
    """There may be a list of answers."""
    is_label: bool = False
    """The answer is a class name."""
    label: tuple[str, ...] = ()
    """Column of a class name beside the answer."""
    dialogue: tuple[str, ...] = ()
    """``system``, ``history``: the rows of a source with one of them are chats."""
    is_chat: bool = False
    """The source has one of them."""
    spare: frozenset[str] = frozenset()

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns that a row is made of, where they are there."""
        return (*self.parts, self.answer, *self.context, *self.label, *self.dialogue)

    @property
    def nests(self) -> bool:
        """Some of them hold lists or tables."""
        return self.several or bool(self.dialogue)

    def row(self, record: Mapping[str, object], where: str) -> Row | Lack:
        """Lay one record out."""
        check_columns(self.needs, record, where)
        answer = record[self.answer]
        if self.several:
            answer = _first(answer)
        lack = self._lack(record, answer)
        if lack:
            return lack
        values = [_text(record, column, where) for column in self.parts]
        body = self.joiner.join(value for value in values if value.strip())
        answer = text_of(answer, self.answer, where)
        # A prompt given as it is keeps its white space; one that we lay out does not.
        if self.lead:
            body, answer = body.strip(), answer.strip()
        label = answer if self.is_label else self._label(record, where)
        about = "".join(_text(record, column, where) for column in self.context)
        asked = f"{about.strip()}\n\n{body}" if about.strip() else body
        if self.is_chat:
            return history_of(record, asked, answer, label, where)
        turns = (Turn("user", asked), Turn("assistant", answer)) if body else ()
        before = f"Context: {about.strip()}\n" if about.strip() else ""
        prompt = before + self.lead + body + self.cue
        return Row(prompt, answer, label, where, turns)

    def _label(self, record: Mapping[str, object], where: str) -> str | None:
        found = [_text(record, column, where).strip() for column in self.label]
        return "".join(found) or None

    def _lack(self, record: Mapping[str, object], answer: object) -> Lack | None:
        lack = answer if isinstance(answer, Lack) else lack_of(answer)
        prompt = [lack_of(record.get(column)) for column in self.parts]
        if lack or not prompt or None in prompt:
            return lack
        is_text = not self.lead and prompt[0] is Lack.BLANK
        return None if is_text else prompt[0]


def _first(value: object) -> object:
    """Return the first answer of several; SQuAD's lie under ``text``."""
    if isinstance(value, Mapping) and "text" in value:
        value = value["text"]
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return value
    there = [one for one in map(_first, value) if not _lacks(one)]
    return there[0] if there else Lack.NO_ANSWER


def _lacks(value: object) -> bool:
    return isinstance(value, Lack) or lack_of(value) is not None


def _text(record: Mapping[str, object], column: str, where: str) -> str:
    return text_of(record.get(column), column, where)


def check_columns(
    needs: Iterable[str], record: Mapping[str, object], where: str
) -> None:
    """Refuse a record that lacks a column of its layout.

    Raises
    ------
    InputError
        Naming the column.
    """
    for column in needs:
        if column not in record:
            raise InputError(
                f"{where} has no column `{column}`, which other rows have; it has "
                f"{listed(record)}; give every row the same columns."
            )


def _question(*needs: str, parts: tuple[str, ...] = (), **more: object) -> TextLayout:
    """Return a layout as ``Question: ... Answer: ...``; the last column answers."""
    fields: dict[str, object] = {
        "needs": needs,
        "parts": parts or needs[:1],
        "answer": needs[-1],
        "lead": "Question: ",
        "cue": "\nAnswer:",
        "context": ("context",),
        **more,
    }
    return TextLayout(**fields)  # type: ignore[arg-type]


LAYOUTS: tuple[Layout, ...] = (
    TextLayout(
        needs=YAHOO_COLUMNS[:3],
        parts=YAHOO_COLUMNS[1:3],
        answer="topic",
        lead="Question: ",
        cue="\nTopic:",
        is_label=True,
        spare=frozenset(YAHOO_COLUMNS[3:]),
    ),
    MessagesLayout("messages"),
    MessagesLayout("conversations"),
    _question(
        "instruction",
        "output",
        parts=("instruction", "input"),
        joiner="\n",
        dialogue=("system", "history"),
        spare=frozenset({"text"}),  # Alpaca's own layout of the other three
    ),
    _question("instruction", "response", label=("category",)),
    _question("question", "answer", several=True),
    _question("question", "answers", several=True, spare=frozenset({"title"})),
    *(
        PairLayout(TextLayout(needs=("prompt", one), parts=("prompt",), answer=one))
        for one in ("completion", "answer", "response")
    ),
    *(
        TextLayout(
            needs=(*parts, "label"),
            parts=parts,
            answer="label",
            lead="Text: ",
            cue="\nTopic:",
            is_label=True,
        )
        for parts in (("title", "content"), ("sentence",), ("text",))
    ),
    TextLayout(needs=("text",), answer="text"),
)
"""Tried in order; the first whose columns are all there is taken."""


def find_layout(
    columns: Iterable[str], source: str, others: Iterable[str] = ()
) -> Layout:
    """Return the layout that the columns of a table call for.

    Parameters
    ----------
    columns : iterable of str
        Those of the table.
    source : str
        What the user calls it.
    others : iterable of str
        Those of other tables of the same source: a chat in one is a chat in all.

    Raises
    ------
    InputError
        If no layout fits; the message lists what was found and what is understood.
    """
    found = set(columns)
    for layout in LAYOUTS:
        if found.issuperset(layout.needs):
            if isinstance(layout, TextLayout):
                is_chat = not {*layout.dialogue}.isdisjoint({*found, *others})
                return replace(layout, is_chat=is_chat)
            return layout
    understood = "; ".join(" + ".join(layout.needs) for layout in LAYOUTS)
    raise InputError(
        f"`{source}` has the columns {listed(found)}, which no known layout fits; "
        f"rename them to one of: {understood}."
    )

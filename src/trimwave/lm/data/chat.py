r"""Chats: from lists of messages to turns, and from turns to plain text.

A message is ``{"role": ..., "content": ...}``, or ``{"from": ..., "value": ...}`` as
ShareGPT has it. Content is text, or a list of parts that are text. Without a chat
template a chat is written out as::

    System: {system}\nUser: {question}\nAssistant: {answer}

with a space before each answer and the end token after it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from trimwave.base.errors import InputError, nearest
from trimwave.lm.data.rows import Lack, Row, Turn, lack_of, shown, text_of

ROLES = {
    **{name: "system" for name in ("system", "developer")},
    **{name: "user" for name in ("user", "human")},
    **{name: "assistant" for name in ("assistant", "gpt", "chatgpt", "bot", "model")},
}
"""Who speaks, by the names that data sets have for it."""

TITLES = {"system": "System", "user": "User", "assistant": "Assistant"}


class _Texts(Protocol):
    """A layout of two columns of text."""

    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def reads(self) -> tuple[str, ...]: ...
    @property
    def spare(self) -> frozenset[str]: ...
    def row(self, record: Mapping[str, object], where: str) -> Row | Lack: ...


@dataclass(frozen=True, slots=True)
class MessagesLayout:
    """A column of messages; ``system`` beside it comes first."""

    column: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that identify this layout."""
        return (self.column,)

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns that a row is made of, where they are there."""
        return self.column, "system"

    @property
    def spare(self) -> frozenset[str]:
        """Columns that public sets have beside the messages."""
        return frozenset({"prompt", "prompt_id"})  # UltraChat's: the first question

    @property
    def nests(self) -> bool:
        """Some of them hold lists or tables."""
        return True

    def row(self, record: Mapping[str, object], where: str) -> Row | Lack:
        """Lay one record out."""
        if self.column not in record:
            raise InputError(
                f"{where} has no column `{self.column}`, which other rows have."
            )
        turns = turns_of(record[self.column], self.column, where)
        if isinstance(turns, Lack):
            return turns
        system = text_of(record.get("system"), "system", where)
        if system.strip() and not any(turn.role == "system" for turn in turns):
            turns = [Turn("system", system), *turns]
        return chat_row(turns, None, where)


@dataclass(frozen=True, slots=True)
class PairLayout:
    """Prompt and completion, both as text or both as messages."""

    texts: _Texts

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that identify this layout."""
        return self.texts.needs

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns that a row is made of."""
        return self.texts.reads

    @property
    def spare(self) -> frozenset[str]:
        """Columns left out on purpose."""
        return self.texts.spare

    @property
    def nests(self) -> bool:
        """Some of them hold lists or tables."""
        return True

    def row(self, record: Mapping[str, object], where: str) -> Row | Lack:
        """Lay one record out."""
        both = [record.get(column) for column in self.needs]
        if not any(map(is_messages, both)):
            return self.texts.row(record, where)
        turns: list[Turn] = []
        for column, value, role in zip(
            self.needs, both, ("user", "assistant"), strict=True
        ):
            if is_messages(value):
                found = turns_of(value, column, where)
            else:
                lack = lack_of(value)
                found = lack or [Turn(role, text_of(value, column, where))]
            if isinstance(found, Lack):
                return found
            given = role == "user"  # TRL: loss on the completion alone
            turns += [turn._replace(given=turn.given or given) for turn in found]
        return chat_row(turns, None, where)


def is_messages(value: object) -> bool:
    """Whether a value is a list of messages rather than a text."""
    return _is_list(value) and bool(value) and isinstance(value[0], Mapping)  # type: ignore[index]


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def turns_of(value: object, column: str, where: str) -> list[Turn] | Lack:
    """Return the turns of a list of messages, or why there are none.

    Raises
    ------
    InputError
        If it is no such list; names the message and what is wrong with it.
    """
    if lack := lack_of(value):
        return lack
    value = _parsed(value)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise InputError(
            f"column `{column}` of {where} must be a list of messages, each with "
            f"`role` and `content`, got {shown(value)}; keep such rows as .jsonl."
        )
    return [
        _turn(message, f"message {number} of `{column}` of {where}")
        for number, message in enumerate(value, start=1)
    ] or Lack.BLANK


def _parsed(value: object) -> object:
    """Return a list that a table holds as JSON; anything else as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _turn(message: object, where: str) -> Turn:
    if not isinstance(message, Mapping):
        raise InputError(
            f"{where} must have `role` and `content`, got {shown(message)}."
        )
    role, content = (
        message.get(one, message.get(other))
        for one, other in (("role", "from"), ("content", "value"))
    )
    if not isinstance(role, str) or role.lower() not in ROLES:
        hint = nearest(role, ROLES) if isinstance(role, str) else "name who speaks"
        raise InputError(
            f"{where} has the role {shown(role)}, which is none of system, user and "
            f"assistant ({hint}); tools are not supported."
        )
    for call in ("tool_calls", "function_call"):
        if message.get(call):  # Parquet has the column in every message, empty
            raise InputError(
                f"{where} calls a tool (`{call}`), which no text says; take the "
                f"conversation out, or write what is to be learnt as `content`."
            )
    given = _is_given(message.get("weight"), where)
    return Turn(ROLES[role.lower()], _content(content, where), given)


def _is_given(weight: object, where: str) -> bool:
    """Whether OpenAI's weight of a message says that it is not learnt."""
    if lack_of(weight) and not isinstance(weight, str):
        return False
    if weight not in (0, 1):
        raise InputError(
            f"{where} has the `weight` {weight!r:.40}; give 0 for an answer that is "
            f"not learnt, 1 for one that is, or none."
        )
    return weight == 0


def _content(content: object, where: str) -> str:
    if not _is_list(content):
        return text_of(content, "content", where)
    texts = []
    for part in content:  # type: ignore[attr-defined]
        kind = part.get("type", "text") if isinstance(part, Mapping) else "text"
        text = part.get("text") if isinstance(part, Mapping) else part
        if kind != "text" or not isinstance(text, str):
            raise InputError(
                f"{where} holds a part that is no text ({shown(kind)}: "
                f"{shown(text)}); take it out, only text is learnt."
            )
        texts.append(text)
    return "".join(texts)


def chat_row(turns: Sequence[Turn], label: str | None, where: str) -> Row | Lack:
    """Return turns as a row: up to the last that is learnt, the rest is cut off.

    Turns of the assistant that say nothing are left out; one before which the user has
    said nothing is not learnt, since nothing asks for it.
    """
    turns = [turn for turn in turns if turn.role != "assistant" or turn.text.strip()]
    asks = [turn.role == "user" and bool(turn.text.strip()) for turn in turns]
    first = asks.index(True) if any(asks) else 0
    turns = [t._replace(given=t.given or i < first) for i, t in enumerate(turns)]
    learnt = [number for number, turn in enumerate(turns) if turn.is_learnt]
    if not learnt:
        return Lack.NO_ANSWER
    turns = tuple(turns[: learnt[-1] + 1])
    if not any(asks):
        return Lack.BLANK
    *before, last = turns
    prompt = "".join(f"{opening(turn)} {turn.text.strip()}\n" for turn in before)
    answer = last.text.strip()
    return Row(prompt + opening(last), answer, label, where, turns, is_chat=True)


def opening(turn: Turn) -> str:
    """Return what stands before a turn in plain text."""
    return f"{TITLES[turn.role]}:"


def history_of(
    record: Mapping[str, object], asked: str, answer: str, label: str | None, where: str
) -> Row | Lack:
    """Return an instruction with what was said before, ``system`` and ``history``.

    Raises
    ------
    InputError
        If the history is no list of pairs.
    """
    turns = []
    system = text_of(record.get("system"), "system", where)
    if system.strip():
        turns.append(Turn("system", system))
    history = _parsed(record.get("history"))
    if lack_of(history):
        history = []
    pairs = _is_list(history) and all(
        _is_list(pair) and len(pair) == 2
        for pair in history  # type: ignore[attr-defined]
    )
    if not pairs:
        raise InputError(
            f"column `history` of {where} must be a list of pairs, what the user said "
            f"and what was answered, got {shown(history)}."
        )
    for user, assistant in history:  # type: ignore[attr-defined]
        turns.append(Turn("user", text_of(user, "history", where)))
        turns.append(Turn("assistant", text_of(assistant, "history", where)))
    turns += [Turn("user", asked), Turn("assistant", answer)]
    return chat_row(turns, label, where)

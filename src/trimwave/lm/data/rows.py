"""What a training row is, and how values of a column become text.

A number is written as text: one without a fraction as a whole number, since a column of
whole numbers with holes comes out of Parquet as 3.0 and NaN; true and false as ``True``
and ``False``.
"""

import math
import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import NamedTuple

from trimwave.base.errors import InputError

SURROGATE = re.compile("[\ud800-\udfff]")

LARGEST_EXACT = 2.0**53
"""Up to here a float without a fraction is a whole number that was meant."""


class Turn(NamedTuple):
    """One message of a chat."""

    role: str
    """``system``, ``user`` or ``assistant``."""
    text: str
    given: bool = False
    """The assistant's, but no loss is taken on it."""

    @property
    def is_learnt(self) -> bool:
        """Whether a loss is taken on it."""
        return self.role == "assistant" and not self.given


@dataclass(frozen=True, slots=True)
class Row:
    """One thing to learn."""

    prompt: str
    """What is given, in plain text; empty for a text without a prompt."""
    answer: str
    """What the loss is taken on; of a chat, the last of the assistant's turns."""
    label: str | None = None
    """Class name, if the row has one; the Dirichlet partition goes by it."""
    origin: str = field(default="a row", compare=False)
    """Where it stands, for messages: "line 3 of `train.jsonl`"."""
    turns: tuple[Turn, ...] = field(default=(), compare=False)
    """The same as a chat, for a chat template; empty for a text without a prompt."""
    is_chat: bool = field(default=False, compare=False)
    """It comes as a chat, and what is learnt of it is in `turns`."""
    client: str | None = field(default=None, compare=False)
    """Whose row it is, where a column of the source says so."""

    @property
    def key(self) -> tuple[str, str]:
        """What two equal rows have in common."""
        return self.prompt, self.answer

    def mended(self) -> "Row":
        """Return the row with U+FFFD for each lone surrogate, or itself without any.

        JSON can hold half of a surrogate pair; no encoding and no tokenizer can.
        """
        texts = (*self.key, *(turn.text for turn in self.turns))
        if not any(map(SURROGATE.search, texts)):
            return self
        return replace(
            self,
            prompt=_mended(self.prompt),
            answer=_mended(self.answer),
            label=None if self.label is None else _mended(self.label),
            turns=tuple(turn._replace(text=_mended(turn.text)) for turn in self.turns),
        )


def _mended(text: str) -> str:
    return SURROGATE.sub("\ufffd", text)


class Lack(StrEnum):
    """Why a record is no row."""

    BLANK = "blank"
    NULL = "null"
    NAN = "NaN or infinite"
    NO_ANSWER = "without an answer"


def listed(columns: Iterable[str]) -> str:
    """Return names of columns for a message, in quotes that any terminal can show."""
    return ", ".join(f"`{shown(column)}`" for column in sorted(columns)) or "none"


def shown(value: object) -> str:
    """Return a value for a message: short, and without what a terminal cannot show."""
    text = value if isinstance(value, str) else reprlib.repr(value)
    text = text if text.isprintable() else ascii(text)[1:-1]
    return text if len(text) <= 60 else f"{text[:60]}..."


def lack_of(value: object) -> Lack | None:
    """Say why a value is no text, None if it is one."""
    if value is None:
        return Lack.NULL
    if isinstance(value, float) and not math.isfinite(value):
        return Lack.NAN
    return Lack.BLANK if isinstance(value, str) and not value.strip() else None


def text_of(value: object, column: str, where: str) -> str:
    """Return a value as text, blank where it lacks one.

    Raises
    ------
    InputError
        If it is neither text nor a number.
    """
    if lack_of(value):
        return value if isinstance(value, str) else ""
    if isinstance(value, float) and abs(value) < LARGEST_EXACT and value.is_integer():
        return str(int(value))
    if isinstance(value, str | int | float):
        return str(value)
    raise InputError(
        f"column `{column}` of {where} must be text or a number, got {shown(value)}; "
        f"write it as text."
    )

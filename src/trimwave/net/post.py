"""How letters get to nodes: what the backend asks of a transport."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from trimwave.net.letter import Letter


@dataclass(frozen=True, slots=True)
class Lost:
    """A letter that will not be answered."""

    why: str
    """In one line."""


class Post(Protocol):
    """Carries letters; safe to call from several threads."""

    def nodes(self) -> Mapping[int, str]:
        """Return who is online: node to what identifies it for good, such as a key."""

    def send(self, node: int, letter: Letter, group: str) -> str:
        """Hand a letter over; what it is called."""

    def reply(self, name: str) -> Letter | Lost | None:
        """Return the answer to a letter; None = not yet."""

"""Letters as Flower messages, and Flower's grid as the post."""

import json
from collections.abc import Mapping
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from trimwave.net.letter import MOST_HEAD_BYTES, Letter
from trimwave.net.post import Lost

HEAD, BODY = "head", "body"

STYPE = "safetensors"
"""How the body says what its bytes are; nothing here unpickles them."""

TTL_S = 7 * 24 * 3600.0
"""How long Flower keeps a message; our own deadline ends a round."""


def content_of(letter: Letter) -> RecordDict:
    """Return a letter as a message's content: one record, one flat buffer."""
    content = RecordDict({HEAD: ConfigRecord({"json": json.dumps(letter.head)})})
    if letter.body:
        size = len(letter.body)
        body = Array(dtype="uint8", shape=(size,), stype=STYPE, data=letter.body)
        content[BODY] = ArrayRecord(array_dict={BODY: body})
    return content


def letter_of(content: RecordDict) -> Letter:
    """Read what `content_of` made.

    Raises
    ------
    ValueError
        If it is something else.
    """
    try:
        told = str(content[HEAD]["json"])
        if len(told) > MOST_HEAD_BYTES:
            raise ValueError(f"a message whose head has {len(told)} characters")
        head = json.loads(told)
        record: Any = content[BODY] if BODY in content else None
        body = record[BODY].data if record is not None else b""
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"a message without {error}") from None
    if not isinstance(head, dict):
        raise ValueError("a message whose head is no table")
    return Letter(head, body)


class FlowerPost:
    """Flower's grid as a `Post`."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._sent: dict[str, int] = {}

    def nodes(self) -> Mapping[int, str]:
        """Return who is online, by node; with authentication a key is one device's."""
        return {int(one.node_id): str(one.public_key) for one in self._grid.get_nodes()}

    def send(self, node: int, letter: Letter, group: str) -> str:
        """Push one message; one at a time, so that one payload is in memory."""
        message = Message(
            content=content_of(letter),
            message_type=MessageType.TRAIN,
            dst_node_id=node,
            group_id=group,
            ttl=TTL_S,
        )
        (name,) = self._grid.push_messages([message])
        if not name:
            raise ConnectionError(f"node {node} is not there")
        self._sent[name] = node
        return name

    def reply(self, name: str) -> Letter | Lost | None:
        """Pull the answer to one message: to ask for all is to wait for the slowest."""
        for message in self._grid.pull_messages([name]):
            if message.has_error():
                return Lost(f"Flower lost the message: {message.error.reason}")
            if message.metadata.src_node_id != self._sent[name]:
                return Lost(f"answered by another node, {message.metadata.src_node_id}")
            try:
                return letter_of(message.content)
            except ValueError as error:
                return Lost(f"no answer of ours: {error}")
        return None

"""What passes between a server and a client: JSON, and one buffer of bytes.

As a frame on a local socket here; as a Flower message in `net/flower.py`. Nothing that
arrives is unpickled: the buffer is safetensors.
"""

import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

_LENGTHS = struct.Struct("<QQ")

MOST_HEAD_BYTES = 64 << 20
"""Longest JSON that is read."""


@dataclass(frozen=True, slots=True)
class Letter:
    """One message."""

    head: dict[str, Any]
    """JSON."""
    body: bytes = field(default=b"", repr=False)
    """A package or an update as safetensors; empty where there is none."""


def send_letter(stream: socket.socket, letter: Letter) -> None:
    """Write a letter to a socket."""
    head = json.dumps(letter.head).encode()
    stream.sendall(_LENGTHS.pack(len(head), len(letter.body)) + head)
    stream.sendall(letter.body)


def receive_letter(stream: socket.socket) -> Letter:
    """Read what `send_letter` wrote.

    Raises
    ------
    ConnectionError
        If the other end went away in the middle.
    ValueError
        If it is no letter.
    """
    head_bytes, body_bytes = _LENGTHS.unpack(_exactly(stream, _LENGTHS.size))
    if head_bytes > MOST_HEAD_BYTES:
        raise ValueError(f"a letter's head of {head_bytes} bytes")
    head = json.loads(_exactly(stream, head_bytes))
    if not isinstance(head, dict):
        raise ValueError("a letter's head is no table")
    return Letter(head, bytes(_exactly(stream, body_bytes)))


def _exactly(stream: socket.socket, num_bytes: int) -> bytearray:
    data = bytearray(num_bytes)
    view = memoryview(data)
    while view:
        got = stream.recv_into(view)
        if not got:
            raise ConnectionError("the other end went away")
        view = view[got:]
    return data

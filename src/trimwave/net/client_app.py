"""The ClientApp: a new process for every message, so as little in it as can be.

It hands the letter to the worker that `trimwave join` runs beside the SuperNode. Under
a SuperNode of the user's own, without a worker, the device is made in this process.
"""

import socket
import time
from collections.abc import Mapping
from typing import Any

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from trimwave.net.flower import content_of, letter_of
from trimwave.net.letter import Letter, receive_letter, send_letter

app = ClientApp()

WAIT_S = 120.0
"""How long a worker may take to be there, when it starts or starts again."""

RETRY_S = 0.2


@app.train()
def train(message: Message, context: Context) -> Message:
    """Answer one letter."""
    letter = letter_of(message.content)
    node: Mapping[str, Any] = context.node_config
    if "worker" in node:
        answer = from_worker(str(node["worker"]), letter)
    else:
        answer = _in_this_process(node, letter)
    return Message(content=content_of(answer), reply_to=message)


def from_worker(path: str, letter: Letter) -> Letter:
    """Have a worker answer; ask again if it went away in between.

    Raises
    ------
    ConnectionError
        If it is not there in time.
    """
    ends_s = time.monotonic() + WAIT_S
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as stream:
                stream.connect(path)
                send_letter(stream, letter)
                return receive_letter(stream)
        except OSError as error:
            if time.monotonic() > ends_s:
                raise ConnectionError(f"no worker at {path}: {error}") from None
            time.sleep(RETRY_S)


def _in_this_process(node: Mapping[str, Any], letter: Letter) -> Letter:
    from pathlib import Path

    from trimwave.net.device import Device
    from trimwave.net.settings import Settings

    name = str(node.get("name", node.get("partition-id", "0")))
    names = ("data", "blobs", "host", "ca")
    given: dict[str, Any] = {key: str(node[key]) for key in names if key in node}
    cache = Path(str(node.get("cache", f"trimwave-client-{name}")))
    return Device(Settings(name=name, cache=cache, **given)).answer(letter)

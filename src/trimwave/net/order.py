"""What a launcher tells the server's process, and what that tells it back.

The order is a file, the events are JSON lines over a local socket: records as they are
made, words on what is going on, and how it ended. A process that goes without a last
word was killed.
"""

import json
import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trimwave.base.stored import write_atomic


@dataclass(frozen=True, kw_only=True)
class Order:
    """How to serve a run."""

    folder: str
    """The run's folder, absolute."""
    config: Mapping[str, Any]
    events: str = ""
    """Path of the socket that events go to; empty = they are printed."""
    host: str = "127.0.0.1"
    """What the file route listens on."""
    port: int = 0
    """Its port; 0 = a free one."""
    route: str = ""
    """Base URL of the file route as clients reach it, `{host}` in place of the server
    as a client knows it; empty = made of host and port."""
    certificate: str = ""
    key: str = ""
    """TLS of the file route; empty = none."""
    keyed: bool = False
    """Nodes prove who they are by keys."""

    def write(self, path: Path) -> None:
        """Write the order where the server's process finds it."""
        write_atomic(path, json.dumps(asdict(self)).encode())

    @classmethod
    def read(cls, path: Path) -> "Order":
        """Read what `write` wrote."""
        return cls(**json.loads(path.read_bytes()))


class Events:
    """Tells a launcher what goes on; prints it where there is none."""

    def __init__(self, path: str = "") -> None:
        self._stream: socket.socket | None = None
        if path:
            self._stream = socket.socket(socket.AF_UNIX)
            self._stream.connect(path)
            threading.Thread(
                target=_end_with, args=(self._stream.dup(),), daemon=True
            ).start()

    def tell(self, kind: str, value: object) -> None:
        """Tell one thing: ``record``, ``client``, ``say``, ``plan``, ``end``, ..."""
        line = json.dumps({kind: value}) + "\n"
        if self._stream is None:
            print(line, end="", flush=True)
            return
        try:
            self._stream.sendall(line.encode())
        except OSError:  # the launcher is gone, and this process will be
            self._stream = None


def _end_with(stream: socket.socket) -> None:
    """End this process once its launcher is gone: another may write its folder.

    What it was writing is whole or not there.
    """
    with suppress(OSError):  # it is reset where the launcher had not read to its end
        while stream.recv(1):
            pass
    os._exit(1)

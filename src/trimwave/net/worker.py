"""The warm worker of a device: has model and rows loaded, answers over a local socket.

Flower starts a new process for every message; loading torch, the model and the rows in
each would take longer than a round. So that process only hands the letter on to here.
"""

import json
import os
import socket
import sys
import warnings
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from trimwave.base.signals import stop_alike
from trimwave.net.device import Device
from trimwave.net.letter import receive_letter, send_letter
from trimwave.net.settings import Settings

BACKLOG = 8


def argv_of(path: Path, settings: Settings) -> list[str]:
    """Return the command that starts a worker which listens at a path."""
    told = json.dumps(asdict(settings), default=str)
    return [sys.executable, "-m", "trimwave.net.worker", str(path), told]


def main(path: str, told: str) -> None:
    """Answer letters, one after another, until this process is stopped."""
    stop_alike()
    plain = json.loads(told)
    settings = Settings(**{**plain, "cache": Path(plain["cache"])})
    warnings.showwarning = lambda message, *_, **__: print(
        f"warning: {message}", flush=True
    )
    device = Device(settings, say=lambda line: print(line, flush=True))
    with suppress(FileNotFoundError):
        os.unlink(path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(BACKLOG)
        while True:
            stream, _ = listening.accept()
            with stream, suppress(OSError, ValueError):
                # Who goes away in between asks again, and gets the same answer.
                send_letter(stream, device.answer(receive_letter(stream)))


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(*sys.argv[1:])

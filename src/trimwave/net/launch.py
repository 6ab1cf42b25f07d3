"""A run over a network on one machine: SuperLink, SuperNodes, workers, and the run.

What dies is started again: a worker, a SuperNode, and, with the run resumed from its
newest checkpoint, the SuperLink with the server's process. What cannot go on is told.
"""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trimwave.base.errors import RunError, one_line
from trimwave.net.links.links import LOOPBACK
from trimwave.net.order import Order
from trimwave.net.processes import (
    Processes,
    flower_env,
    scratch_folder,
    wait_for_port,
)

START_S = 120.0
"""Longest that the SuperLink may take to listen."""

SILENCE_S = 120.0
"""Longest from the start of a run to the first word of its process."""

RESTARTS = 5
"""Times that a run is begun anew without a further round."""

APP = """[project]
name = "trimwave-run"
version = "1.0.0"
description = "A run of trimwave"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "trimwave"

[tool.flwr.app.components]
serverapp = "trimwave.net.server_app:app"
clientapp = "trimwave.net.client_app:app"

[tool.flwr.app.config]
order = ""
"""
"""The Flower app of a run: both halves are in this package."""

Told = Callable[[str, Any], None]
"""Told of events by kind: ``record``, ``client``, ``say``, ``warn``, ``plan``."""


@dataclass(frozen=True, kw_only=True)
class Superlink:
    """Where Flower's server is, and how it is started."""

    host: str = LOOPBACK
    port: int
    options: Sequence[str] = ("--insecure",)
    connection: str = "insecure = true"
    """How the command line of Flower reaches it, in TOML."""

    @property
    def address(self) -> str:
        """What it listens on."""
        return f"{self.host}:{self.port}"

    @property
    def dialled(self) -> str:
        """What this machine reaches it by."""
        return LOOPBACK if self.host in ("0.0.0.0", "::") else self.host


@dataclass
class Server:
    """The half that serves: a SuperLink and a run on it."""

    processes: Processes
    superlink: Superlink
    home: Path
    """Flower's own folder, new for each start."""
    on_start: Callable[[], object] = lambda: None
    """Called once the SuperLink listens, before a run is submitted."""

    def start(self) -> None:
        """Start the SuperLink, and wait until it listens."""
        link = self.superlink
        argv = ["flower-superlink", "--host", link.host, "--port", str(link.port)]
        env = flower_env(self.home)
        child = self.processes.start("superlink", [*argv, *link.options], env)
        wait_for_port(child, link.dialled, link.port, START_S)
        self._configure()
        self.on_start()

    def _configure(self) -> None:
        """Write down how Flower's command line reaches the SuperLink."""
        link = self.superlink
        (self.home / "config.toml").write_text(
            '[superlink]\ndefault = "run"\n\n[superlink.run]\n'
            f'address = "{link.dialled}:{link.port}"\n{link.connection}\n'
        )

    def submit(self, order: Path) -> None:
        """Start a run on it.

        Raises
        ------
        RunError
            If Flower does not take it: in its words.
        """
        app = self.home / "app"
        app.mkdir(parents=True, exist_ok=True)
        (app / "pyproject.toml").write_text(APP)
        argv = ["flwr", "run", str(app), "run", "--run-config", f'order="{order}"']
        done = subprocess.run(
            argv, env=flower_env(self.home), capture_output=True, text=True, check=False
        )
        # Its exit status says nothing: what it prints does.
        if "Successfully started run" not in done.stdout:
            told = one_line(f"{done.stdout} {done.stderr}", 400)
            raise RunError(f"Flower did not start the run: {told}")


def serve(
    server: Server, order: Order, told: Told, mend: Callable[[], None] = lambda: None
) -> None:
    """Run to the end, through deaths of the SuperLink and of the server's process.

    Parameters
    ----------
    server : Server
        Not started.
    order : Order
        What is to be run.
    told : callable
        Told of events.
    mend : callable
        Called now and then, to start again what ended elsewhere.

    Raises
    ------
    RunError
        If the run ends in an error, or dies over and over.
    """
    progress, tries = 0, 0
    with _listening() as (listener, path):
        while True:
            shutil.rmtree(server.home, ignore_errors=True)
            server.home.mkdir(parents=True)
            server.start()
            file = server.home / "order.json"
            replace(order, events=str(path)).write(file)
            server.submit(file)
            end, records = _heard(listener, server, told, mend)
            if end is not None:
                if "error" in end:
                    raise RunError(str(end["error"]))
                return
            tries = 1 if records > progress else tries + 1
            progress = max(progress, records)
            link = server.processes.children["superlink"]
            if tries > RESTARTS:
                raise RunError(
                    f"the server's process died {RESTARTS} times without a further "
                    f"round: {link.last_words()} (see {link.log})"
                )
            told("say", "the server's process died; it goes on from its checkpoint")


@contextmanager
def _listening() -> Iterator[tuple[socket.socket, Path]]:
    with scratch_folder() as folder, socket.socket(socket.AF_UNIX) as listener:
        path = folder / "events.sock"
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(1.0)
        yield listener, path


def _heard(
    listener: socket.socket, server: Server, told: Told, mend: Callable[[], None]
) -> tuple[Mapping[str, Any] | None, int]:
    """Pass events on until the run ends; how it did, None if it died, and records."""
    stream = _accepted(listener, server, mend)
    records = 0
    if stream is None:
        return None, records
    with stream:
        for line in _lines(stream, server, mend):
            ((kind, value),) = json.loads(line).items()
            if kind == "end":
                return value, records
            records += kind == "record"
            told(kind, value)
    return None, records


def _accepted(
    listener: socket.socket, server: Server, mend: Callable[[], None]
) -> socket.socket | None:
    ends_s = time.monotonic() + SILENCE_S
    while time.monotonic() < ends_s:
        with suppress(TimeoutError):
            stream, _ = listener.accept()
            stream.settimeout(1.0)
            return stream
        mend()
        if not server.processes.is_running("superlink"):
            break
    return None


def _lines(
    stream: socket.socket, server: Server, mend: Callable[[], None]
) -> Iterator[bytes]:
    """Yield lines until the other end is gone, or the SuperLink is."""
    rest = b""
    while True:
        try:
            data = stream.recv(1 << 16)
        except TimeoutError:
            mend()
            if not server.processes.is_running("superlink"):
                return
            continue
        except OSError:
            return
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from lines

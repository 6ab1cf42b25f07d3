"""Links as relays in this process: every connection of a client goes through one.

A relay passes on what comes, no faster than the client's rate in that direction; all
connections of a client share it, as they share a radio. Payload is what is counted:
the headers of TCP and IP come on top of it in the kernel's links alone.
"""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from trimwave.net.links.links import LOOPBACK, Counts, Ports, Reach
from trimwave.net.links.pace import Pace

AHEAD_BYTES = 64 << 10
"""What the system may take from a sender before it has passed: a short queue."""

STOP_S = 5.0


@dataclass
class _Way:
    """One direction of one client's link."""

    pace: Pace = field(default_factory=Pace)
    passed_bytes: int = 0

    async def pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        """Pass on what comes until the source ends, then tell the sink."""
        while data := await source.read(self.pace.piece_bytes):
            await self.pace.take(len(data))
            sink.write(data)
            await sink.drain()
            self.passed_bytes += len(data)
        sink.write_eof()


@dataclass
class _Client:
    """One client's link."""

    down: _Way = field(default_factory=_Way)
    up: _Way = field(default_factory=_Way)
    ports: dict[int, int] = field(default_factory=dict)
    """A port of the server's to that of its relay."""


class RelayLinks:
    """Relays in a thread of this process.

    Parameters
    ----------
    ports : Ports
        Where the server listens, on this machine.
    num_clients : int
        K.
    """

    kind = "relay"
    host = LOOPBACK

    def __init__(self, ports: Ports, num_clients: int) -> None:
        self.ports = ports
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients = [_Client() for _ in range(num_clients)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="links", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        try:
            self._call(self._listen())
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_S)

    def reach(self, client: int) -> Reach:
        """Return how a client reaches the server: by relays of its own."""
        of = self._clients[client].ports
        own = Ports(control=of[self.ports.control], blobs=of[self.ports.blobs])
        return Reach(host=LOOPBACK, ports=own)

    def set_rates(self, client: int, down_bps: float, up_bps: float) -> None:
        """Hold a client's two directions to rates [bit/s]; inf = no limit."""
        one = self._clients[client]
        for way, rate_bps in ((one.down, down_bps), (one.up, up_bps)):
            way.pace.rate_bps = rate_bps if rate_bps < float("inf") else None

    def counts(self) -> Counts:
        """Return the payload that has passed so far."""
        return [(one.down.passed_bytes, one.up.passed_bytes) for one in self._clients]

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _call(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result()

    async def _listen(self) -> None:
        for one in self._clients:
            for port in (self.ports.control, self.ports.blobs):
                listener = _listener()
                self._listeners.append(listener)
                one.ports[port] = listener.getsockname()[1]
                self._loop.add_reader(listener, self._accept, listener, one, port)

    def _accept(self, listener: socket.socket, client: _Client, port: int) -> None:
        """Take a connection and relay it, in one step: none is lost between."""
        with suppress(OSError):
            accepted, _ = listener.accept()
            task = self._loop.create_task(_relay(accepted, client, port))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            task.add_done_callback(lambda done: accepted.close())

    async def _close(self) -> None:
        """Listen no more, and break off what is relayed."""
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what was closed is gone after the loop's next turn


async def _relay(accepted: socket.socket, client: _Client, port: int) -> None:
    """Relay one connection to its end; none where the server is away."""
    with suppress(OSError):
        reader, writer = await asyncio.open_connection(sock=accepted)
        async with _closing(writer):
            theirs, ours = await asyncio.open_connection(LOOPBACK, port)
            async with _closing(ours):
                up = client.up.pass_on(reader, ours)
                await _both(up, client.down.pass_on(theirs, writer))


@asynccontextmanager
async def _closing(writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    """Send all that was written and close; where this is broken off, at once."""
    try:
        yield
        writer.close()
        await writer.wait_closed()
    finally:
        writer.transport.abort()


async def _both(*ways: Coroutine[Any, Any, None]) -> None:
    """Run both directions; what breaks one ends the other."""
    with suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            for way in ways:
                group.create_task(way)


def _listener() -> socket.socket:
    listener = socket.create_server((LOOPBACK, 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, AHEAD_BYTES)
    listener.setblocking(False)
    return listener

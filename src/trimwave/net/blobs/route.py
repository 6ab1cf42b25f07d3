"""The file route: a thread that serves the blobs of a folder over HTTP or HTTPS."""

import asyncio
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from trimwave.base.errors import InputError, RunError
from trimwave.net.blobs.app import BlobApp
from trimwave.net.blobs.grants import Grants

STOP_S = 10.0
"""Longest that stopping may take."""

LINGER_S = 0.05
"""For connections that were broken off to be closed."""


class BlobServer:
    """Serves ``<url>/blobs/<digest>`` to nodes that were granted it; once.

    Parameters
    ----------
    folder : Path
        Of the blobs, named by their digests.
    host : str
        Address to listen on.
    port : int
        0 = one that is free.
    tls : pair of str, optional
        Certificate and key, PEM files; None = no TLS.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str,
        port: int = 0,
        tls: tuple[str, str] | None = None,
    ) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._grants = Grants()
        self._app = BlobApp(Path(folder), self._grants)
        self._server: uvicorn.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Listen, and serve until `stop`.

        Raises
        ------
        InputError
            If certificate or key cannot be used.
        RunError
            If the address cannot be listened on.
        """
        self._server = uvicorn.Server(self._config())
        listener = self._listener()
        self._thread = threading.Thread(
            target=self._run, args=(listener,), name="blobs", daemon=True
        )
        try:
            self._thread.start()
            while not self._server.started and self._thread.is_alive():
                time.sleep(0.002)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Break off what is being sent, and close; a second time does nothing."""
        if self._thread is None:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._break_off)
        self._thread.join(STOP_S)
        self._thread = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without ``/blobs``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http{'s' if self._tls else ''}://{host}:{self._port}"

    def grant(self, node: str) -> str:
        """Return a new token for a node; the one it had is void."""
        return self._grants.grant(node)

    def revoke(self, node: str) -> None:
        """Let a node fetch no more; what it is being sent is broken off."""
        self._grants.revoke(node)

    def set_pace(self, node: str, rate_bps: float | None) -> None:
        """Set what a node's transfers together are held to, at once [bit/s].

        Parameters
        ----------
        node : str
            Its name.
        rate_bps : float, optional
            None or infinite = as fast as it goes.

        Raises
        ------
        InputError
            If it is not positive.
        """
        self._grants.set_pace(node, rate_bps)

    def sent(self, node: str) -> int:
        """Return the bytes of blobs that a node was sent so far."""
        return self._grants.sent_bytes(node)

    def _config(self) -> uvicorn.Config:
        certificate, key = self._tls or (None, None)
        config = uvicorn.Config(
            self._app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        try:
            config.load()
        except OSError as error:  # ssl.SSLError is one
            raise InputError(
                f"certificate {certificate} with key {key} cannot be used: "
                f"{error.strerror or error}; name PEM files that belong together."
            ) from None
        return config

    def _listener(self) -> socket.socket:
        """Bind, so that the port is known before anything is served."""
        try:
            found = socket.getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            listener = socket.create_server(found[0][4][:2], family=found[0][0])
        except OSError as error:
            raise RunError(
                f"cannot listen on {self._host}:{self._port} for blobs: "
                f"{error.strerror or error}; choose another address or port."
            ) from None
        self._port = listener.getsockname()[1]
        return listener

    def _run(self, listener: socket.socket) -> None:
        with listener:
            asyncio.run(self._serve(listener))

    async def _serve(self, listener: socket.socket) -> None:
        assert self._server is not None
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[listener])
        self._break_off()  # who came in between
        await asyncio.sleep(LINGER_S)

    def _break_off(self) -> None:
        assert self._server is not None
        self._server.should_exit = self._server.force_exit = True
        for connection in [*self._server.server_state.connections]:
            if connection.transport is not None:
                connection.transport.abort()

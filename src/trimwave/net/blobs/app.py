"""The file route as an ASGI app: GET and HEAD of one blob, or of the rest of it.

And POST of bytes that nobody keeps, for a device to measure its uplink.
"""

import asyncio
import os
import re
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from trimwave.net.blobs.grants import Grants, Node

PATH = re.compile(rb"/blobs/([0-9a-f]{64})")
"""All that is served, as it stands in the request: nothing is decoded."""

PROBE = b"/blobs/probe"
"""Where bytes may be sent to, to see how long they take."""

MOST_PROBE_BYTES = 4 << 20

RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")


CLOSE = {"Connection": "close"}
"""The rest of what comes is not read."""


class CutError(Exception):
    """A transfer that cannot go on; the connection is closed."""


class BlobApp:
    """Answers requests for the blobs of a folder."""

    def __init__(self, folder: Path, grants: Grants) -> None:
        self._folder, self._grants = folder, grants

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope.get("raw_path") == PROBE:
            await self._probe(scope, receive, send)
            return
        answer = self._refusal(scope)
        if isinstance(answer, Response):
            await answer(scope, receive, send)
            return
        node, digest = answer
        file = _opened(self._folder / digest)
        if file is None:
            await _status(404)(scope, receive, send)
            return
        try:
            await _answer(file, node, scope, receive, send)
        finally:
            os.close(file)

    def _refusal(self, scope: Scope) -> Response | tuple[Node, str]:
        """Return why a request is refused, or who asks for what."""
        path = PATH.fullmatch(scope.get("raw_path") or b"")
        if path is None:
            return _status(404)
        if scope["method"] not in ("GET", "HEAD"):
            return _status(405, {"Allow": "GET, HEAD", **CLOSE})
        node = self._holder(scope)
        return node if isinstance(node, Response) else (node, path[1].decode())

    def _holder(self, scope: Scope) -> Response | Node:
        """Return who asks, or why there is no answer."""
        said = Headers(scope=scope).get("authorization", "")
        kind, _, token = said.partition(" ")
        if kind.lower() != "bearer" or not token:
            return _status(401, {"WWW-Authenticate": "Bearer"})
        node = self._grants.holder(token.strip().encode("latin-1"))
        return _status(403) if node is None else node

    async def _probe(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take bytes in and forget them."""
        answer: Response | Node = _status(405, {"Allow": "POST", **CLOSE})
        if scope["method"] == "POST":
            answer = self._holder(scope)
        if not isinstance(answer, Response):
            answer, came = _status(204), 0
            while (message := await receive())["type"] == "http.request":
                came += len(message.get("body", b""))
                if came > MOST_PROBE_BYTES:
                    answer = _status(413, CLOSE)
                if came > MOST_PROBE_BYTES or not message.get("more_body"):
                    break
        await answer(scope, receive, send)


def _status(code: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(status_code=code, headers=headers)


def _opened(path: Path) -> int | None:
    """Open a regular file, through no link and without waiting for a pipe."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        return None
    return file


def _span(text: str | None, size: int) -> tuple[int, int] | None:
    """Return where to begin and end; None if that cannot be served."""
    if text is None:
        return 0, size
    found = RANGE.fullmatch(text)
    if found is None:
        return None
    start = int(found[1])
    end = min(int(found[2]) + 1, size) if found[2] else size
    return (start, end) if start < end else None


async def _answer(
    file: int, node: Node, scope: Scope, receive: Receive, send: Send
) -> None:
    size = os.fstat(file).st_size
    wanted = Headers(scope=scope).get("range")
    span = _span(wanted, size)
    if span is None:
        refused = _status(416, {"Content-Range": f"bytes */{size}"})
        await refused(scope, receive, send)
        return
    start, end = span
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(end - start),
        "Accept-Ranges": "bytes",
    }
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    await send(
        {
            "type": "http.response.start",
            "status": 200 if wanted is None else 206,
            "headers": [
                (name.lower().encode(), value.encode())
                for name, value in headers.items()
            ],
        }
    )
    if scope["method"] == "GET":
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await _send_span(file, span, node, gone, send)
        finally:
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_span(
    file: int, span: tuple[int, int], node: Node, gone: asyncio.Task[None], send: Send
) -> None:
    """Send from the disk, piece by piece, each once the one before has gone out."""
    at, end = span
    while at < end:
        piece = min(node.pace.piece_bytes, end - at)
        await node.pace.take(piece)
        data = await asyncio.to_thread(os.pread, file, piece, at)
        if not data or node.token is None or gone.done():
            raise CutError
        await send({"type": "http.response.body", "body": data, "more_body": True})
        at += len(data)
        node.sent_bytes += len(data)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

"""Servers for the tests of blobs: ours, and ones that misbehave."""

import hashlib
import socket
import threading
from contextlib import contextmanager

from trimwave.net.blobs.route import BlobServer
from trimwave.net.blobs.store import BlobStore

DATA = hashlib.shake_256(b"weights").digest(300_000)
DIGEST = hashlib.sha256(DATA).hexdigest()


@contextmanager
def route(folder, data=DATA, **options):
    """Serve one blob; yields the server and a token of node "a"."""
    BlobStore(folder).put(data)
    with BlobServer(folder, host="127.0.0.1", **options) as server:
        yield server, server.grant("a")


@contextmanager
def answering(*answers):
    """Answer one connection after another, each by a function of the request.

    Yields the base URL and the list of requests; the last answer is given to all
    further ones.
    """
    requests = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    if not (data := connection.recv(1 << 16)):
                        break
                    request += data
                requests.append(request.decode())
                answer = answers[min(len(requests), len(answers)) - 1]
                try:
                    connection.sendall(answer(request.decode()))
                except OSError:  # the client had enough
                    pass

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/blobs", requests
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


def reply(body=DATA, *, told=None, status="200 OK", cut=None, headers=""):
    """Return an answer of any body, that tells any length, cut after some bytes."""
    length = len(body) if told is None else told
    head = f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n"
    return lambda request: head.encode() + body[:cut]


def ranged(body=DATA, *, cut=None):
    """Return an answer that obeys a range, cut after some bytes."""

    def answer(request):
        start = 0
        for line in request.splitlines():
            if line.lower().startswith("range: bytes="):
                start = int(line.partition("=")[2].rstrip("-"))
        end = len(body)
        head = f"Content-Range: bytes {start}-{end - 1}/{end}\r\n" if start else ""
        status = "206 Partial Content" if start else "200 OK"
        return reply(body[start:], status=status, headers=head, cut=cut)(request)

    return answer

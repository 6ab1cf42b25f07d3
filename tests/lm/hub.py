"""A stand-in of the Hugging Face hub over HTTP, on this machine, from memory.

It answers what huggingface_hub and datasets ask to list and fetch a repository. What a
repository does beside that is set by attributes of `Repository`.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Repository:
    """A model or a data set with its commits."""

    files: dict[str, dict[str, bytes]]
    """Content by path, by commit; the last commit is `main`."""
    tags: dict[str, str] = field(default_factory=dict)
    """Commit by branch or tag."""
    is_gated: bool = False
    """Whether everything but the list of files needs a token."""
    breaks_after: int | None = None
    """Bytes of a file after which the connection is broken off."""

    def commit_of(self, revision: str) -> str | None:
        """Return the commit that a revision means."""
        named = {"main": list(self.files)[-1], **self.tags}
        found = named.get(revision, revision)
        return found if found in self.files else None


@dataclass
class Hub:
    """What is on the hub."""

    models: dict[str, Repository] = field(default_factory=dict)
    datasets: dict[str, Repository] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    """Method and path of every request."""
    url: str = ""
    """What HF_ENDPOINT is to be."""


def commit(letter: str) -> str:
    """Return what looks like a commit."""
    return letter * 40


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Serve a hub on a free port of this machine."""

    class Handler(_Handler):
        the_hub = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    the_hub: Hub

    def log_message(self, *_: Any) -> None:
        """Keep the terminal clean."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path).strip("/")
        self.the_hub.asked.append(f"{self.command} {path}")
        words = path.split("/")
        if words[0] == "api" and words[1:2] and words[1] in ("models", "datasets"):
            kind, name, rest = words[1], "/".join(words[2:4]), words[4:]
            self._api(kind, name, rest)
            return
        kind = "models"
        if words[0] == "datasets":
            kind, words = "datasets", words[1:]
        name, rest = "/".join(words[:2]), words[2:]
        if rest[:1] == ["resolve"]:
            self._file(kind, name, rest[1], "/".join(rest[2:]), body)
        else:
            self._refuse(404, "EntryNotFound")

    def _repository(self, kind: str, name: str) -> Repository | None:
        found: Repository | None = getattr(self.the_hub, kind).get(name)
        if found is None:
            self._refuse(401, "RepoNotFound", "Invalid username or password.")
        return found

    def _api(self, kind: str, name: str, rest: list[str]) -> None:
        if (found := self._repository(kind, name)) is None:
            return
        what = rest[0] if rest else "revision"
        if what == "auth-check":
            if found.is_gated and not self.headers.get("Authorization"):
                self._refuse(401, "GatedRepo", f"Access to {name} is restricted.")
            else:
                self._json({})
            return
        revision = rest[1] if len(rest) > 1 else "main"
        sha = found.commit_of(revision)
        if sha is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        files = found.files[sha]
        if what == "revision":
            self._json(
                {
                    "id": name,
                    "sha": sha,
                    "gated": "auto" if found.is_gated else False,
                    "private": False,
                    "tags": [],
                    "siblings": [{"rfilename": path} for path in files],
                }
            )
        elif what == "tree":
            under = "/".join(rest[2:])
            self._json([_entry(path, files[path]) for path in _within(files, under)])
        elif what == "paths-info":
            length = int(self.headers.get("Content-Length", 0))
            asked = _asked_paths(self.rfile.read(length))
            self._json([_entry(path, files[path]) for path in asked if path in files])
        else:
            self._refuse(404, "EntryNotFound")

    def _file(self, kind: str, name: str, revision: str, path: str, body: bool) -> None:
        if (found := self._repository(kind, name)) is None:
            return
        if found.is_gated and not self.headers.get("Authorization"):
            self._refuse(401, "GatedRepo", f"Access to {name} is restricted.")
            return
        sha = found.commit_of(revision)
        if sha is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        content = found.files[sha].get(path)
        if content is None:
            self._refuse(404, "EntryNotFound", commit=sha)
            return
        start = 0
        if asked := self.headers.get("Range"):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if start else 200)
        self.send_header("X-Repo-Commit", sha)
        self.send_header("ETag", f'"{_digest(content)}"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", span)
        self.end_headers()
        if body:
            stop = len(content)
            if found.breaks_after is not None:
                stop = min(stop, start + found.breaks_after)
            self.wfile.write(content[start:stop])
            self.close_connection = True

    def _json(self, value: object) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(
        self, status: int, code: str, message: str = "", commit: str = ""
    ) -> None:
        content = json.dumps({"error": message or code}).encode()
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message or code)
        if commit:
            self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _within(files: dict[str, bytes], under: str) -> list[str]:
    return [path for path in files if not under or path.startswith(f"{under}/")]


def _asked_paths(content: bytes) -> list[str]:
    try:
        found = json.loads(content)["paths"]
    except ValueError:
        from urllib.parse import parse_qs

        found = parse_qs(content.decode())["paths"]
    return list(found) if isinstance(found, list) else [found]


def _entry(path: str, content: bytes) -> dict[str, Any]:
    oid = _digest(content)
    return {"type": "file", "path": path, "size": len(content), "oid": oid}


def _digest(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()

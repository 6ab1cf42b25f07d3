"""Where a device reads a blob from: a file route, or a place of fsspec's."""

import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import httpx

from trimwave.base.errors import InputError, one_line
from trimwave.net.blobs.store import opened_url

CHUNK_BYTES = 64 << 10

AGAIN = (408, 425, 429, 500, 502, 503, 504)
"""Answers that may be others soon."""

START = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)")


class CutError(Exception):
    """A source broke off, or did not answer; another try may succeed."""


class RefusedError(Exception):
    """A source that does not give the blob, however often it is asked."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A base URL, below which blobs lie under their digests."""

    base: str
    token: str | None = None
    """What the server granted; for its own route alone."""
    verify: str | bool = True
    """What its certificate is checked with: a PEM file; True = those of the system."""
    timeout_s: float
    """Longest without a byte [s]."""

    @property
    def name(self) -> str:
        """For errors: without what may be secret."""
        scheme, _, rest = self.base.partition("://")
        return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"

    def chunks(self, digest: str, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield a blob's bytes, each chunk with where it belongs.

        Parameters
        ----------
        digest : str
            The blob.
        offset : int
            Where to begin; a source that cannot begins at 0.

        Raises
        ------
        CutError
            If asking again may help.
        RefusedError
            If it does not.
        """
        if self.base.startswith(("http://", "https://")):
            return self._over_http(digest, offset)
        return self._from_fsspec(digest, offset)

    def post(self, name: str, data: bytes) -> None:
        """Send bytes to a server's own route.

        Raises
        ------
        CutError
            If they do not get there.
        """
        try:
            with self._client() as client:
                answer = client.post(f"{self.base.rstrip('/')}/{name}", content=data)
                answer.raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise CutError(one_line(error) or type(error).__name__) from None

    def _over_http(self, digest: str, offset: int) -> Iterator[tuple[int, bytes]]:
        try:
            with ExitStack() as stack:
                client = stack.enter_context(self._client())
                asked = client.stream(
                    "GET", f"{self.base.rstrip('/')}/{digest}", headers=_from(offset)
                )
                answer = stack.enter_context(asked)
                if answer.status_code != 416 or not offset:
                    at = _start(answer, offset)
                    for chunk in answer.iter_raw():  # as it comes: a cut loses nothing
                        yield at, chunk
                        at += len(chunk)
                    return
        except httpx.TransportError as error:
            if isinstance(error, httpx.UnsupportedProtocol) or _untrusted(error):
                raise RefusedError(one_line(error)) from None
            raise CutError(one_line(error) or type(error).__name__) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RefusedError(one_line(error)) from None
        yield from self._over_http(digest, 0)  # what it has ends before `offset`

    def _client(self) -> httpx.Client:
        """Return a client that takes the token to the route, and nowhere else.

        A mirror is reached as the system says, by its proxies and redirects; the
        server, as it said itself.
        """
        token = self.token
        return httpx.Client(
            headers={"Authorization": f"Bearer {token}"} if token else None,
            verify=self._trust(),
            trust_env=token is None,
            follow_redirects=token is None,
            timeout=self.timeout_s,
        )

    def _trust(self) -> ssl.SSLContext:
        """Return what certificates are checked with; a mirror may have either's."""
        if isinstance(self.verify, str):
            try:
                context = ssl.create_default_context(cafile=self.verify)
            except OSError as error:  # ssl.SSLError is one
                raise InputError(
                    f"certificate {self.verify} cannot be used: "
                    f"{error.strerror or error}; name the PEM file of the server's "
                    "certificate authority."
                ) from None
            if self.token is None:
                context.load_default_certs()
            return context
        if self.base.startswith("https:"):
            return ssl.create_default_context()
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody, and loads fast

    def _from_fsspec(self, digest: str, offset: int) -> Iterator[tuple[int, bytes]]:
        try:
            fs, root = opened_url(self.base)
            with fs.open(f"{root}/{digest}", "rb") as file:
                file.seek(offset)
                while chunk := file.read(CHUNK_BYTES):
                    yield offset, chunk
                    offset += len(chunk)
        except InputError as error:
            raise RefusedError(str(error)) from None
        except (FileNotFoundError, PermissionError) as error:
            raise RefusedError(error.strerror or type(error).__name__) from None
        except Exception as error:  # any library's
            raise CutError(one_line(error) or type(error).__name__) from None


def _from(offset: int) -> dict[str, str]:
    headers = {"Accept-Encoding": "identity"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    return headers


def _start(answer: httpx.Response, offset: int) -> int:
    """Return where an answer begins in the blob."""
    status = answer.status_code
    if status in AGAIN:
        raise CutError(f"HTTP status {status}")
    if status not in (200, 206):
        why = " (the token is not valid there)" if status in (401, 403) else ""
        raise RefusedError(f"HTTP status {status}{why}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise RefusedError("it sends another encoding than was asked for")
    if status == 200:
        return 0
    found = START.fullmatch(answer.headers.get("content-range", ""))
    if found is None or int(found[1]) != offset:
        raise RefusedError("it sends another range than was asked for")
    return offset


def _untrusted(error: BaseException) -> bool:
    """Whether a certificate was refused."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False

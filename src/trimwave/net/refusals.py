"""Why a client cannot join, in a line: by Flower's log, or a look at the server."""

import re
import socket
import ssl
from pathlib import Path

from trimwave.base.errors import one_line

LOOK_S = 10.0
"""Longest that a look at the server may take [s]."""

NO_TLS_HERE = (
    "the server speaks TLS and this client does not; join with the server's ca.pem and "
    "this client's key"
)
NO_TLS_THERE = (
    "the server does not speak TLS and this client does; start it with `--keys`, or "
    "look whether the port is another program's"
)
OTHER_CA = (
    "the server's certificate is not signed by the ca.pem here; copy the ca.pem of the "
    "server's folder of keys again, and if it is the same, somebody else answers there"
)
OTHER_HOST = (
    "the server's certificate does not cover {host}; join by a name that it covers, or "
    "run `trimwave keys server {host}` there"
)
EXPIRED = (
    "the server's certificate is not valid now: it has ended, or the clock of this "
    "device is wrong"
)
UNKNOWN_KEY = (
    "the server does not know this client's key; put NAME.pub into clients/ of its "
    "folder of keys and start it again"
)
STILL_ONLINE = (
    "this client counts as online from before; the server forgets a killed one after "
    "about a minute: retry"
)
REFUSED_KEY = (
    "the server does not take this client's key: it still counts as online, for about "
    "a minute after it was killed (retry), or its NAME.pub is not in clients/ of the "
    "server's folder of keys"
)
NO_KEY = "the server wants a key of each client; join with this client's key"
CLOCK = (
    "the server does not accept this client's signature; look whether both clocks are "
    "right: this one may be 5 s ahead of the server's, or 5 minutes behind"
)
BAD_KEY = "the client's private key cannot be read; `trimwave keys client` makes one"
NO_NAME = "the server's name is not known here; check its spelling and the network"
NOBODY = "nobody listens at the server's address; start the server, check the port"
NO_WAY = "no way to the server's address; check the network and its firewall"

SIGNS = (
    (r"No SuperNode found with the given public key", UNKNOWN_KEY),
    (r"SuperNode with node ID \d+ could not be activated", STILL_ONLINE),
    (r"code: 2004\]", REFUSED_KEY),
    (r"code: 2001\]", NO_KEY),
    (r"401 Unauthorized", CLOCK),
    (r"Exit Code: 303\b", NO_TLS_HERE),
    (r"Exit Code: 302\b", BAD_KEY),
    (r"Server disconnected without sending a response", NO_TLS_HERE),
    (r"certificate is not valid for '(?P<host>[^']+)'", OTHER_HOST),
    (r"certificate has expired|certificate is not yet valid", EXPIRED),
    (r"CERTIFICATE_VERIFY_FAILED", OTHER_CA),
    (r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|UNKNOWN_PROTOCOL", NO_TLS_THERE),
    (r"Name or service not known|No address associated|name resolution", NO_NAME),
    (r"Connection refused", NOBODY),
    (r"No route to host|Network is unreachable|timed out", NO_WAY),
)
"""Words of Flower 1.42 and OpenSSL, and what they mean; the first that fits counts.

To a client Flower says the same, 2004, of an unknown key and of one that is still
online; the SuperLink's log tells which.
"""


def why_refused(log_text: str) -> str | None:
    """Return in a line why a SuperNode was not let in; None if its log does not tell.

    Parameters
    ----------
    log_text : str
        What the SuperNode wrote since its start; the SuperLink's log does too.
    """
    for sign, meaning in SIGNS:
        if found := re.search(sign, log_text, re.IGNORECASE):
            return meaning.format_map(found.groupdict())
    return None


def why_unreachable(host: str, port: int, ca: Path | None) -> str | None:
    """Look at a server as a client would; in a line why it will not do, else None.

    A SuperNode that finds no TLS, or nobody, tries for ever and does not say why.

    Parameters
    ----------
    host, port : str, int
        Where the server listens.
    ca : Path or None
        The certificate of its CA; None for a server without TLS.
    """
    try:
        with socket.create_connection((host, port), LOOK_S) as plain:
            if ca is None:
                return _why_not_plain(plain)
            context = ssl.create_default_context(cafile=str(ca))
            with context.wrap_socket(plain, server_hostname=host):
                return None
    except (OSError, ValueError) as error:
        return why_refused(str(error)) or one_line(error)


def _why_not_plain(plain: socket.socket) -> str | None:
    """Say a line of HTTP: a server of TLS answers with an alert, or not at all."""
    try:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        said = plain.recv(5)
    except ConnectionError:
        said = b""
    return None if said == b"HTTP/" else NO_TLS_HERE

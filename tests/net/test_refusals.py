"""Why a client cannot join: from words of Flower, and by a look at a server."""

import socket
import ssl
import threading

import pytest

pytest.importorskip("cryptography", reason="needs the extra flower")

from trimwave.net import refusals
from trimwave.net.keys import make_ca, make_server_certificate
from trimwave.net.refusals import why_refused, why_unreachable

FAILED = "Exit Code: 305\nFailed to initialize the connection to the SuperLink.\n"
"""How a SuperNode of flwr 1.42 begins to say why; the rest was copied from its logs."""

SAID = {
    "Server disconnected without sending a response.": refusals.NO_TLS_HERE,
    "[code: 2004] Failed to activate SuperNode.": refusals.REFUSED_KEY,
    "[code: 2001] SuperNode authentication is enabled. All SuperNodes must be "
    "registered via the CLI.": refusals.NO_KEY,
    "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local "
    "issuer certificate (_ssl.c:1006)": refusals.OTHER_CA,
    "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: IP address mismatch, "
    "certificate is not valid for '127.0.0.2'. (_ssl.c:1006)": (
        refusals.OTHER_HOST.format(host="127.0.0.2")
    ),
    "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has "
    "expired (_ssl.c:1006)": refusals.EXPIRED,
    "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)": (
        refusals.NO_TLS_THERE
    ),
    "Client error '401 Unauthorized' for url 'https://x/v1/fleet/activate-node'": (
        refusals.CLOCK
    ),
    "[Errno -2] Name or service not known": refusals.NO_NAME,
    "[Errno 111] Connection refused": refusals.NOBODY,
    "[Errno 113] No route to host": refusals.NO_WAY,
}


@pytest.mark.parametrize("said", SAID)
def test_a_supernodes_log(said):
    assert why_refused(f"Starting Flower SuperNode\n{FAILED}{said}\n") == SAID[said]


def test_a_superlinks_log_tells_two_of_them_apart():
    where = "[/v1/fleet/activate-node][ApiError:2004] ... exception: "
    unknown = "No SuperNode found with the given public key."
    online = "SuperNode with node ID 775339127046498393 could not be activated."
    assert why_refused(where + unknown) == refusals.UNKNOWN_KEY
    assert why_refused(where + online) == refusals.STILL_ONLINE


@pytest.mark.parametrize("log", ["", "SuperNode ID: 7753", "INFO: startup complete."])
def test_a_log_without_a_refusal(log):
    assert why_refused(log) is None


class Listener(threading.Thread):
    """A server on loopback that answers one caller, with TLS or plainly."""

    def __init__(self, keys=None):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.context = None
        if keys is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(keys / "server.pem", keys / "server.key")
        self.start()

    def run(self):
        stream, _ = self.listener.accept()
        with self.listener, stream:
            stream.settimeout(10)
            try:
                if self.context is None:
                    stream.recv(100)
                    stream.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")
                else:
                    self.context.wrap_socket(stream, server_side=True).close()
            except OSError:
                pass


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    make_ca(folder)
    make_server_certificate(folder, ["fl.example.org"])
    return folder


def look(to, ca):
    said = why_unreachable("127.0.0.1", to.port, ca)
    to.join(10)
    assert not to.is_alive()
    return said


def test_a_look_at_a_server(keys, tmp_path):
    ca = keys / "ca.pem"
    assert look(Listener(keys), ca) is None
    assert look(Listener(), None) is None
    assert look(Listener(keys), None) == refusals.NO_TLS_HERE
    assert look(Listener(), ca) == refusals.NO_TLS_THERE
    assert look(Listener(keys), make_ca(tmp_path)) == refusals.OTHER_CA
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert why_unreachable("127.0.0.1", port, ca) == refusals.NOBODY

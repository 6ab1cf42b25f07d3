"""The two halves of a run on several machines: `trimwave serve`, `trimwave join`."""

import ipaddress
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError
from trimwave.net import BLOB_PORT, PORT
from trimwave.net.credentials import Credentials, check_client
from trimwave.net.host import FOLDER
from trimwave.net.launch import Server, Superlink, Told, serve
from trimwave.net.nodes import Node
from trimwave.net.order import Order
from trimwave.net.processes import Processes, require_free_port, scratch_folder
from trimwave.net.refusals import why_refused, why_unreachable
from trimwave.net.register import register_clients
from trimwave.net.settings import Settings

WAIT_S = (2.0, 30.0)
"""Between two starts of a SuperNode that ended: at first, and at the most."""

MEND_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Where a server is reached, and by whom."""

    host: str = "127.0.0.1"
    """What it listens on."""
    port: int = PORT
    blob_port: int = BLOB_PORT
    credentials: Credentials | None = None
    """Certificates and keys; None = no TLS."""

    @classmethod
    def checked(
        cls, host: str, port: int, blob_port: int, keys: Path | None, insecure: bool
    ) -> "Listening":
        """Return what a user asked for.

        Raises
        ------
        InputError
            If it is not safe and not said to be meant so, or the keys cannot be used.
        """
        if keys is not None and insecure:
            raise InputError("--keys is for TLS; drop it, or drop --insecure.")
        for option, value in (("--port", port), ("--blob-port", blob_port)):
            if not 0 < value < 1 << 16:
                raise InputError(f"{option} must be in [1, 65535], got {value}.")
        if port == blob_port:
            raise InputError(f"--port and --blob-port are both {port}; change one.")
        what = "name the folder of `trimwave keys` by --keys"
        require_security(host, keys is not None, insecure, what)
        require_free_port(host, port, "--port")
        require_free_port(host, blob_port, "--blob-port")
        found = None if keys is None else Credentials.read(keys, host)
        return cls(host=host, port=port, blob_port=blob_port, credentials=found)


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches a host."""
    with suppress(ValueError):
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    return host == "localhost"


def require_security(host: str, has_keys: bool, insecure: bool, what: str) -> None:
    """Refuse to go over a network in the clear, unless that is asked for.

    Raises
    ------
    InputError
        With what to do.
    """
    if has_keys or insecure or is_loopback(host):
        return
    raise InputError(
        f"{host} is not this machine alone: {what}, or say --insecure to send "
        "everything in the clear to whoever asks."
    )


def serve_run(
    folder: Path, config: Mapping[str, Any], listening: Listening, told: Told
) -> None:
    """Serve a run to devices that join, to its end.

    Raises
    ------
    InputError
        If it cannot be started, or ends in an error.
    """
    own = folder.absolute() / FOLDER
    credentials = listening.credentials
    options, connection = ["--insecure"], "insecure = true"
    if credentials is not None:
        options = [
            *("--ssl-ca-certfile", str(credentials.ca)),
            *("--ssl-certfile", str(credentials.certificate)),
            *("--ssl-keyfile", str(credentials.key)),
            "--enable-supernode-auth",
        ]
        connection = f'root-certificates = "{credentials.ca}"'
    with scratch_folder() as scratch, Processes(own / "logs") as processes:
        link = Superlink(
            host=listening.host,
            port=listening.port,
            options=options,
            connection=connection,
        )
        scheme = "http" if credentials is None else "https"
        order = Order(
            folder=str(folder.absolute()),
            config=config,
            host=listening.host,
            port=listening.blob_port,
            route=f"{scheme}://{{host}}:{listening.blob_port}/blobs",
            certificate=str(credentials.certificate) if credentials else "",
            key=str(credentials.key) if credentials else "",
            keyed=credentials is not None,
        )
        server = Server(processes, link, scratch / "superlink")
        if credentials is not None:
            server.on_start = lambda: register_clients(credentials, server.home, "run")
        told("say", f"listening on {link.address}; clients: {_join_line(listening)}")
        serve(server, order, told)
    shutil.rmtree(own / "blobs", ignore_errors=True)


def _join_line(listening: Listening) -> str:
    """Say how a client joins."""
    host = listening.host if is_loopback(listening.host) else "THIS_HOST"
    own = " --key NAME --ca ca.pem" if listening.credentials else ""
    loose = (
        "" if listening.credentials or is_loopback(listening.host) else " --insecure"
    )
    port = "" if listening.port == PORT else f":{listening.port}"
    return f"trimwave join {host}{port} --data FOLDER{own}{loose}"


def join_run(
    address: str,
    settings: Settings,
    key: Path | None,
    say: Callable[[str], None],
) -> None:
    """Be a client of a server, until this process is stopped.

    What ends is started again: the server may be away for a while.

    Parameters
    ----------
    address : str
        Of the server's SuperLink, ``host:port``.
    settings : Settings
        This machine's.
    key : Path, optional
        The private key that the server knows this client by.
    say : callable
        Told what goes on.
    """
    options = ["--insecure"]
    if settings.ca is not None:
        options = ["--root-certificates", settings.ca]
    if key is not None:
        options += ["--auth-supernode-private-key", str(key)]
    ca = None if settings.ca is None else Path(settings.ca)
    if ca is not None and key is not None:
        check_client(ca, key)
    threads = len(os.sched_getaffinity(0))
    with scratch_folder() as scratch, Processes(settings.cache / "logs") as processes:
        node = Node(settings=settings, superlink=address, options=options)
        node.start_worker(processes, scratch, threads)
        _Kept(node, processes, scratch, threads, say).keep_up()


@dataclass
class _Kept:
    """A client's two processes, started again when they end."""

    node: Node
    processes: Processes
    scratch: Path
    threads: int
    say: Callable[[str], None]
    wait_s: float = WAIT_S[0]
    told: str = ""

    def keep_up(self) -> None:
        """Keep both running, for as long as this process is let."""
        node, children = self.node, self.processes.children
        log = children[node.worker].log
        heard = log.stat().st_size
        while True:
            if not self.processes.is_running(node.name):
                self._start_node()
            if not self.processes.is_running(node.worker):
                self.say("the worker ended; it is started again")
                node.start_worker(self.processes, self.scratch, self.threads)
            heard = _echo(log, heard, self.say)
            time.sleep(MEND_S)

    def _start_node(self) -> None:
        """Start the SuperNode, once the server is there; say why it is not, once."""
        node, children = self.node, self.processes.children
        why = self._why_ended() if node.name in children else None
        host, _, port = node.superlink.rpartition(":")
        ca = node.settings.ca
        # A SuperNode that finds nobody, or no TLS, tries for ever without a word.
        why = why_unreachable(host, int(port), Path(ca) if ca else None) or why
        if why is not None:
            if why != self.told:
                self.say(f"{why}; trying again")
            self.told = why
            time.sleep(self.wait_s)
            self.wait_s = min(WAIT_S[1], 2 * self.wait_s)
        else:
            self.wait_s, self.told = WAIT_S[0], ""
        node.start_node(self.processes, self.scratch, self.scratch)

    def _why_ended(self) -> str:
        """Return why the SuperNode ended; its log begins anew."""
        child = self.processes.children[self.node.name]
        words = child.log.read_text(errors="replace")
        why = why_refused(words) or f"the SuperNode ended: {child.last_words()}"
        child.log.write_bytes(b"")
        return why


def _echo(log: Path, heard: int, say: Callable[[str], None]) -> int:
    """Say what was added to a log; how far it was read."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(heard)
        data = file.read()
        *lines, _ = data.split(b"\n")
        for line in lines:
            say(line.decode(errors="replace"))
        return heard + sum(len(line) + 1 for line in lines)
    return heard

"""Links by the kernel: each client a network namespace of its own, shaped by HTB.

The server's namespace has a bridge with one veth per client on it. Downlinks are shaped
where they leave the server, uplinks where they leave the client. Needs Linux, root and
pyroute2. What is shaped are frames: headers of Ethernet, IP and TCP count, about 5 %.
"""

import os
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Self

from trimwave.base.errors import RunError
from trimwave.net.links.links import Counts, Ports, Reach

SUBNET = "10.77"
"""Addresses within the namespaces, which nothing else sees."""

SERVER = f"{SUBNET}.0.1"

PREFIX_BITS = 16

MOST_CLIENTS = 4000

BURST_BYTES = 32 << 10
"""What a class may send at once; as little as its clock allows."""

QUEUE_PACKETS = 100
"""Longest queue before a link: a longer one would hide where a transfer is."""

UNSHAPED_BPS = 100e9
"""In place of no limit."""

NAMESPACES = Path("/var/run/netns")

NAME = "trimwave-"
"""How those of ours begin."""

_RECEIVED, _SENT = 0, 8
"""Columns of /proc/net/dev."""


class KernelLinks:
    """Links between namespaces; this thread is in the server's while they are there.

    Processes that this thread starts are in the server's namespace too; a client's
    commands enter its own by `Reach.prefix`.

    Parameters
    ----------
    ports : Ports
        Where the server listens, in its namespace.
    num_clients : int
        K.
    """

    kind = "kernel"
    host = "0.0.0.0"  # Flower's own processes reach its server by loopback

    def __init__(self, ports: Ports, num_clients: int) -> None:
        if num_clients > MOST_CLIENTS:
            raise RunError(f"at most {MOST_CLIENTS} clients have links in the kernel.")
        self.ports, self._num_clients = ports, num_clients
        self._stack = ExitStack()
        self._server: Any = None
        self._counters: IO[bytes] | None = None
        """Of the server's interfaces; of its namespace, whoever reads it."""
        self._clients: list[Any] = []
        self._indices: list[int] = []
        """Of the server's end of each link."""

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException as error:
            self._stack.close()
            if isinstance(error, OSError) or type(error).__name__ == "NetlinkError":
                raise RunError(f"the kernel does not make the links: {error}") from None
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def reach(self, client: int) -> Reach:
        """Return how a client reaches the server: from a namespace of its own."""
        enter = ("nsenter", f"--net={NAMESPACES / _namespace(client)}")
        return Reach(host=SERVER, ports=self.ports, prefix=enter)

    def set_rates(self, client: int, down_bps: float, up_bps: float) -> None:
        """Hold a client's two directions to rates [bit/s]; inf = no limit."""
        _shape("change-class", self._server, self._indices[client], down_bps)
        own = self._clients[client]
        _shape("change-class", own, _index(own, "eth0"), up_bps)

    def counts(self) -> Counts:
        """Return what has passed so far; the kernel counts one header for many frames.

        Read from the server's end: what it sent went down.
        """
        assert self._counters is not None
        self._counters.seek(0)
        found = {}
        for line in self._counters.read().decode().splitlines()[2:]:
            name, _, numbers = line.partition(":")
            counted = [*map(int, numbers.split())]
            found[name.strip()] = counted[_SENT], counted[_RECEIVED]
        return [found[_link(k)] for k in range(self._num_clients)]

    def _make(self) -> None:
        from pyroute2 import IPRoute, netns

        _remove_left()
        names = [_namespace("server"), *map(_namespace, range(self._num_clients))]
        for name in names:
            netns.create(name)
            self._stack.callback(_remove, name)
        netns.pushns(names[0])
        self._stack.callback(netns.popns)
        counters = Path("/proc/thread-self/net/dev").open("rb", buffering=0)
        self._counters = self._stack.enter_context(counters)
        server = self._server = self._stack.enter_context(IPRoute())
        _up(server, "lo")
        server.link("add", ifname="bridge", kind="bridge")
        bridge = _index(server, "bridge")
        server.addr("add", index=bridge, address=SERVER, prefixlen=PREFIX_BITS)
        server.link("set", index=bridge, state="up")
        for k, name in enumerate(names[1:]):
            peer = {"ifname": "eth0", "net_ns_fd": name}
            server.link("add", ifname=_link(k), kind="veth", peer=peer)
            index = _index(server, _link(k))
            server.link("set", index=index, master=bridge, state="up")
            own = self._stack.enter_context(_socket_in(name))
            eth = _index(own, "eth0")
            address = f"{SUBNET}.{1 + k // 250}.{1 + k % 250}"
            own.addr("add", index=eth, address=address, prefixlen=PREFIX_BITS)
            own.link("set", index=eth, state="up")
            _up(own, "lo")
            for at, of in ((server, index), (own, eth)):
                at.tc("add", "htb", of, "1:", default=0x10)
                _shape("add-class", at, of, UNSHAPED_BPS)
                at.tc("add", "pfifo", of, "10:", parent="1:10", limit=QUEUE_PACKETS)
            self._clients.append(own)
            self._indices.append(index)


def why_not() -> str:
    """Return why this process cannot have links in the kernel; empty = it can."""
    if not NAMESPACES.parent.exists() or not hasattr(os, "geteuid"):
        return "this system has no network namespaces"
    if os.geteuid() != 0:
        return "it needs root"
    try:
        import pyroute2  # noqa: F401
    except ModuleNotFoundError:
        return "the extra `radio` is not installed"
    if shutil.which("nsenter") is None:
        return "there is no command `nsenter`"
    try:
        with KernelLinks(Ports(control=1, blobs=2), 1) as links:
            links.set_rates(0, 1e6, 1e6)
    except RunError as error:
        return str(error)
    return ""


def _namespace(of: object) -> str:
    """Name a namespace, of this process alone."""
    return f"{NAME}{os.getpid()}-{of}"


def _link(client: int) -> str:
    """Name the server's end of a client's link."""
    return f"client{client}"


def _remove_left() -> None:
    """Remove the namespaces of processes that were killed."""
    for left in NAMESPACES.glob(f"{NAME}*-*"):
        number = left.name.removeprefix(NAME).partition("-")[0]
        if number.isdecimal() and not Path(f"/proc/{number}").exists():
            _remove(left.name)


def _remove(name: str) -> None:
    from pyroute2 import netns

    with suppress(OSError):
        netns.remove(name)


def _socket_in(name: str) -> Any:
    """Return a netlink socket that stays in a namespace.

    Not pyroute2's NetNS: it forks, and its child would have our handlers of signals.
    """
    from pyroute2 import IPRoute, netns

    netns.pushns(name)
    try:
        return IPRoute()
    finally:
        netns.popns()


def _index(at: Any, name: str) -> int:
    return int(at.link_lookup(ifname=name)[0])


def _up(at: Any, name: str) -> None:
    at.link("set", index=_index(at, name), state="up")


def _shape(verb: str, at: Any, index: int, rate_bps: float) -> None:
    """Set the class that all of an interface's frames are in."""
    rate = max(1, round(min(rate_bps, UNSHAPED_BPS) / 8))
    burst = max(BURST_BYTES, rate // 1000)
    at.tc(
        *(verb, "htb", index, "1:10"),
        **{"parent": "1:", "rate": rate, "ceil": rate},
        **{"burst": burst, "cburst": burst},
    )

"""Both kinds of links, asked the same; the kernel's where this process may."""

import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from trimwave.net.links.kernel import NAMESPACES, KernelLinks, why_not
from trimwave.net.links.links import Ports
from trimwave.net.links.relays import RelayLinks
from trimwave.net.processes import free_port

SENT = bytes(range(256)) * 400

CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as stream:
    stream.sendall(sys.stdin.buffer.read())
    stream.shutdown(socket.SHUT_WR)
    while data := stream.recv(65536):
        sys.stdout.buffer.write(data)
"""
"""Sends what it reads, then prints what comes back."""


@pytest.fixture(params=[RelayLinks, pytest.param(KernelLinks, marks=pytest.mark.slow)])
def links(request):
    if request.param is KernelLinks and (why := why_not()):
        pytest.skip(f"no links in the kernel here: {why}")
    ports = Ports(control=free_port(), blobs=free_port())
    with request.param(ports, 2) as made:
        yield made


@contextmanager
def echo(links, port):
    """Be a server that sends back, at the end, what came."""
    with socket.create_server((links.host, port)) as listener:

        def serve():
            while True:
                try:
                    stream, _ = listener.accept()
                except OSError:
                    return
                with stream:
                    came = b""
                    while data := stream.recv(65536):
                        came += data
                    stream.sendall(came)

        threading.Thread(target=serve, daemon=True).start()
        yield
        listener.shutdown(socket.SHUT_RDWR)


def ask(links, client, port_of, data=SENT):
    """Send from where the client is; what came back, and seconds."""
    reach = links.reach(client)
    argv = [*reach.prefix, sys.executable, "-c", CLIENT]
    argv += [reach.host, str(getattr(reach.ports, port_of))]
    started = time.monotonic()
    done = subprocess.run(argv, input=data, capture_output=True, check=False)
    return done.stdout, time.monotonic() - started


def test_every_byte_arrives_and_is_counted_for_its_client(links):
    for name in ("control", "blobs"):
        with echo(links, getattr(links.ports, name)):
            before = links.counts()
            assert ask(links, 1, name)[0] == SENT
            after = links.counts()
            moved = [
                tuple(b - a for a, b in zip(*pair, strict=True))
                for pair in zip(before, after, strict=True)
            ]
            assert moved[1][0] >= len(SENT) and moved[1][1] >= len(SENT)
            assert max(moved[0]) < 2000  # frames that ask who is there


def test_no_direction_is_faster_than_its_rate(links):
    links.set_rates(0, 4e6, 2e6)
    with echo(links, links.ports.control):
        came, seconds = ask(links, 0, "control")
    assert came == SENT
    # What may go at once: a burst in the kernel, a short while's worth in a relay.
    at_once = 8 * 32768 if links.kind == "kernel" else 0.02 * 4e6
    least_s = sum((8 * len(SENT) - at_once) / rate for rate in (4e6, 2e6))
    assert seconds > least_s


def test_a_rate_is_changed_within_a_transfer(links):
    links.set_rates(0, 1e4, 1e4)  # 80 s each way
    with echo(links, links.ports.control):
        freed = threading.Timer(0.3, links.set_rates, (0, 1e9, 1e9))
        if links.kind == "kernel":  # its sockets are this thread's
            links.set_rates(0, 1e9, 1e9)
        else:
            freed.start()
        came, seconds = ask(links, 0, "control")
    assert came == SENT and seconds < 60


def test_where_the_server_is_away_there_is_no_link(links):
    assert ask(links, 0, "control")[0] == b""
    with echo(links, links.ports.control):
        assert ask(links, 0, "control")[0] == SENT


@pytest.mark.slow
def test_nothing_of_the_kernels_is_left():
    if why := why_not():
        pytest.skip(why)
    here = socket.if_nameindex()
    with pytest.raises(KeyError), KernelLinks(Ports(control=1, blobs=2), 3):
        assert len([*NAMESPACES.glob("trimwave-*")]) >= 4
        raise KeyError
    assert socket.if_nameindex() == here


def test_relays_end_with_their_context():
    before = threading.active_count()
    with RelayLinks(Ports(control=free_port(), blobs=free_port()), 3) as links:
        port = links.reach(2).ports.control
        idle = socket.create_connection(("127.0.0.1", port))
    idle.close()
    assert threading.active_count() == before
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", port))

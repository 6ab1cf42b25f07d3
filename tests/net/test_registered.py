"""Keys and certificates with real processes of Flower, on loopback."""

import os
import signal
import time
from dataclasses import replace

import pytest

pytest.importorskip("flwr", reason="needs the extra flower")

from trimwave.base.errors import RunError
from trimwave.net import refusals
from trimwave.net.credentials import Credentials
from trimwave.net.keys import make_ca, make_client_key, make_server_certificate
from trimwave.net.processes import Processes, flower_env, free_port, wait_for_port
from trimwave.net.refusals import why_refused, why_unreachable
from trimwave.net.register import register_clients

pytestmark = pytest.mark.slow

LONGEST_S = 120.0


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "keys"
    make_ca(folder)
    make_server_certificate(folder, ["127.0.0.1"])
    for name in ("ward-1.x_y", "never-ran", "stranger"):
        make_client_key(folder, name)
    (folder / "clients/stranger.pub").rename(folder / "stranger.pub")
    return folder


@pytest.fixture(scope="module")
def superlink(keys, tmp_path_factory):
    """Run a SuperLink with TLS and authentication: processes, its port, its home."""
    folder = tmp_path_factory.mktemp("superlink")
    found, port = Credentials.read(keys, "127.0.0.1"), free_port()
    with Processes(folder / "logs") as processes:
        argv = ["flower-superlink", "--host", "0.0.0.0", "--port", str(port)]
        argv += ["--ssl-ca-certfile", str(found.ca), "--enable-supernode-auth"]
        argv += ["--ssl-certfile", str(found.certificate)]
        argv += ["--ssl-keyfile", str(found.key)]
        child = processes.start("superlink", argv, flower_env(folder / "home"))
        wait_for_port(child, "127.0.0.1", port, LONGEST_S)
        yield processes, port, folder


@pytest.fixture(scope="module")
def registered(keys, superlink):
    _, port, folder = superlink
    connect(folder / "client", port, keys / "ca.pem")
    return register_clients(Credentials.read(keys), folder / "client", "run")


def connect(home, port, ca):
    """Tell Flower's command line where the SuperLink is."""
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(
        f'[superlink.run]\naddress = "127.0.0.1:{port}"\nroot-certificates = "{ca}"\n'
    )


def only(keys, name, path):
    """Return the server's credentials with one client."""
    return replace(Credentials.read(keys), clients={name: path})


def node(superlink, name, *options, host="127.0.0.1"):
    """Start a SuperNode that tries twice."""
    processes, port, folder = superlink
    argv = ["flower-supernode", "--superlink", f"{host}:{port}", "--max-retries", "1"]
    argv += ["--port", str(free_port()), *map(str, options)]
    return processes.start(name, argv, flower_env(folder / name))


def ends(child):
    """Return why it ended, by its log."""
    ends_s = time.monotonic() + LONGEST_S
    while child.is_running:
        assert time.monotonic() < ends_s, child.last_words()
        time.sleep(0.1)
    return why_refused(child.log.read_text())


def proves(keys, name="ward-1.x_y"):
    key = keys / "clients" / name
    return "--root-certificates", keys / "ca.pem", "--auth-supernode-private-key", key


def test_keys_are_registered_once_and_twice_is_fine(keys, superlink, registered):
    home = superlink[2] / "client"
    assert set(registered) == {"ward-1.x_y", "never-ran"}
    assert all(registered.values()) and len(set(registered.values())) == 2
    one = only(keys, "never-ran", keys / "clients/never-ran.pub")
    assert register_clients(one, home, "run") == {"never-ran": None}


def test_what_cannot_be_registered(keys, superlink, tmp_path):
    connect(tmp_path, superlink[1], keys / "ca.pem")
    with pytest.raises(RunError, match="key of client x: .*Exit Code: 500"):
        register_clients(only(keys, "x", keys / "ca.pem"), tmp_path, "run")
    connect(tmp_path, free_port(), keys / "ca.pem")
    one = only(keys, "x", keys / "clients/never-ran.pub")
    with pytest.raises(RunError, match="key of client x: Connection to the SuperLink"):
        register_clients(one, tmp_path, "run")


def test_who_is_refused_and_why(keys, superlink, registered, tmp_path):
    other = make_ca(tmp_path / "other")
    key = ("--auth-supernode-private-key", keys / "clients/never-ran")
    ca = ("--root-certificates", keys / "ca.pem")
    started = {
        refusals.NO_TLS_HERE: node(superlink, "insecure", "--insecure"),
        refusals.OTHER_CA: node(superlink, "ca", "--root-certificates", other, *key),
        refusals.REFUSED_KEY: node(superlink, "key", *proves(keys, "stranger")),
        refusals.NO_KEY: node(superlink, "no-key", *ca),
        refusals.OTHER_HOST.format(host="127.0.0.2"): node(
            superlink, "host", *ca, *key, host="127.0.0.2"
        ),
        refusals.BAD_KEY: node(
            superlink, "bad", *ca, "--auth-supernode-private-key", keys / "server.key"
        ),
    }
    assert {why: ends(child) for why, child in started.items()} == {
        why: why for why in started
    }
    port = superlink[1]
    assert why_unreachable("127.0.0.1", port, keys / "ca.pem") is None
    assert why_unreachable("127.0.0.1", port, other) == refusals.OTHER_CA
    assert why_unreachable("127.0.0.1", port, None) == refusals.NO_TLS_HERE
    where = refusals.OTHER_HOST.format(host="127.0.0.2")
    assert why_unreachable("127.0.0.2", port, keys / "ca.pem") == where


def test_a_known_key_is_let_in_and_after_a_kill_is_online_for_a_while(
    keys, superlink, registered
):
    child = node(superlink, "good", *proves(keys))
    said = f"SuperNode ID: {registered['ward-1.x_y']}"
    ends_s = time.monotonic() + LONGEST_S
    while said not in child.log.read_text():
        assert child.is_running and time.monotonic() < ends_s, child.last_words()
        time.sleep(0.1)
    os.killpg(child.popen.pid, signal.SIGKILL)
    assert ends(node(superlink, "again", *proves(keys))) == refusals.REFUSED_KEY
    log = superlink[0].children["superlink"].log.read_text()
    (line,) = (line for line in log.splitlines() if "could not be activated" in line)
    assert why_refused(line) == refusals.STILL_ONLINE

"""Keys and certificates as made and as read; against TLS itself and ssh-keygen."""

import datetime as dt
import shutil
import ssl
import stat
import subprocess
import warnings

import pytest

pytest.importorskip("cryptography", reason="needs the extra flower")

from cryptography import x509
from cryptography.hazmat.primitives import serialization as formats

from trimwave.base.errors import InputError
from trimwave.net import credentials
from trimwave.net.credentials import Credentials, check_client
from trimwave.net.keys import make_ca, make_client_key, make_server_certificate


def made(folder, *hosts, clients=("a", "b")):
    make_ca(folder)
    make_server_certificate(folder, hosts or ["fl.example.org", "10.0.0.7"])
    for name in clients:
        make_client_key(folder, name)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return made(tmp_path_factory.mktemp("made") / "keys")


@pytest.fixture
def keys(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "keys")
    return tmp_path / "keys"


def shake_hands(keys, name, ca=None):
    """Do what a server and a client of TLS do, in memory; strict as Python 3.13 is."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(keys / "server.pem", keys / "server.key")
    client = ssl.create_default_context(cafile=str(ca or keys / "ca.pem"))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(down, up, server_hostname=name),
        server.wrap_bio(up, down, server_side=True),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass


@pytest.mark.parametrize(
    "name", ["fl.example.org", "10.0.0.7", "localhost", "127.0.0.1", "::1"]
)
def test_tls_takes_every_host_that_was_asked_for_and_this_machine(keys, name):
    shake_hands(keys, name)


@pytest.mark.parametrize("name", ["example.org", "10.0.0.8", "a.fl.example.org"])
def test_tls_refuses_any_other_host(keys, name):
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        shake_hands(keys, name)


def test_tls_refuses_another_ca_of_the_same_name(keys, tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(keys, "localhost", ca=make_ca(tmp_path / "other"))


def test_private_keys_are_their_owners_alone(keys):
    modes = {
        str(path.relative_to(keys)): stat.S_IMODE(path.stat().st_mode)
        for path in [*keys.rglob("*")]
    }
    assert modes == {
        "ca.key": 0o600,
        "server.key": 0o600,
        "clients/a": 0o600,
        "clients/b": 0o600,
        "clients": 0o700,
        "ca.pem": 0o644,
        "server.pem": 0o644,
        "clients/a.pub": 0o644,
        "clients/b.pub": 0o644,
    }
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700


def test_nothing_is_overwritten_and_the_ca_stays(keys):
    before = {path: path.read_bytes() for path in keys.rglob("*") if path.is_file()}
    assert make_ca(keys) == keys / "ca.pem"
    with pytest.raises(InputError, match=r"server\.pem exists, and no key is ever"):
        make_server_certificate(keys, ["other"])
    with pytest.raises(InputError, match="clients/a exists"):
        make_client_key(keys, "a")
    assert before == {path: path.read_bytes() for path in before}
    (keys / "ca.pem").unlink()
    with pytest.raises(InputError, match=r"ca\.key exists"):
        make_ca(keys)


def test_a_new_server_certificate_needs_no_new_ca(keys):
    (keys / "server.pem").unlink()
    (keys / "server.key").unlink()
    make_server_certificate(keys, ["new.example.org"], days=30)
    shake_hands(keys, "new.example.org")
    Credentials.read(keys, "new.example.org")


def test_openssh_reads_a_clients_pair(keys):
    if not shutil.which("ssh-keygen"):
        pytest.skip("needs ssh-keygen")
    told = subprocess.run(
        ["ssh-keygen", "-y", "-P", "", "-f", keys / "clients/a"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    public = (keys / "clients/a.pub").read_text().split()
    assert told[:2] == public[:2] and public[0] == "ecdsa-sha2-nistp384"
    assert public[2] == "a"


@pytest.mark.parametrize("name", ["", "../a", "a/b", ".a", "a b", "a.pub", "-a", "ä"])
def test_a_clients_name_is_a_plain_file_name(tmp_path, name):
    with pytest.raises(InputError, match="a client's name is up to 64 letters"):
        make_client_key(tmp_path / "keys", name)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    "host", ["", "a b", "host:80", "http://x", "10.0.0", "-x", "a..b", "x" * 64]
)
def test_a_host_is_a_name_or_an_address(tmp_path, host):
    make_ca(tmp_path)
    with pytest.raises(InputError, match="a host is a name or an address without"):
        make_server_certificate(tmp_path, [host])


def test_every_address_of_a_machine_is_no_host(tmp_path):
    make_ca(tmp_path)
    for host in ("0.0.0.0", "::"):
        with pytest.raises(InputError, match="stands for every address"):
            make_server_certificate(tmp_path, [host])


@pytest.mark.parametrize("days", [0, -1, 9999])
def test_a_certificate_ends_with_its_ca_at_the_latest(tmp_path, days):
    make_ca(tmp_path)
    with pytest.raises(InputError, match="good for 1 to 36"):
        make_server_certificate(tmp_path, ["x"], days)


def test_credentials_are_files_and_clients_by_name(keys):
    for host in (None, "FL.example.org", "10.0.0.7", "0:0:0:0:0:0:0:1", "0.0.0.0"):
        found = Credentials.read(keys, host)
    assert found.ca == keys / "ca.pem" and found.key == keys / "server.key"
    assert found.clients == {
        "a": keys / "clients/a.pub",
        "b": keys / "clients/b.pub",
    }
    check_client(found.ca, keys / "clients/a")


def test_what_is_wrong_is_told(keys, tmp_path):
    def refused(match, host=None):
        with pytest.raises(InputError, match=match):
            Credentials.read(keys, host)

    refused("does not cover `x.org`, only 10.0.0.7, 127.0.0.1, ::1, fl.ex", "x.org")
    shutil.copy(keys / "clients/a.pub", keys / "clients/c.pub")
    refused("c and a in .* are one key")
    (keys / "clients/c.pub").write_text("no key")
    refused(r"c\.pub is no public key")
    for path in (keys / "clients").glob("*.pub"):
        path.unlink()
    refused("no client is known: ")
    other = made(tmp_path / "other")
    shutil.copy(other / "server.key", keys / "server.key")
    refused(r"server\.key is not the key of .*server\.pem")
    shutil.copy(keys / "ca.pem", keys / "server.key")
    refused(r"server\.key is no private key in PEM")
    shutil.copy(other / "server.pem", keys / "server.pem")
    refused(r"server\.pem is not signed by .*ca\.pem")
    (keys / "server.pem").write_bytes(b"\0" * 99)
    refused(r"server\.pem is no certificate in PEM")
    (keys / "server.pem").unlink()
    refused(r"cannot read .*server\.pem: No such file")


def test_dates(keys, monkeypatch):
    def at(days):
        class Clock(dt.datetime):
            @classmethod
            def now(cls, tz=None):
                return dt.datetime.now(tz) + dt.timedelta(days=days)

        class Module:
            datetime, timedelta, UTC = Clock, dt.timedelta, dt.UTC

        monkeypatch.setattr(credentials, "dt", Module)

    at(364 - credentials.SOON_DAYS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Credentials.read(keys)
    at(366 - credentials.SOON_DAYS)
    with pytest.warns(UserWarning, match=r"server\.pem ends on"):
        Credentials.read(keys)
    at(366)
    with pytest.raises(InputError, match=r"server\.pem ended on"):
        Credentials.read(keys)
    at(-2)
    with pytest.raises(InputError, match="the clock here says"):
        check_client(keys / "ca.pem", keys / "clients/a")


def test_a_key_that_others_may_read_is_warned_about(keys):
    (keys / "server.key").chmod(0o640)
    with pytest.warns(UserWarning, match=r"others may read .*server\.key; run: chmod"):
        Credentials.read(keys)
    (keys / "clients/a").chmod(0o604)
    with pytest.warns(UserWarning, match="others may read .*clients/a"):
        check_client(keys / "ca.pem", keys / "clients/a")


@pytest.mark.parametrize("wrong", ["clients/a.pub", "server.key", "ca.pem"])
def test_what_is_no_clients_key(keys, wrong):
    with pytest.raises(InputError, match="is no private key of a client"):
        check_client(keys / "ca.pem", keys / wrong)
    with pytest.raises(InputError, match="cannot read .*absent: No such file"):
        check_client(keys / "ca.pem", keys / "absent")


def test_the_ca_signs_servers_and_nothing_below_them(keys):
    ca = x509.load_pem_x509_certificate((keys / "ca.pem").read_bytes())
    server = x509.load_pem_x509_certificate((keys / "server.pem").read_bytes())
    limits = [
        one.extensions.get_extension_for_class(x509.BasicConstraints).value
        for one in (ca, server)
    ]
    assert [(one.ca, one.path_length) for one in limits] == [(True, 0), (False, None)]
    assert server.issuer == ca.subject
    assert b"PRIVATE" not in (keys / "ca.pem").read_bytes()
    key = formats.load_pem_private_key((keys / "ca.key").read_bytes(), None)
    assert key.public_key() == ca.public_key()

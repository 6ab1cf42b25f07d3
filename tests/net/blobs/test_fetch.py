import datetime
import errno
import hashlib
import ipaddress
import os
import signal
import subprocess
import sys
import time

import pytest
from blob_helpers import DATA, DIGEST, answering, ranged, reply, route

from trimwave.base.errors import InputError, RunError
from trimwave.net.blobs import fetch as fetch_module
from trimwave.net.blobs.cache import BlobCache
from trimwave.net.blobs.fetch import fetch
from trimwave.net.blobs.store import BlobStore


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(fetch_module, "PAUSE_S", 0.001)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def cache(tmp_path):
    return BlobCache(tmp_path / "cache")


def get(cache, *urls, **options):
    options = {"token": "t", "attempts": 3, "timeout_s": 20, **options}
    return fetch(DIGEST, len(DATA), urls, cache, **options)


def test_a_blob_comes_from_the_route_once(cache, tmp_path):
    with route(tmp_path / "blobs") as (server, token):
        got = get(cache, f"{server.url}/blobs", token=token)
        assert got.path.read_bytes() == DATA
        assert got.num_bytes == len(DATA) and got.ended_s > got.started_s
        assert get(cache, f"{server.url}/blobs", token=token).num_bytes == 0
        ends_s = time.monotonic() + 10  # the last piece is here before it is counted
        while server.sent("a") < len(DATA) and time.monotonic() < ends_s:
            time.sleep(0.01)
        assert server.sent("a") == len(DATA)
        with pytest.raises(RunError, match="403 .the token is not valid"):
            get(BlobCache(tmp_path / "other"), f"{server.url}/blobs", token="wrong")
    assert not list(cache.folder.glob(".part*"))


def test_a_cut_is_gone_on_with(cache):
    with answering(ranged(cut=100_000), ranged(cut=100_000), ranged()) as (url, asked):
        got = get(cache, url)
    assert got.path.read_bytes() == DATA
    assert got.num_bytes == len(DATA)
    starts = [one.lower().partition("range: bytes=")[2][:7] for one in asked]
    assert starts == ["", "100000-", "200000-"]


def test_more_cuts_than_attempts_are_fine_if_each_brings_something(cache):
    with answering(ranged(cut=70_000)) as (url, asked):
        assert get(cache, url, attempts=2).path.read_bytes() == DATA
    assert len(asked) == 5


def test_a_killed_process_is_gone_on_with(cache, tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from trimwave.net.blobs.cache import BlobCache\n"
        "from trimwave.net.blobs.fetch import fetch\n"
        "_, folder, digest, size, url, token = sys.argv\n"
        "fetch(digest, int(size), [url], BlobCache(Path(folder)), token=token)\n"
    )
    with route(tmp_path / "blobs") as (server, token):
        server.set_pace("a", 1e6)
        url = f"{server.url}/blobs"
        argv = [sys.executable, "-c", code, cache.folder, DIGEST, len(DATA), url, token]
        child = subprocess.Popen([*map(str, argv)])
        part, ends_s = cache.part_path(DIGEST), time.monotonic() + 60
        while not (part.exists() and part.stat().st_size > 20_000):
            assert time.monotonic() < ends_s
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        size = part.stat().st_size
        server.set_pace("a", None)
        got = get(cache, url, token=token)
    assert got.path.read_bytes() == DATA
    assert got.num_bytes == len(DATA) - size < len(DATA)


def test_altered_bytes_are_thrown_away_and_the_next_source_is_asked(cache):
    wrong = DATA[:-1] + b"?"
    with answering(reply(wrong)) as (bad, asked), answering(ranged()) as (good, _):
        assert get(cache, bad, good).path.read_bytes() == DATA
        assert len(asked) == 1
    other = BlobCache(cache.folder.with_name("other"))
    with answering(reply(wrong)) as (bad, asked):
        with pytest.raises(RunError, match="another SHA-256"):
            get(other, bad)
        assert len(asked) == 2
    assert not os.listdir(other.folder)


def test_a_damaged_leftover_is_thrown_away(cache):
    cache.part_path(DIGEST).write_bytes(b"?" * 1000)
    with answering(ranged()) as (url, _):
        assert get(cache, url).path.read_bytes() == DATA
    (cache.folder / DIGEST).unlink()
    cache.part_path(DIGEST).write_bytes(b"?" * (len(DATA) + 1))
    with answering(ranged()) as (url, _):
        assert get(cache, url).num_bytes == len(DATA)


def test_a_longer_reply_is_cut_off(cache):
    with answering(reply(b"?" * 10_000_000)) as (url, _):
        with pytest.raises(RunError, match="another SHA-256"):
            get(cache, url)
    assert not os.listdir(cache.folder)
    with answering(reply(DATA + b"more")) as (url, _):
        assert get(cache, url).path.stat().st_size == len(DATA)


def test_a_shorter_one_is_one_error(cache):
    with answering(reply(DATA[:1000])) as (url, asked):
        with pytest.raises(RunError, match="ended after 1000 of 300000 bytes"):
            get(cache, url)
    assert len(asked) == 3
    assert cache.path(DIGEST) is None


@pytest.mark.parametrize(
    "answer",
    [
        reply(status="206 Partial Content", headers="Content-Range: bytes 7-9/10\r\n"),
        reply(headers="Content-Encoding: gzip\r\n"),
        reply(status="404 Not Found"),
        reply(b"", status="302 Found", headers="Location: http://127.0.0.1:9/\r\n"),
    ],
)
def test_an_answer_that_is_none_is_not_asked_for_again(cache, answer):
    with answering(answer) as (url, asked):
        with pytest.raises(RunError, match="cannot be fetched"):
            get(cache, url)
    assert len(asked) == 1


def test_a_server_that_is_busy_is_asked_again(cache):
    with answering(reply(status="503 Busy"), lambda _: b"", ranged()) as (url, _):
        assert get(cache, url).path.read_bytes() == DATA


def test_a_range_that_is_refused_or_ignored_begins_anew(cache):
    cache.part_path(DIGEST).write_bytes(DATA[:5000])
    gone = reply(b"", status="416 Range Not Satisfiable")
    with answering(gone, reply()) as (url, _):
        assert get(cache, url).path.read_bytes() == DATA


def test_the_token_goes_to_the_route_alone(cache):
    with answering(ranged()) as (own, own_asked):
        moved = reply(b"", status="302 Found", headers=f"Location: {own}/x\r\n")
        with answering(reply(status="404 No")) as (mirror, asked):
            get(cache, mirror, own)
        (cache.folder / DIGEST).unlink()
        with answering(moved) as (url, _), pytest.raises(RunError, match="302"):
            get(BlobCache(cache.folder), url)
    assert "authorization" not in asked[0].lower()
    assert "authorization: bearer t" in own_asked[0].lower()
    assert len(own_asked) == 1


def test_from_file_systems(cache, tmp_path):
    BlobStore(tmp_path / "own", "memory://blobs/run").put(DATA)
    got = get(cache, "memory://blobs/run", "http://127.0.0.1:9/blobs")
    assert got.path.read_bytes() == DATA
    got.path.unlink()
    cache.part_path(DIGEST).write_bytes(DATA[:1000])
    got = get(cache, "nosuch://x", (tmp_path / "own").as_uri())
    assert (got.path.read_bytes(), got.num_bytes) == (DATA, len(DATA) - 1000)
    got.path.unlink()
    with pytest.raises(RunError, match="No such file"):
        get(cache, (tmp_path / "none").as_uri())


def test_a_full_disk_is_one_error_and_keeps_nothing(cache, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    cache.part_path(DIGEST).write_bytes(DATA[:1000])
    monkeypatch.setattr(fetch_module._Part, "_put", full)
    with answering(ranged()) as (url, _):
        with pytest.raises(RunError, match="No space left.*free some space"):
            get(cache, url)
    assert not os.listdir(cache.folder)


@pytest.mark.parametrize("digest, size", [("../x", 1), (DIGEST, -1), (DIGEST, "1")])
def test_what_is_no_blob_is_refused(cache, digest, size):
    with pytest.raises(InputError):
        fetch(digest, size, [], cache, token=None)


def test_an_empty_blob_needs_no_source(cache):
    empty = hashlib.sha256().hexdigest()
    assert fetch(empty, 0, [], cache, token=None).path.read_bytes() == b""


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Certificate and key for 127.0.0.1, and the authority that signed it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    key = ec.generate_private_key(ec.SECP256R1())
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .add_extension(x509.SubjectAlternativeName([address]), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


def test_over_tls(cache, tmp_path, tls):
    with route(tmp_path / "blobs", tls=tls) as (server, token):
        url = f"{server.url}/blobs"
        assert url.startswith("https://")
        with pytest.raises(RunError, match="CERTIFICATE_VERIFY_FAILED"):
            get(cache, url, token=token)
        plain = url.replace("https", "http")
        with pytest.raises(RunError, match="cannot be fetched"):
            get(cache, plain, token=token)
        with pytest.raises(InputError, match="none.pem cannot be used"):
            get(cache, url, token=token, verify=str(tmp_path / "none.pem"))
        got = get(cache, url, token=token, verify=tls[0])
        assert got.path.read_bytes() == DATA

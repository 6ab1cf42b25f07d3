import os
import socket
import threading
import time

import httpx
import pytest
from blob_helpers import DATA, DIGEST, route

from trimwave.base.errors import InputError, RunError
from trimwave.net.blobs.app import MOST_PROBE_BYTES
from trimwave.net.blobs.probe import SIZES_BYTES, measure_uplink
from trimwave.net.blobs.route import BlobServer


@pytest.fixture
def served(tmp_path):
    (tmp_path / "secret").write_text("secret")
    with route(tmp_path / "blobs") as (server, token):
        yield server, token


def get(server, token, method="GET", name=DIGEST, **headers):
    if token:
        headers["Authorization"] = f"Bearer {token}"
    url = f"{server.url}/blobs/{name}"
    return httpx.request(method, url, headers=headers, trust_env=False)


def sent(server, node, wanted):
    """Return what a node was sent: the last piece is here before it is counted."""
    ends_s = time.monotonic() + 10
    while server.sent(node) < wanted and time.monotonic() < ends_s:
        time.sleep(0.01)
    return server.sent(node)


def raw(server, target, token, method="GET"):
    """Send a target as it stands; the answer."""
    host, port = server.url.removeprefix("http://").split(":")
    request = f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    request += f"Authorization: Bearer {token}\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=20) as stream:
        stream.sendall(request.encode("latin-1"))
        answer = b""
        while data := stream.recv(1 << 16):
            answer += data
    return answer


def test_a_blob_is_sent_whole_and_counted(served):
    server, token = served
    answer = get(server, token)
    assert (answer.status_code, answer.content) == (200, DATA)
    assert sent(server, "a", len(DATA)) == len(DATA)
    head = get(server, token, "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(DATA)
    assert server.sent("a") == len(DATA)


@pytest.mark.parametrize(
    "asked, start, end",
    [
        ("bytes=100-", 100, None),
        ("bytes=0-0", 0, 1),
        ("bytes=5-99", 5, 100),
        ("bytes=5-999999999", 5, None),
    ],
)
def test_a_range(served, asked, start, end):
    answer = get(*served, Range=asked)
    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    size, last = len(DATA), (end or len(DATA)) - 1
    assert answer.headers["content-range"] == f"bytes {start}-{last}/{size}"


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=300000-",
        "bytes=9-5",
        "bytes=-5",
        "bytes=0-1,4-5",
        "x",
        f"bytes={'9' * 99}-",
    ],
)
def test_a_range_that_cannot_be_served(served, asked):
    answer = get(*served, Range=asked)
    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


def test_tokens_are_a_nodes_own(served):
    server, token = served
    other = server.grant("b")
    assert get(server, None).status_code == 401
    assert get(server, "wrong").status_code == 403
    assert get(server, other).status_code == 200
    assert (server.sent("a"), sent(server, "b", len(DATA))) == (0, len(DATA))
    server.revoke("b")
    assert get(server, other).status_code == 403
    assert get(server, token).status_code == 200
    renewed = server.grant("a")
    assert get(server, token).status_code == 403
    assert get(server, renewed).status_code == 200
    basic = httpx.BasicAuth("a", renewed)
    url = f"{server.url}/blobs/{DIGEST}"
    assert httpx.get(url, auth=basic, trust_env=False).status_code == 401


@pytest.mark.parametrize(
    "target",
    [
        "/blobs/../secret",
        "/blobs/%2e%2e/secret",
        "/blobs/..%2fsecret",
        "/blobs//secret",
        "//blobs/" + DIGEST,
        "/blobs/" + DIGEST + "/",
        "/blobs/" + DIGEST + "/../../secret",
        "/blobs/" + DIGEST.upper(),
        "/blobs/%" + f"{ord(DIGEST[0]):x}" + DIGEST[1:],
        "/blobs/" + DIGEST[1:],
        "/blobs/" + DIGEST + "%00",
        "/blobs/",
        "/secret",
        "/../secret",
        "/",
        "/blobs/" + "0" * 64,
    ],
)
def test_nothing_else_is_served(served, target):
    answer = raw(served[0], target, served[1])
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"secret" not in answer


def test_an_absolute_path_or_a_nul_is_not_served(served, tmp_path):
    server, token = served
    for target in (f"/blobs/{tmp_path}/secret", f"{server.url}/secret", "/blobs/\0"):
        assert raw(server, target, token)[9:12] in (b"404", b"400")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_can_be_done_to_a_blob(served, method):
    assert get(*served, method=method).status_code == 405
    assert get(*served).content == DATA


def test_no_link_pipe_or_folder_is_followed(served, tmp_path):
    blobs = tmp_path / "blobs"
    (blobs / ("1" * 64)).symlink_to(tmp_path / "secret")
    os.mkfifo(blobs / ("2" * 64))
    (blobs / ("3" * 64)).mkdir()
    for digit in "123":
        assert get(*served, name=digit * 64).status_code == 404


def seconds_of(server, token, num_bytes):
    started = time.monotonic()
    assert get(server, token, Range=f"bytes=0-{num_bytes - 1}").status_code == 206
    return time.monotonic() - started


def test_a_transfer_keeps_its_pace(served):
    server, token = served
    server.set_pace("a", 2e6)
    taken = seconds_of(server, token, 250_000)
    assert taken > 0.9  # never faster; a machine that is busy may be slower


def test_transfers_of_a_node_share_its_pace_and_others_do_not(served):
    server, token = served
    other = server.grant("b")
    server.set_pace("a", 4e6)
    started = time.monotonic()
    both = [
        threading.Thread(target=seconds_of, args=(server, token, 125_000))
        for _ in range(2)
    ]
    for one in both:
        one.start()
    get(server, other)
    others_s = time.monotonic() - started
    for one in both:
        one.join()
    both_s = time.monotonic() - started
    assert both_s > 0.45  # as for one of twice the size; a busy machine takes longer
    assert others_s < both_s


def test_a_new_pace_acts_within_a_transfer(served):
    server, token = served
    server.set_pace("a", 1e5)  # 24 s
    timer = threading.Timer(0.3, server.set_pace, ("a", float("inf")))
    timer.start()
    started = time.monotonic()
    assert get(server, token).content == DATA
    assert 0.3 <= time.monotonic() - started < 10
    timer.join()


@pytest.mark.parametrize("rate_bps", [0.0, -1.0, float("nan")])
def test_a_pace_is_positive(served, rate_bps):
    with pytest.raises(InputError, match="positive"):
        served[0].set_pace("a", rate_bps)


@pytest.mark.parametrize("end", ["stop", "revoke"])
def test_what_is_being_sent_is_broken_off(tmp_path, end):
    with route(tmp_path) as (server, token):
        server.set_pace("a", 1e5)
        ends = {"stop": server.stop, "revoke": lambda: server.revoke("a")}
        timer = threading.Timer(0.3, ends[end])
        timer.start()
        started = time.monotonic()
        with pytest.raises(httpx.TransportError):
            get(server, token)
        timer.join()
        assert time.monotonic() - started < 10
        assert server.sent("a") < len(DATA)
        server.stop()
        server.stop()


def test_who_leaves_is_sent_no_more(served):
    server, token = served
    server.set_pace("a", 1e6)
    url, auth = f"{server.url}/blobs/{DIGEST}", {"Authorization": f"Bearer {token}"}
    with httpx.stream("GET", url, headers=auth, trust_env=False) as answer:
        next(answer.iter_raw(1000))
    time.sleep(0.2)
    sent = server.sent("a")
    time.sleep(0.3)
    assert server.sent("a") == sent < len(DATA)


def test_a_port_that_is_taken_is_one_line(served, tmp_path):
    port = int(served[0].url.rpartition(":")[2])
    with pytest.raises(RunError, match=f"cannot listen on 127.0.0.1:{port}"):
        BlobServer(tmp_path, host="127.0.0.1", port=port).start()


def test_a_certificate_that_is_none_is_one_line(tmp_path):
    (tmp_path / "x.pem").write_text("x")
    pem = str(tmp_path / "x.pem")
    for tls in ((pem, pem), (str(tmp_path / "none"), pem)):
        with pytest.raises(InputError, match="cannot be used"):
            BlobServer(tmp_path, host="127.0.0.1", tls=tls).start()


def test_nothing_is_printed(tmp_path, capfd):
    with route(tmp_path) as (server, token):
        get(server, token)
        raw(server, "/\0", token)
        get(server, None)
    assert capfd.readouterr() == ("", "")


def post(server, token, data, name="probe"):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{server.url}/blobs/{name}"
    return httpx.post(url, content=data, headers=headers, trust_env=False)


def test_an_uplink_is_measured_by_bytes_that_nobody_keeps(served, tmp_path):
    server, token = served
    before = sorted(tmp_path.rglob("*"))
    num_bytes, seconds = measure_uplink(f"{server.url}/blobs", token)
    assert num_bytes in SIZES_BYTES and seconds > 0
    assert sorted(tmp_path.rglob("*")) == before
    assert post(server, token, b"").status_code == 204


def test_a_probe_is_refused_to_strangers_and_beyond_its_size(served):
    server, token = served
    assert post(server, None, b"x").status_code == 401
    assert post(server, "guessed", b"x").status_code == 403
    assert post(server, token, b"x", name=DIGEST).status_code == 405
    assert get(server, token, name="probe").status_code == 405
    try:
        answer = post(server, token, bytes(MOST_PROBE_BYTES + 1))
    except httpx.TransportError:
        return  # closed while it was still sending
    assert answer.status_code == 413


def test_an_uplink_to_nowhere_has_no_rate(served):
    server, token = served
    server.stop()
    assert measure_uplink(f"{server.url}/blobs", token) == (0, 0.0)

"""Clients that answer wrongly, late, twice or never: exactly the good ones count."""

import json
import math
import re
import threading
import time
from pathlib import Path

import pytest
import torch
from near import NearPost, devices_in, served
from safetensors.torch import load, save
from test_backend import with_keys
from tiny_run import plan_of, run_with, same_tensors, trained_of

from trimwave.base.errors import RunError
from trimwave.net import backend, roll
from trimwave.net.device import Device
from trimwave.net.letter import Letter
from trimwave.net.post import Lost
from trimwave.net.settings import Settings

pytestmark = pytest.mark.usefixtures("soon")

BAD = 101
"""The node that harm is done to; client 1."""


class Cell:
    """A served run of three clients, asked one round after another."""

    def __init__(self, folder, post, server, far, told):
        self.folder, self.post, self.server = folder, post, server
        self.far, self.told, self.rounds = far, told, 0
        self.plan = plan_of(server.bench, server)
        self.answers = {}
        """Letters as the devices wrote them, by client and round."""

    def exchange(self, harm=lambda letter, answer: answer, again=False):
        """Have a round with harm done to one client's answers."""
        self.rounds += not again

        def on_the_way(node, letter, answer):
            if letter.head["op"] == "train" and "error" not in answer.head:
                self.answers[node - 100, self.rounds] = answer
            wrong = node == BAD and letter.head["op"] == "train"
            return harm(letter, answer) if wrong else answer

        self.post.harm = on_the_way
        return self.far.exchange(self.plan, self.rounds)

    def mean_by_hand(self, clients):
        """Return what trains after the newest round if these count, eq. (4)."""
        after = trained_of(self.server)
        sent = [self.answers[k, self.rounds] for k in clients]
        rows = [one.head["num_samples"] for one in sent]
        deltas = [load(one.body) for one in sent]
        for name, value in after.items():
            pairs = [(n, d[name]) for n, d in zip(rows, deltas, strict=True)]
            total = sum(n for n, _ in pairs)
            value += sum(n / total * delta.double() for n, delta in pairs).float()
        return after


def make_cell(bench, folder, *changes):
    bench = with_keys(bench, "jcpba", "aggregate.norm_limit=5", *changes)
    post = NearPost(devices_in(folder, 3))
    return bench, post


@pytest.fixture(scope="module")
def cell(bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cell")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roll, "WATCH_S", 0.02)
        own, post = make_cell(bench, folder, "net.deadline_s=3600")
        with served(own, "jcpba", folder, post) as (server, far, told):
            yield Cell(folder, post, server, far, told)


def same_up_to_rounding(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=1e-6, atol=1e-7)


def counts_only(cell, exchange, clients):
    """Assert who counts, once each, and what the round comes to."""
    assert [one.client for one in exchange.updates] == [*clients]
    heard = [k for k, loss in enumerate(exchange.train_loss) if loss is not None]
    assert heard == [*clients]
    wanted = cell.mean_by_hand(clients)
    cell.server.aggregate(exchange.updates, cell.rounds)
    same_up_to_rounding(trained_of(cell.server), wanted)


def says(**fields):
    """Return harm that has an answer say other things in its head."""
    return lambda _, answer: Letter({**answer.head, **fields}, answer.body)


def sends(change):
    """Return harm that changes the tensors of an answer."""
    return lambda _, answer: Letter(answer.head, save(change(load(answer.body))))


def has_body(data):
    return lambda _, answer: Letter(answer.head, data)


def first(change):
    """Return what changes the first tensor by name."""

    def changed(tensors):
        name = min(tensors)
        return {**tensors, name: change(tensors[name]).contiguous()}

    return changed


def put(value):
    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[-1] = value
        return tensor

    return first(change)


def without_first(tensors):
    return {name: one for name, one in tensors.items() if name != min(tensors)}


REFUSED = {
    "another round": (says(round=99), "answered for round 99, not"),
    "another run": (says(run="x" * 9999), "answered for run 'xxx"),
    "another client": (says(number=0), "answered for number 0, not 1"),
    "no head": (lambda *_: Letter({}), "answered for run None"),
    "NaN": (sends(put(float("nan"))), "not finite"),
    "Inf": (sends(put(float("inf"))), "not finite"),
    "a shape": (sends(first(lambda t: t[:1])), r"is \[.*\], expected \["),
    "a dtype": (sends(first(lambda t: t.double())), "is torch.float64, expected"),
    "a tensor missing": (sends(without_first), "is missing"),
    "a tensor more": (
        sends(lambda tensors: {**tensors, "x": torch.zeros(1)}),
        "'x' was not asked for",
    ),
    "ten times the norm": (
        sends(lambda tensors: {name: 10 * one for name, one in tensors.items()}),
        "times the round's median",
    ),
    "random bytes": (has_body(bytes(range(256)) * 8), "cannot be read"),
    "no body": (has_body(b""), "cannot be read|is missing"),
    "2 GB": (has_body(bytes(1 << 31)), "2147483648 bytes, what it was asked for at"),
    "a huge tensor more": (
        sends(lambda tensors: {**tensors, "x": torch.zeros(1 << 20)}),
        "bytes, what it was asked for at most",
    ),
    "a huge header": (has_body(b"\xff" * 7 + b"\0" * 99), "cannot be read"),
    "a loss of NaN": (says(train_loss=float("nan")), "train_loss"),
    "a loss beyond floats": (says(train_loss=10**400), "cannot be read"),
    "a loss in words": (says(train_loss=["low"]), "cannot be read"),
    "endless rows": (says(num_samples=float("inf")), "cannot be read"),
    "a part of a row": (says(num_samples=12.7), "12.7 is no whole number"),
    "rows in words": (says(num_samples="8"), "'8' is no whole number"),
    "yes for rows": (says(num_samples=True), "True is no whole number"),
    "parts of rows computed": (says(fresh_rows=0.5), "0.5 is no whole number"),
    "fewer rows than none": (says(fresh_rows=-1), "says -1 rows"),
    "more rows than there can be": (says(fresh_rows=10**400), "rows that were comp"),
    "more rows than dealt": (says(num_samples=10**9), "training rows, registered"),
    "an error": (lambda *_: Letter({"error": "it\nburns"}), "^it burns$"),
    "an error of 1 MB": (lambda *_: Letter({"error": "x" * 2**20}), r"^x+\.\.\.$"),
    "an error that is no text": (lambda *_: Letter({"error": [None]}), "None"),
    "a lost letter": (lambda *_: Lost("the line is dead"), "^the line is dead$"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_wrong_answer_does_not_count(cell, fault):
    harm, why = REFUSED[fault]
    exchange = cell.exchange(harm)
    assert list(exchange.missing) == [1]
    assert_short_match(why, exchange.missing[1])
    counts_only(cell, exchange, (0, 2))


def assert_short_match(pattern, said):
    assert re.search(pattern, said), said
    assert len(said) < 300 and said.isprintable()


GARBAGE = [
    {"spent": "long"},
    {"spent": {"train_s": "long", "fetch_s": -1, "fetched_bytes": 10**400}},
    {"spent": {"train_s": float("nan")}, "memory_bytes": "much"},
    {"memory_bytes": -(10**400)},
]


@pytest.mark.parametrize("fields", GARBAGE)
def test_what_a_client_says_of_itself_breaks_nothing(cell, fields):
    exchange = cell.exchange(says(**fields))
    assert not exchange.missing
    counts_only(cell, exchange, (0, 1, 2))
    json.dumps(exchange.speeds, allow_nan=False)


def test_an_answer_of_the_round_before_does_not_count(cell):
    cell.exchange()
    before = cell.answers[1, cell.rounds]
    exchange = cell.exchange(lambda *_: before)
    assert_short_match(f"for round {cell.rounds - 1}, not", exchange.missing[1])
    counts_only(cell, exchange, (0, 2))


def test_who_answers_twice_counts_once(cell):
    """A second answer to a letter, with another update, changes nothing."""

    def harm(letter, answer):
        name = next(n for n, one in enumerate(cell.post.sent) if one[1] is letter)
        twice = {k: 2 * one for k, one in load(answer.body).items()}

        def again():
            time.sleep(0.05)
            cell.post._answers[str(name)] = Letter(answer.head, save(twice))

        threading.Thread(target=again).start()
        return answer

    exchange = cell.exchange(harm)
    time.sleep(0.1)
    assert not exchange.missing
    counts_only(cell, exchange, (0, 1, 2))


class Clock:
    """The time, which a test can set ahead."""

    def __init__(self):
        self.ahead_s = 0.0

    def monotonic(self):
        return time.monotonic() + self.ahead_s

    def sleep(self, seconds):
        time.sleep(seconds)


def test_a_round_ends_at_its_deadline(cell, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(backend, "time", clock)
    heard = len(cell.told)

    def never(letter, answer):
        ends_s = time.monotonic() + 60
        while sum(kind == "client" for kind, _ in cell.told[heard:]) < 2:
            assert time.monotonic() < ends_s
            time.sleep(0.01)
        clock.ahead_s = 3600.0

    exchange = cell.exchange(never)
    assert exchange.missing == {1: "no answer within 3600 s"}
    counts_only(cell, exchange, (0, 2))


def test_a_device_that_lost_its_state_joins_again(cell):
    cell.post.devices[BAD] = Device(Settings(name="1", cache=cell.folder / "new"))
    exchange = cell.exchange()
    assert not exchange.missing
    assert exchange.speeds["clients"]["1"]["attempts"] == 2
    counts_only(cell, exchange, (0, 1, 2))


def test_a_node_that_is_replaced_in_mid_round(bench, tmp_path):
    own, post = make_cell(bench, tmp_path)
    with served(own, "jcpba", tmp_path, post) as (server, far, told):
        cell = Cell(tmp_path, post, server, far, told)
        whole = cell.exchange()

        def gone(letter, answer):
            if BAD in post.devices:
                del post.devices[BAD]
                folder = tmp_path / "another"
                post.devices[201] = Device(Settings(name="1", cache=folder))
            return None

        broken = cell.exchange(gone, again=True)
        assert [one.client for one in broken.updates] == [0, 1, 2]
        assert not broken.missing
        for one, other in zip(whole.updates, broken.updates, strict=True):
            assert same_tensors(one.delta, other.delta)
            assert one.num_samples == other.num_samples
        assert broken.speeds["clients"]["1"]["attempts"] == 2


def test_two_devices_of_one_name_take_no_turns(bench, tmp_path):
    """The last that came is the client; the one before is not asked any more."""
    own, post = make_cell(bench, tmp_path)
    with served(own, "jcpba", tmp_path, post) as (server, far, told):
        cell = Cell(tmp_path, post, server, far, told)
        post.devices[201] = Device(Settings(name="1", cache=tmp_path / "another"))

        def joined():
            return [
                line for kind, line in told if kind == "say" and "client 1 " in line
            ]

        ends_s = time.monotonic() + 60
        while len(joined()) < 2:
            assert time.monotonic() < ends_s, told
            time.sleep(0.01)
        exchange = cell.exchange()
        assert not exchange.missing
        assert len(joined()) == 2
        asked = [node for node, letter in post.sent if letter.head["op"] == "train"]
        assert sorted(asked) == [100, 102, 201]


NONSENSE = [
    {"profile": None},
    {"profile": {"speed_flops_per_s": float("nan"), "memory_bytes": 1}},
    {"profile": {"speed_flops_per_s": 10**400, "memory_bytes": 1}},
    {"num_samples": -3},
    {"num_samples": "many"},
    {"name": "x" * 9999},
]


@pytest.mark.parametrize("node", range(300, 300 + len(NONSENSE)))
def test_who_joins_with_nonsense_is_left_out(cell, node):
    cell.post.harm = lambda _, letter, answer: says(**NONSENSE[node - 300])(
        letter, answer
    )
    cell.post.devices[node] = Device(Settings(name="1", cache=cell.folder / "odd"))
    ends_s = time.monotonic() + 60
    while not (lines := [str(x) for _, x in cell.told if f"node {node} " in str(x)]):
        assert time.monotonic() < ends_s
        time.sleep(0.01)
    assert_short_match("did not join: (it|client) ", lines[0])
    exchange = cell.exchange()
    assert not exchange.missing
    counts_only(cell, exchange, (0, 1, 2))


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        (["net.quorum=1"], "`net.quorum` = 1"),
        (["aggregate.rule=krum", "aggregate.num_malicious=0"], "`aggregate.rule` ="),
    ],
)
def test_too_few_answers_are_one_error_and_no_round(bench, tmp_path, changes, setting):
    own, post = make_cell(bench, tmp_path, *changes)
    post.harm = lambda node, letter, answer: (
        Letter({"error": "it burns"})
        if node == BAD and letter.head["op"] == "train"
        else answer
    )
    with served(own, "jcpba", tmp_path, post) as (server, far, _):
        with pytest.raises(RunError, match="asks for 3 .client 1: it burns.") as told:
            run_with(own, server, far, tmp_path)
    assert "\n" not in str(told.value) and setting in str(told.value)
    lines = (tmp_path / "rounds.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == [0]


def test_who_does_not_join_is_told_with_the_reason(bench, tmp_path):
    own, post = make_cell(bench, tmp_path, "net.quorum=1", "net.absence_s=1")
    post.harm = lambda node, letter, answer: (
        Letter({"error": "its disk\nis full"}) if node == BAD else answer
    )
    why = "missing: 1 .node 101 did not: its disk is full.. Start them, and resume"
    with pytest.raises(RunError, match=why), served(own, "jcpba", tmp_path, post):
        pass


def test_an_absent_client_is_planned_without_and_taken_back(bench, tmp_path):
    own, post = make_cell(bench, tmp_path)
    post.harm = lambda node, letter, answer: (
        Lost("the line is dead")
        if node == BAD and letter.head.get("round") == 1
        else answer
    )
    with served(own, "jcpba", tmp_path, post) as (server, far, _):
        records = run_with(own, server, far, tmp_path, num_rounds=3)
    there = [
        [k for k, loss in enumerate(one["client_train_loss"]) if loss is not None]
        for one in records[1:]
    ]
    assert there == [[0, 2], [0, 2], [0, 1, 2]]
    assert [one.get("missing") for one in records[1:]] == [
        {"1": "the line is dead"},
        None,
        None,
    ]


def test_a_client_whose_node_is_not_yet_known_again_is_not_given_up(bench, tmp_path):
    """As after the SuperLink was begun anew: letters are refused for some looks."""
    own, post = make_cell(bench, tmp_path)
    refused = []
    send = post.send

    def slow_to_know(node, letter, group):
        if node == BAD and letter.head["op"] == "train" and len(refused) < 10:
            refused.append(node)
            raise ConnectionError(f"node {node} is not there")
        return send(node, letter, group)

    post.send = slow_to_know
    with served(own, "jcpba", tmp_path, post) as (server, far, _):
        records = run_with(own, server, far, tmp_path, num_rounds=1)
    assert len(refused) == 10 > backend.ATTEMPTS
    assert None not in records[1]["client_train_loss"]
    assert "missing" not in records[1]


def test_a_client_whose_letters_are_always_refused_is_missed(bench, tmp_path):
    own, post = make_cell(bench, tmp_path, "net.absence_s=1")
    send = post.send

    def deaf(node, letter, group):
        if node == BAD and letter.head["op"] == "train":
            raise ConnectionError(f"node {node} is not there")
        return send(node, letter, group)

    post.send = deaf
    with served(own, "jcpba", tmp_path, post) as (server, far, _):
        records = run_with(own, server, far, tmp_path, num_rounds=1)
    assert records[1]["missing"] == {"1": "node 101 is not there"}


def test_no_deadline_is_kept_by_a_clock_that_jumps():
    """The time of day is read for certificates, and for which blob was used last."""
    folder = Path(roll.__file__).parent
    readers = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if re.search(r"\btime\.time|datetime|from time import", path.read_text())
    }
    assert readers == {"blobs/cache.py", "credentials.py", "keys.py"}


def test_the_longest_update_that_is_read_is_the_one_that_is_sent(cell):
    """Up to what a header may say beside the tensors."""
    exchange = cell.exchange()
    sent = {k: len(cell.answers[k, cell.rounds].body) for k in (0, 1, 2)}
    counts_only(cell, exchange, (0, 1, 2))
    for k, parcel in cell.far._packed(cell.plan, [0, 1, 2]).items():
        tensors = sum(
            math.prod(shape) * dtype.itemsize
            for shape, dtype in parcel.expected.values()
        )
        assert tensors < sent[k] <= parcel.most_bytes
        assert parcel.most_bytes - tensors <= 1024 * (1 + len(parcel.expected))


def test_a_head_that_is_too_long_is_not_parsed(monkeypatch):
    flower = pytest.importorskip("trimwave.net.flower", reason="needs `flower`")
    monkeypatch.setattr(flower, "MOST_HEAD_BYTES", 1000)
    letter = Letter({"x": "y" * 900}, b"body")
    assert flower.letter_of(flower.content_of(letter)) == letter
    with pytest.raises(ValueError, match="head has 1109 characters"):
        flower.letter_of(flower.content_of(Letter({"x": "y" * 1100})))

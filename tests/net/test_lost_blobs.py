"""Blobs that are altered or deleted at a device: fetched again, or loaded already."""

import json
import os

import pytest
from near import NearPost, served
from test_backend import with_keys
from tiny_run import make_bench, plan_of, same_tensors

from trimwave.base.errors import RunError
from trimwave.lm.train.client import Client
from trimwave.net import backend, device, roll
from trimwave.net.blobs.cache import BlobCache
from trimwave.net.device import KIT, Device
from trimwave.net.settings import Settings
from trimwave.net.shelf import READS
from trimwave.net.unpack import files_of

pytestmark = pytest.mark.filterwarnings("ignore:.*not what its name says")


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Look for nodes and answers all the time."""
    monkeypatch.setattr(roll, "WATCH_S", 0.02)
    monkeypatch.setattr(backend, "POLL_S", 0.01)


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lost-blobs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(folder / "cache"))
        bench = make_bench(folder, changes=["cell.num_clients=1"])
        yield with_keys(bench, "jcpba")


class One:
    """A run of one client, whose device can be begun anew."""

    def __init__(self, folder, post, server, far):
        self.cache, self.post, self.far = folder / "device", post, far
        self.plan = plan_of(server.bench, server)
        self.begin_anew()

    def begin_anew(self):
        """Have the device's process start again."""
        self.post.devices[100] = Device(Settings(name="0", cache=self.cache))

    def exchange(self):
        """Have round 1, over and over the same."""
        return self.far.exchange(self.plan, 1)

    def update(self):
        """Return what a round brings."""
        exchange = self.exchange()
        assert not exchange.missing
        return exchange.updates[0].delta

    def fetched_bytes(self):
        """Return what the client fetched in a round, which must succeed."""
        exchange = self.exchange()
        assert not exchange.missing
        return exchange.speeds["clients"]["0"]["fetched_bytes"]

    def blobs(self):
        """Return the files of its cache."""
        return sorted(one for one in self.cache.iterdir() if len(one.name) == 64)


@pytest.fixture(scope="module")
def one(bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    post = NearPost({100: Device(Settings(name="0", cache=folder / "device"))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roll, "WATCH_S", 0.02)
        with served(bench, "jcpba", folder, post) as (server, far, _):
            yield One(folder, post, server, far)


@pytest.fixture(scope="module")
def whole(one):
    """What an unharmed round brings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "POLL_S", 0.01)
        return one.update()


def altered(file):
    """Change every byte of a file in place; its size and times stay."""
    was = file.stat()
    data = bytes(255 - byte for byte in file.read_bytes())
    with file.open("r+b") as opened:
        opened.write(data)
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))


def cut(file):
    """Leave the first half of a file."""
    os.truncate(file, file.stat().st_size // 2)


def deleted(file):
    file.unlink()


HARMS = [altered, cut, deleted]


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_lost_before_it_is_read_is_fetched_again(one, whole, harm, monkeypatch):
    """All blobs of a round are struck between being fetched and being read."""
    read, struck = device.package_of, []

    def late(letter, *rest):
        for digest, _ in files_of(letter):
            harm(one.cache / digest)
            struck.append(digest)
        return read(letter, *rest)

    monkeypatch.setattr(device, "package_of", late)
    assert same_tensors(one.update(), whole)
    assert len(struck) >= 2


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_lost_once_it_is_loaded_changes_nothing(one, whole, harm, monkeypatch):
    """The shell, the tokenizer and a round's blobs, while the device trains."""
    tune, struck = Client.fine_tune, []

    def late(self, *asked):
        for file in one.blobs():
            harm(file)
            struck.append(file)
        return tune(self, *asked)

    one.begin_anew()
    one.update()  # the shell is loaded
    monkeypatch.setattr(Client, "fine_tune", late)
    assert same_tensors(one.update(), whole)
    assert len(struck) > 4


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_lost_before_a_device_is_begun_anew(one, whole, harm):
    """It joins from its cache: the shell and the tokenizer are fetched again."""
    one.begin_anew()
    one.update()
    files = one.blobs()
    assert len(files) > 2
    for file in files:
        harm(file)
    one.begin_anew()
    assert same_tensors(one.update(), whole)
    assert {*files} <= {*one.blobs()}


def test_a_device_begun_anew_that_lost_nothing_fetches_no_shell(one):
    one.begin_anew()
    one.update()
    usual = one.fetched_bytes()
    one.begin_anew()
    assert one.fetched_bytes() == usual


def test_a_changed_kit_is_not_believed(one, whole):
    """Another learning rate under the seal of the one before: it joins again."""
    one.update()
    kit = one.cache / KIT
    told = json.loads(kit.read_text())
    told["kits"][0]["learning_rate"] *= 2
    kit.write_text(json.dumps(told))
    one.begin_anew()
    exchange = one.exchange()
    assert same_tensors(exchange.updates[0].delta, whole)
    assert exchange.speeds["clients"]["0"]["attempts"] == 2


def test_a_blob_that_is_lost_over_and_over_is_one_error(one, monkeypatch):
    reads = []

    def never(cache, digest):
        reads.append(digest)

    monkeypatch.setattr(BlobCache, "read", never)
    with pytest.raises(RunError, match="was altered or gone 3 times") as told:
        one.exchange()
    assert "\n" not in str(told.value)
    assert len(reads) == READS


def test_tensors_of_a_device_are_not_those_of_a_file(one):
    """No page of a process is mapped from its cache."""
    one.update()
    with open("/proc/self/maps") as maps:
        assert not [line for line in maps if str(one.cache) in line]

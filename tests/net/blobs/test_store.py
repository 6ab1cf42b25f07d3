import hashlib
import os

import pytest

from trimwave.base.errors import InputError
from trimwave.net.blobs.store import BlobStore

DATA = b"a tensor" * 100
DIGEST = hashlib.sha256(DATA).hexdigest()


def test_a_blob_lies_under_its_digest(tmp_path):
    store = BlobStore(tmp_path / "new" / "blobs")
    blob = store.put(memoryview(DATA))
    assert (blob.digest, blob.num_bytes) == (DIGEST, len(DATA))
    assert store.path(DIGEST).read_bytes() == DATA
    assert [one.name for one in store.folder.iterdir()] == [DIGEST]


def test_what_is_there_is_not_written_again(tmp_path):
    first = BlobStore(tmp_path)
    first.put(DATA)
    before = os.stat(first.path(DIGEST)).st_ino
    first.put(DATA)
    BlobStore(tmp_path).put(DATA)  # as after a restart
    assert os.stat(first.path(DIGEST)).st_ino == before


def test_what_an_earlier_process_left_damaged_is_written_anew(tmp_path):
    (tmp_path / DIGEST).write_bytes(DATA[:-1] + b"?")
    (tmp_path / f".{DIGEST}.1.draft").write_bytes(DATA[:10])
    store = BlobStore(tmp_path)
    store.put(DATA)
    assert store.path(DIGEST).read_bytes() == DATA
    assert len(os.listdir(tmp_path)) == 1


def test_only_what_is_named_is_kept(tmp_path):
    store = BlobStore(tmp_path)
    kept, gone = store.put(b"kept"), store.put(b"gone")
    (tmp_path / "other.txt").touch()
    store.keep_only({kept.digest})
    assert {*os.listdir(tmp_path)} == {kept.digest, "other.txt"}
    assert store.put(b"gone") == gone
    assert store.path(gone.digest).exists()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "A" * 64, "a" * 63, "", "a\n"])
def test_nothing_but_a_digest_becomes_a_path(tmp_path, name):
    with pytest.raises(InputError, match="64 lower-case"):
        BlobStore(tmp_path).path(name)


def test_a_mirror_gets_every_blob(tmp_path):
    store = BlobStore(tmp_path / "own", (tmp_path / "cdn" / "x").as_uri())
    store.put(DATA)
    assert (tmp_path / "cdn" / "x" / DIGEST).read_bytes() == DATA
    store.keep_only(())
    assert (tmp_path / "cdn" / "x" / DIGEST).exists()


def test_a_mirror_that_fails_is_told_once_and_the_blob_is_there(tmp_path):
    (tmp_path / "file").touch()
    store = BlobStore(tmp_path / "own", (tmp_path / "file" / "x").as_uri())
    with pytest.warns(UserWarning, match="devices fetch them from the server") as told:
        store.put(DATA)
        store.put(b"another")
    assert len(told) == 1
    assert store.path(DIGEST).read_bytes() == DATA


@pytest.mark.parametrize("url", ["nowhere", "nosuch://x/y", "simplecache::file:///x"])
def test_a_mirror_that_is_none_is_refused(tmp_path, url):
    with pytest.raises(InputError, match="URL|cannot be opened"):
        BlobStore(tmp_path, url)

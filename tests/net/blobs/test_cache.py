import hashlib
import os
import subprocess
import sys

import pytest

from trimwave.base.errors import InputError
from trimwave.net.blobs.cache import BlobCache


def put(cache, data, used_s=None):
    digest = hashlib.sha256(data).hexdigest()
    with cache.part(digest) as part:
        part.write(data)
        path = cache.add(digest, cache.part_path(digest))
    if used_s is not None:
        os.utime(path, (used_s, path.stat().st_mtime))
    return digest


def test_a_blob_is_found_by_this_and_by_another_process(tmp_path):
    cache = BlobCache(tmp_path)
    digest = put(cache, b"weights")
    assert cache.path(digest) == tmp_path / digest
    assert BlobCache(tmp_path).path(digest).read_bytes() == b"weights"
    assert cache.digests() == {digest}
    assert cache.path("0" * 64) is None
    assert not list(tmp_path.glob(".part*"))


@pytest.mark.parametrize("known", [True, False])
def test_a_damaged_file_is_dropped_with_a_warning(tmp_path, known):
    cache = BlobCache(tmp_path)
    digest = put(cache, b"weights")
    (tmp_path / digest).write_bytes(b"weighty")
    os.utime(tmp_path / digest, (1, 1))
    with pytest.warns(UserWarning, match="not what its name says"):
        assert (cache if known else BlobCache(tmp_path)).path(digest) is None
    assert not (tmp_path / digest).exists()


def test_what_is_read_is_checked_each_time(tmp_path):
    """Also where neither size nor time of a file tell that it is another."""
    cache = BlobCache(tmp_path)
    digest = put(cache, b"weights")
    assert cache.read(digest) == b"weights"
    file = tmp_path / digest
    was = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"x")
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert cache.path(digest) == file
    with pytest.warns(UserWarning, match="not what its name says"):
        assert cache.read(digest) is None
    assert not file.exists()
    assert cache.read(digest) is None


def test_a_link_is_no_blob(tmp_path):
    (tmp_path / "x").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    (tmp_path / digest).symlink_to(tmp_path / "x")
    with pytest.warns(UserWarning, match="not what its name says"):
        assert BlobCache(tmp_path).path(digest) is None


def test_what_was_used_longest_ago_goes_first(tmp_path):
    cache = BlobCache(tmp_path, quota_bytes=25)
    old, older, new, pinned = (
        put(cache, bytes([n]) * 10, used_s)
        for n, used_s in enumerate((2000, 1000, 3000, 1))
    )
    cache.path(old)  # a use
    assert cache.evict({pinned}) == 0
    assert cache.digests() == {old, pinned}
    assert cache.path(older) is None and cache.path(new) is None


def test_pinned_ones_stay_and_the_excess_is_told(tmp_path):
    cache = BlobCache(tmp_path, quota_bytes=15)
    pinned = {put(cache, bytes([n]) * 10) for n in range(3)}
    put(cache, b"x")
    assert cache.evict(pinned) == 15
    assert cache.digests() == pinned


def test_without_a_quota_only_what_is_pinned_stays(tmp_path):
    cache = BlobCache(tmp_path)
    pinned, _ = put(cache, b"1"), put(cache, b"2")
    (tmp_path / "kit.json").touch()
    assert cache.evict({pinned}) == 0
    assert {*os.listdir(tmp_path)} == {pinned, "kit.json"}


def test_what_is_half_there_goes_unless_it_is_being_fetched(tmp_path):
    cache = BlobCache(tmp_path)
    (tmp_path / f".part-{'a' * 64}").write_bytes(b"half")
    (tmp_path / f".part-{'b' * 64}").write_bytes(b"half, and wanted")
    with cache.part("c" * 64) as part:
        part.write(b"under way")
        BlobCache(tmp_path).evict({"b" * 64})
        assert cache.part_path("c" * 64).exists()
    assert {one.name[6] for one in tmp_path.glob(".part-*")} == {"b", "c"}
    assert cache.digests() == set()


def test_a_part_is_held_by_one_process_at_a_time(tmp_path):
    cache = BlobCache(tmp_path)
    digest = hashlib.sha256(b"weights").hexdigest()
    code = (
        "import sys; from pathlib import Path\n"
        "from trimwave.net.blobs.cache import BlobCache\n"
        "cache = BlobCache(Path(sys.argv[1])); print('ready', flush=True)\n"
        "with cache.part(sys.argv[2]): print(cache.path(sys.argv[2]) is not None)\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path), digest]
    with cache.part(digest) as part:
        other = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert other.stdout.readline() == "ready\n"
        part.write(b"weights")
        cache.add(digest, cache.part_path(digest))
    assert other.communicate(timeout=60)[0] == "True\n"
    assert not list(tmp_path.glob(".part*"))


def test_nothing_but_a_digest_becomes_a_path(tmp_path):
    cache = BlobCache(tmp_path)
    for call in (cache.path, cache.part_path):
        with pytest.raises(InputError):
            call("../../etc/passwd")

"""States on a disk: the owner's alone, within a quota, and never anything else."""

import errno
import hashlib
import os
import stat
import warnings

import pytest

from trimwave.base import stored
from trimwave.lm.states import files
from trimwave.lm.states.files import (
    SEAL_BYTES,
    StateFolder,
    delete_states,
    kept_states,
)

KEYS = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(6)]
SIZE = 100 + SEAL_BYTES


def content(index):
    return bytes([index]) * 100


def filled(folder, count, quota=10**6):
    states = StateFolder(folder, quota)
    for index in range(count):
        states.write(KEYS[index], content(index))
    return states


def lying(folder):
    return {path.name for path in folder.iterdir()}


def test_what_was_written_is_read_also_by_another_process(tmp_path):
    filled(tmp_path / "states", 2)
    later = StateFolder(tmp_path / "states", 10**6)
    assert [later.read(key) for key in KEYS[:3]] == [content(0), content(1), None]
    assert later.used_bytes == 2 * SIZE
    assert kept_states(tmp_path / "states") == (2, 2 * SIZE)


def test_nobody_else_may_read_them(tmp_path):
    folder = tmp_path / "states"
    folder.mkdir(mode=0o755)
    before = os.umask(0)
    try:
        filled(folder, 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / KEYS[0]).stat().st_mode) == 0o600


@pytest.mark.parametrize("change", ["flip", "cut", "longer", "empty", "renamed"])
def test_an_altered_file_is_none_and_is_written_again(tmp_path, change):
    states = filled(tmp_path, 1)
    file = tmp_path / KEYS[0]
    data = file.read_bytes()
    if change == "renamed":
        file.rename(tmp_path / KEYS[1])
        assert states.read(KEYS[1]) is None
        return
    altered = {
        "flip": data[:60] + bytes([data[60] ^ 1]) + data[61:],
        "cut": data[:-1],
        "longer": data + b"\0",
        "empty": b"",
    }
    file.write_bytes(altered[change])
    assert states.read(KEYS[0]) is None
    states.write(KEYS[0], content(0))
    assert states.read(KEYS[0]) == content(0)


def test_the_quota_is_kept_and_what_is_full_stays_full(tmp_path):
    states = filled(tmp_path, 5, quota=3 * SIZE + 10)
    assert lying(tmp_path) == {*KEYS[:3]}
    assert states.used_bytes == 3 * SIZE == kept_states(tmp_path)[1]


def test_states_of_earlier_processes_make_room_the_oldest_first(tmp_path):
    filled(tmp_path, 3)
    for age, key in enumerate(KEYS[:3]):
        os.utime(tmp_path / key, (1000 + age, 1000 + age))
    later = StateFolder(tmp_path, 3 * SIZE)
    assert later.read(KEYS[0]) == content(0)  # so it stays
    later.write(KEYS[3], content(3))
    assert lying(tmp_path) == {KEYS[0], KEYS[2], KEYS[3]}
    for index in (4, 5):
        later.write(KEYS[index], content(index))
    assert lying(tmp_path) == {KEYS[0], KEYS[3], KEYS[4]}


def test_of_the_users_own_files_none_is_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    filled(tmp_path, 2, quota=SIZE)
    draft = tmp_path / f".{KEYS[4]}.77.draft"  # of a process that was killed
    draft.write_bytes(b"half a state")
    assert delete_states(tmp_path) == (2, SIZE + 12)
    assert lying(tmp_path) == {"notes.txt"}
    assert delete_states(tmp_path / "absent") == (0, 0)


def test_what_another_process_deletes_makes_room(tmp_path):
    states = filled(tmp_path, 5, quota=3 * SIZE)
    assert delete_states(tmp_path) == (3, 3 * SIZE)
    for index in range(5):  # as rows are asked for
        assert states.read(KEYS[index]) is None
        states.write(KEYS[index], content(index))
    assert lying(tmp_path) == {*KEYS[:3]}
    assert states.used_bytes == 3 * SIZE


@pytest.mark.parametrize("reads", [False, True])
def test_what_another_process_wrote_since_is_counted_once(tmp_path, reads):
    states = StateFolder(tmp_path, 3 * SIZE)
    filled(tmp_path, 2)
    for index in range(2):
        assert not reads or states.read(KEYS[index]) == content(index)
        states.write(KEYS[index], content(index))
    assert states.used_bytes == 2 * SIZE
    for index in range(2, 5):
        states.write(KEYS[index], content(index))
    assert lying(tmp_path) == {*KEYS[:3]}


@pytest.mark.parametrize("gone", ["draft", "folder"])
def test_what_goes_while_it_is_written_is_written_again(tmp_path, monkeypatch, gone):
    states, replace = filled(tmp_path / "states", 1), os.replace

    def deleted_first(draft, path):
        monkeypatch.setattr(stored.os, "replace", replace)
        delete_states(tmp_path / "states")
        if gone == "folder":
            (tmp_path / "states").rmdir()
        replace(draft, path)

    monkeypatch.setattr(stored.os, "replace", deleted_first)
    states.write(KEYS[1], content(1))
    states.write(KEYS[2], content(2))
    assert lying(tmp_path / "states") == {*KEYS[1:3]}


def test_files_that_go_while_they_are_listed(tmp_path, monkeypatch):
    filled(tmp_path, 3)
    status = files.Path.stat

    def gone(path, **how):
        if path.name == KEYS[1]:
            raise FileNotFoundError(path)
        return status(path, **how)

    monkeypatch.setattr(files.Path, "stat", gone)
    assert StateFolder(tmp_path, 10**6).used_bytes == 2 * SIZE
    assert kept_states(tmp_path) == (2, 2 * SIZE)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_disk_that_is_full_or_read_only_is_told_once(tmp_path, monkeypatch, number):
    states = filled(tmp_path, 1)

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "write_atomic", refuse)
    with pytest.warns(UserWarning, match="computed again") as told:
        states.write(KEYS[1], content(1))
        states.write(KEYS[2], content(2))
    assert len(told) == 1
    assert ("free some space" in str(told[0].message)) == (number == errno.ENOSPC)
    assert states.read(KEYS[0]) == content(0)  # what is there is used
    assert states.read(KEYS[1]) is None
    assert lying(tmp_path) == {KEYS[0]}


def test_a_folder_that_cannot_be_made_is_told_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="cannot be written to") as told:
        states = filled(tmp_path / "file" / "states", 2)
        assert states.read(KEYS[0]) is None
    assert len(told) == 1


def test_a_disk_that_cannot_be_read_is_told_once(tmp_path, monkeypatch):
    states = filled(tmp_path, 2)

    def refuse(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.Path, "read_bytes", refuse)
    with pytest.warns(UserWarning, match="cannot be read") as told:
        assert [states.read(key) for key in KEYS[:2]] == [None, None]
    assert len(told) == 1


def test_what_is_larger_than_the_quota_drives_nothing_out(tmp_path):
    filled(tmp_path, 3)
    later = StateFolder(tmp_path, 3 * SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        later.write(KEYS[3], bytes(10**4))
    assert lying(tmp_path) == {*KEYS[:3]}

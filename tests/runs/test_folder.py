import fcntl
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trimwave.base.errors import InputError, RunError
from trimwave.runs import folder as folders
from trimwave.runs.folder import (
    LOCK,
    locked,
    new_folder,
    quoted,
    require_lock,
    whole_folder,
)

HOLDER = """
import sys
from pathlib import Path
from trimwave.runs.folder import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(folder):
    """Start a process that holds a folder until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_until_the_first_ends(tmp_path):
    with hold(tmp_path / "run") as first:
        with pytest.raises(RunError, match=f"another process .*process {first.pid} on"):
            with locked(tmp_path / "run"):
                raise AssertionError
        first.kill()
        first.wait()
    assert (tmp_path / "run" / LOCK).exists()  # left over, held by nobody
    with locked(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / LOCK).exists()


def test_one_process_may_hold_a_folder_twice_but_not_two_threads(tmp_path):
    refused = []

    def other():
        try:
            with locked(tmp_path):
                pass
        except RunError as error:
            refused.append(str(error))

    with locked(tmp_path), locked(tmp_path / "."):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert len(refused) == 1
    other()
    assert len(refused) == 1


def test_new_folders_are_distinct(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wanted = None, "a-run", "manifest.json"
    with new_folder(*wanted) as one, new_folder(*wanted) as other:
        (one / "kept").touch()
        assert {one.name, other.name} == {"a-run", "a-run-2"}
    assert one.exists() and not other.exists()


def test_a_folder_that_was_there_stays(tmp_path):
    with pytest.raises(InputError), new_folder(tmp_path, "x", "manifest.json"):
        raise InputError("refused")
    assert tmp_path.is_dir()
    with pytest.raises(InputError), new_folder(tmp_path / "new", "x", "manifest.json"):
        raise InputError("refused")
    assert not (tmp_path / "new").exists()


def test_a_disk_without_locks_is_said(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(UserWarning, match="cannot be locked"), locked(tmp_path):
        pass
    assert not folders._held


def test_a_place_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="nothing was started"):
        with locked(tmp_path / "file" / "run"):
            raise AssertionError


def test_a_path_is_written_as_a_shell_reads_it(tmp_path):
    assert quoted(tmp_path / "a b; rm") == f"'{tmp_path}/a b; rm'"


def test_a_folder_of_another_kind_is_refused(tmp_path):
    (tmp_path / "compare.json").write_text("{}")
    with (
        pytest.raises(RunError, match="already holds a comparison; choose another"),
        new_folder(tmp_path, "x", "manifest.json"),
    ):
        pass
    with new_folder(tmp_path, "x", "compare.json") as folder:
        assert folder == tmp_path


def test_a_lock_that_was_removed_stops_the_next_write(tmp_path):
    with locked(tmp_path):
        require_lock(tmp_path)
        (tmp_path / ".lock").unlink()
        with pytest.raises(RunError, match="was removed while this run wrote"):
            require_lock(tmp_path)
        (tmp_path / ".lock").write_text("another's")
        with pytest.raises(RunError, match="was removed while this run wrote"):
            require_lock(tmp_path)
    assert (tmp_path / ".lock").read_text() == "another's"
    require_lock(tmp_path)  # who took none has none to lose


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path):
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RunError, match="cannot read or write"), locked(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("name", ["plain", "a b", "it's $HOME", "two\nlines\x1b", "日"])
def test_a_shell_reads_a_quoted_name_back(name):
    text = quoted(Path(name))
    assert text.isprintable()
    done = subprocess.run(
        ["bash", "-c", f"printf %s {text}"], capture_output=True, check=True
    )
    assert done.stdout.decode() == name


def test_a_whole_folder_is_there_or_not(tmp_path):
    final = tmp_path / "a" / "b"
    with whole_folder(final) as draft:
        assert not final.exists()
        (draft / "x").write_text("1")
    assert [one.name for one in final.iterdir()] == ["x"]
    assert [one.name for one in final.parent.iterdir()] == ["b"]
    other = tmp_path / "c" / "d"
    with pytest.raises(KeyboardInterrupt), whole_folder(other) as draft:
        (draft / "x").write_text("1")
        (draft / "y").mkdir()
        raise KeyboardInterrupt
    assert not other.parent.exists()


def test_what_a_kill_left_of_a_draft_goes(tmp_path):
    left = tmp_path / ".b.draft"
    left.mkdir()
    (left / "half").write_text("1")
    with whole_folder(tmp_path / "b") as draft:
        (draft / "x").write_text("1")
    assert [one.name for one in tmp_path.iterdir()] == ["b"]
    assert [one.name for one in (tmp_path / "b").iterdir()] == ["x"]


def test_a_folder_that_somebody_else_filled_stays(tmp_path):
    final = tmp_path / "b"
    with pytest.raises(RunError, match="nothing was written"):
        with whole_folder(final) as draft:
            (draft / "x").write_text("1")
            final.mkdir()
            (final / "theirs").write_text("2")
    assert [one.name for one in tmp_path.iterdir()] == ["b"]
    assert (final / "theirs").read_text() == "2"

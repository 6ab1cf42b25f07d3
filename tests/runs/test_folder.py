import fcntl
import subprocess
import sys
import threading

import pytest

from trimwave.base.errors import InputError, RunError
from trimwave.runs import folder as folders
from trimwave.runs.folder import LOCK, locked, new_folder, quoted

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
    with new_folder(None, "a-run") as one, new_folder(None, "a-run") as other:
        (one / "kept").touch()
        assert {one.name, other.name} == {"a-run", "a-run-2"}
    assert one.exists() and not other.exists()


def test_a_folder_that_was_there_stays(tmp_path):
    with pytest.raises(InputError), new_folder(tmp_path, "x"):
        raise InputError("refused")
    assert tmp_path.is_dir()
    with pytest.raises(InputError), new_folder(tmp_path / "new", "x"):
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

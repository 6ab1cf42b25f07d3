import os
import socket
import subprocess
import sys

import pytest

from trimwave.base.errors import InputError
from trimwave.net.processes import (
    SCRATCH,
    free_port,
    require_free_port,
    scratch_folder,
)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Where folders for sockets are made, in place of the system's."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_a_killed_runs_folder_goes_and_those_of_living_runs_stay(root):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = {
        f"{SCRATCH}{gone.pid}-a": False,
        f"{SCRATCH}{2**70}-b": False,  # no process has such a number
        f"{SCRATCH}{os.getpid()}-c": True,
        f"{SCRATCH}{os.getppid()}-d": True,
        f"{SCRATCH}mine-e": True,  # none of ours
    }
    for name in names:
        (root / name).mkdir()
    with scratch_folder() as folder:
        assert folder.parent == root
        assert folder.name.startswith(f"{SCRATCH}{os.getpid()}-")
        assert {name: (root / name).exists() for name in names} == names
    assert not folder.exists()


@pytest.mark.parametrize("error", [PermissionError, None])
def test_another_users_run_is_living(root, monkeypatch, error):
    def kill(number, signal):
        assert signal == 0
        if error:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    (root / f"{SCRATCH}99999999-a").mkdir()
    with scratch_folder():
        assert (root / f"{SCRATCH}99999999-a").exists()


def test_a_port_that_is_taken_is_told_before_anything_starts():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port}: .*another port by --port"):
            require_free_port("127.0.0.1", port, "--port")
    require_free_port("127.0.0.1", port, "--port")


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_a_host_that_is_not_here_is_told(host):
    with pytest.raises(InputError, match="an address of this machine by --host"):
        require_free_port(host, 8180, "--port")


def test_all_addresses_can_be_listened_on():
    require_free_port("0.0.0.0", free_port(), "--port")

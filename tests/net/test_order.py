"""The server's process and its launcher."""

import socket
import subprocess
import sys

import pytest

TELLS = """
import sys, time
from trimwave.net.order import Events
events = Events(sys.argv[1])
events.tell("say", "first")
events.tell("say", "second")
print("told", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("heard_bytes", [0, 1 << 16], ids=["unread", "read"])
def test_the_servers_process_ends_with_its_launcher(tmp_path, heard_bytes):
    """Also if that was killed before it read what it was told last."""
    path = tmp_path / "events.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)
        argv = [sys.executable, "-c", TELLS, str(path)]
        with subprocess.Popen(argv, stdout=subprocess.PIPE) as child:
            try:
                stream, _ = listener.accept()
                assert child.stdout.readline() == b"told\n"
                if heard_bytes:
                    assert b"second" in stream.recv(heard_bytes)
                stream.close()
                assert child.wait(30) == 1
            finally:
                child.kill()

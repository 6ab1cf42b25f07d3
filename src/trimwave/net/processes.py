"""Processes that a run starts: each with a log, all gone when the run ends.

A child is the head of its own process group, so that what it started goes with it, and
is killed by the system should this process be: nothing is left on the machine.
"""

import ctypes
import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from trimwave.base.errors import InputError, RunError, one_line

_PR_SET_PDEATHSIG = 1

GRACE_S = 5.0
"""How long a process may take to end when it is asked to."""

MOST_LOG_LINES = 4

TASK_POLL_S = 0.25
"""Between two looks of Flower's for a message to start a process for; its own is 1 s.
"""

SCRATCH = "trimwave-run-"
"""How folders of sockets begin."""


def flower_env(home: Path) -> dict[str, str]:
    """Return the environment of Flower's commands: nothing leaves, nothing is fetched.

    Its sub-commands are found by PATH, which must name where this Python's are.
    """
    scripts = str(Path(sys.executable).parent)
    return {
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": str(TASK_POLL_S),
        **os.environ,
        "PATH": os.pathsep.join((scripts, os.environ.get("PATH", os.defpath))),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        # Else every run first asks the package index for the app's dependencies.
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "PYTHONUNBUFFERED": "1",
    }


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Have a folder of short path, for sockets; it goes, and with it killed ones'.

    Its name has the number of this process, so that one that is no more is known.
    """
    root = Path(tempfile.gettempdir())
    for left in root.glob(f"{SCRATCH}*-*"):
        number = left.name.removeprefix(SCRATCH).partition("-")[0]
        if number.isdecimal() and not _is_there(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_there(number: int) -> bool:
    """Whether there is a process of a number, of whatever user."""
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    return True


@dataclass(frozen=True)
class Child:
    """One process."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.popen.poll() is None

    def last_words(self) -> str:
        """Return the end of its log on one line, for a message."""
        with suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            said = [line.strip() for line in lines if line.strip()]
            return one_line(" | ".join(said[-MOST_LOG_LINES:]), 400)
        return ""

    def stop(self) -> None:
        """End it and all that it started."""
        for number, wait_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.popen.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self.popen.wait(wait_s)
                # The group may outlive its head.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.popen.pid, signal.SIGKILL)
                return


@dataclass
class Processes:
    """Children of this process; leaving the context ends them all."""

    logs: Path
    """Folder of their logs."""
    children: dict[str, Child] = field(default_factory=dict)

    def __enter__(self) -> "Processes":
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for child in self.children.values():  # all at once, then each in turn
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.popen.pid, signal.SIGTERM)
        for child in self.children.values():
            child.stop()

    def is_running(self, name: str) -> bool:
        """Whether one was started and has not ended."""
        return name in self.children and self.children[name].is_running

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str]) -> Child:
        """Start a process; its output is added to ``<name>.log``.

        One of the name before it is ended first.
        """
        if name in self.children:
            self.children[name].stop()
        log = self.logs / f"{name}.log"
        with log.open("ab") as file:
            popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=dict(env),
                start_new_session=True,
                preexec_fn=_dies_with_parent(),
            )
        child = self.children[name] = Child(name, popen, log)
        return child


def _dies_with_parent() -> Callable[[], None] | None:
    """Return what a child does before its program: asks to be killed with its parent.

    Linux alone can; elsewhere a killed run leaves its processes.
    """
    if not sys.platform.startswith("linux"):
        return None
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went before this was asked
            os._exit(1)

    return ask


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def require_free_port(host: str, port: int, option: str) -> None:
    """Refuse a port that a server cannot listen on.

    Raises
    ------
    InputError
        Saying why, and with which option to name another.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            # Connections of a server that has ended are no reason.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        what = f"stop what listens there, or name another port by {option}"
        if isinstance(error, PermissionError):
            what = f"name a port from 1024 on by {option}"
        elif error.errno != errno.EADDRINUSE:
            what = "name an address of this machine by --host"
        why = error.strerror or str(error)
        raise InputError(
            f"cannot listen on {host}, port {port}: {why}; {what}."
        ) from None


def wait_for_port(child: Child, host: str, port: int, longest_s: float) -> None:
    """Wait until a process listens.

    Raises
    ------
    RunError
        If it ends, or does not listen in time: with its last words.
    """
    ends_s = time.monotonic() + longest_s
    while time.monotonic() < ends_s:
        with suppress(OSError), socket.create_connection((host, port), 1.0):
            return
        if not child.is_running:
            break
        time.sleep(0.1)
    state = "does not listen" if child.is_running else "ended"
    raise RunError(f"{child.name} {state}: {child.last_words()} (see {child.log})")

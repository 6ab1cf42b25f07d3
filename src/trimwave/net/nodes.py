"""The clients of a run on this machine: each a SuperNode and a worker, kept alive."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trimwave.net.processes import Processes, flower_env, free_port
from trimwave.net.settings import Settings
from trimwave.net.worker import argv_of


@dataclass(frozen=True, kw_only=True)
class Node:
    """One client's processes: a SuperNode and the warm worker beside it."""

    settings: Settings
    label: str = "0"
    """Which of this machine's clients it is, for names of files: a client's own name
    may be any text."""
    superlink: str
    """Address as this client dials it."""
    options: Sequence[str] = ("--insecure",)
    prefix: Sequence[str] = ()
    """What its commands are run by, such as in a network of its own."""

    @property
    def name(self) -> str:
        """Of its processes and logs."""
        return f"client-{self.label}"

    @property
    def worker(self) -> str:
        """Of its worker."""
        return f"{self.name}-worker"

    def start_worker(self, processes: Processes, sockets: Path, threads: int) -> None:
        """Start the worker."""
        path = self._socket(sockets)
        env = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        argv = [*self.prefix, *argv_of(path, self.settings)]
        processes.start(self.worker, argv, env)

    def start_node(self, processes: Processes, sockets: Path, home: Path) -> None:
        """Start the SuperNode."""
        told = f"worker='{self._socket(sockets)}'"
        argv = [
            *self.prefix,
            "flower-supernode",
            *("--superlink", self.superlink, "--port", str(free_port())),
            *("--node-config", told),
            *self.options,
        ]
        processes.start(self.name, argv, flower_env(home / self.name))

    def _socket(self, sockets: Path) -> Path:
        return sockets / f"{self.label}.sock"


@dataclass
class Fleet:
    """All of a run's clients on this machine, kept alive."""

    processes: Processes
    nodes: Sequence[Node]
    sockets: Path
    threads: int

    def mend(self) -> None:
        """Start what does not run: at first, everything."""
        for node in self.nodes:
            if not self.processes.is_running(node.worker):
                node.start_worker(self.processes, self.sockets, self.threads)
            if not self.processes.is_running(node.name):
                node.start_node(self.processes, self.sockets, self.sockets)

"""Peak memory of the processes of a run, read while it goes on."""

import re
import threading
from contextlib import suppress
from pathlib import Path

KINDS = {
    "worker": r"trimwave\.net\.worker",
    "launcher": r"-m trimwave",
    "SuperLink": r"flower-superlink",
    "ServerApp": r"flwr-serverapp",
    "SuperNode": r"flower-supernode",
    "ClientApp": r"flwr-clientapp",
    "SuperExec": r"flower-superexec",
}

SAMPLE_S = 0.25
"""Between two readings; what is read is a high-water mark already."""


class Peaks:
    """Reads the largest resident memory that each process of a run has had."""

    def __init__(self, run):
        self._run, self._ended = run, threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._found = {}

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *raised):
        self._ended.set()
        self._thread.join()

    def by_kind(self):
        """Return the peak of every process by its kind [byte]."""
        kinds = {}
        for line, peak in self._found.values():
            kind = next((k for k, word in KINDS.items() if re.search(word, line)), "")
            kinds.setdefault(kind or line[:60], []).append(peak)
        return kinds

    def _read(self):
        while not self._ended.wait(SAMPLE_S):
            for pid, line in self._run.processes().items():
                with suppress(OSError, TypeError):  # it has just ended
                    status = Path(f"/proc/{pid}/status").read_text()
                    peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10
                    self._found[pid] = line, peak

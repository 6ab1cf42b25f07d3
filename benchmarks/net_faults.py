"""What happens to a run over a network when its processes, disks or blobs fail.

The miniature of the tests runs by `trimwave run --backend flower` with two clients in
real processes. A process is killed (SIGKILL) at a phase that is told from outside, by
what appears in the run's folder. Each run must end with every round once and with the
adapter of an unbroken run, or in one clear error; no process and no scratch folder may
be left. Anything else counts as wrong, and ends the benchmark with 1.

    python benchmarks/net_faults.py                       # the table of the docs
    python benchmarks/net_faults.py worker superlink      # rows whose name has a word
    python benchmarks/net_faults.py --keep F --jobs 2     # the unbroken run stays in F
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "lm")]

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tiny_run import make_config, write_toml  # noqa: E402

ROUNDS = 2
LONGEST_S = 420.0
"""A run takes 40 s on two idle cores."""
MARK = "TRIMWAVE_FAULT_RUN"
"""Environment variable by which whatever a run starts is known."""
CHANGES = [
    "cell.num_clients=2",
    f"rounds={ROUNDS}",
    "data.num_train=16",
    "train.num_local_steps=200",
    "net.quorum=1",
]
"""Two seconds of training, so that it can be hit; no round without a client."""


@dataclass
class Tried:
    """One run: its folder, its launcher, and the folder for temporary files."""

    root: Path
    recipe: Path
    mark: str

    @property
    def folder(self):
        """The run's."""
        return self.root / "run"

    @property
    def net(self):
        """What a network run has beside records."""
        return self.folder / "net"

    @property
    def log(self):
        """What the launcher said."""
        return self.root / "said.log"

    def blobs(self, *sides):
        """Return the blobs that lie at the server or at the clients."""
        places = {"server": "blobs", "client": "clients/*"}
        folders = [one for side in sides for one in self.net.glob(places[side])]
        files = {file for folder in folders for file in folder.glob("*")}
        return {file for file in files if len(file.name) == 64}

    def start(self, *arguments):
        """Start the launcher; with no arguments the run from its beginning."""
        told = arguments or (
            *("run", str(self.recipe), "--backend", "flower"),
            *("--out", str(self.folder)),
        )
        temporary = self.root / "tmp"
        temporary.mkdir(exist_ok=True)
        env = {**os.environ, MARK: self.mark, "TMPDIR": str(temporary)}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "trimwave", *told],
                stdout=log,
                stderr=log,
                env=env,
                start_new_session=True,
            )

    def processes(self):
        """Return the command lines of all that the run started, by pid."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{MARK}={self.mark}".encode() in (path / "environ").read_bytes():
                    line = (path / "cmdline").read_bytes().replace(b"\0", b" ")
                    if line:
                        found[int(path.name)] = line.decode(errors="replace")
        return found

    def records(self):
        """Return the rounds that are written down, in order."""
        with suppress(OSError):
            lines = (self.folder / "rounds.jsonl").read_text().splitlines()
            return [json.loads(line)["round"] for line in lines]
        return []

    def fetched(self):
        """Return how many blobs the first client has."""
        folder = self.net / "clients" / "0"
        return sum(len(one.name) == 64 for one in folder.glob("[0-9a-f]*"))

    def trained(self):
        """Whether a client ended the training of round 1."""
        logs = (self.net / "logs").glob("client-*-worker.log")
        return any("round 1: fetched" in one.read_text() for one in logs)

    def kit(self):
        """Whether a client was told what it joins by."""
        return (self.net / "clients" / "0" / "kit.json").exists()


class Phases:
    """Waits until a run is in a phase, each told by what lies in its folder."""

    @staticmethod
    def joining(run):
        """Say whether the server asks its clients to join."""
        return (run.net / "run").exists()

    @staticmethod
    def dispatch(run):
        """Tell whether round 0 is saved, so that round 1 is planned and sent."""
        return (run.folder / "checkpoints" / "round-0000").exists()

    @staticmethod
    def training(run):
        """Say whether a client has fetched blobs of round 1: it trains for 2 s."""
        joined = run.kit() and run.records() == [0]
        if not hasattr(run, "joined_blobs"):
            if joined:
                run.joined_blobs = run.fetched()
            return False
        return run.fetched() > run.joined_blobs

    @staticmethod
    def upload(run):
        """Say whether a client has trained: its update travels."""
        return run.trained()

    @staticmethod
    def checkpoint(run):
        """Say whether round 1 has its line, and its checkpoint is being made."""
        return len(run.records()) == 2


VICTIMS = {
    "worker": r"trimwave\.net\.worker",
    "SuperNode": r"flower-supernode",
    "SuperLink": r"bin/flower-superlink",
    "ServerApp": r"bin/flwr-serverapp",
    "launcher": r"-m trimwave run",
}
DISKS = {"run": ("64k", "256k", "384k"), "cache": ("32k", "96k")}
"""Sizes of small disks: of the run's folder, and of one client's cache."""
PHASES = ("joining", "dispatch", "training", "upload", "checkpoint")


def wait_for(condition, process, what):
    """Wait for a condition while a process runs."""
    ends_s = time.monotonic() + LONGEST_S
    while not condition():
        if process.poll() is not None:
            raise RuntimeError(f"the run ended before: {what}")
        if time.monotonic() > ends_s:
            raise RuntimeError(f"never: {what}")
        time.sleep(0.002)


def kill(run, victim):
    """Kill the newest process of a kind, the first client's if each has one."""
    lines = run.processes()
    found = [pid for pid, line in lines.items() if re.search(VICTIMS[victim], line)]
    if not found:
        raise RuntimeError(f"no {victim} to kill among {sorted(lines.values())}")
    os.kill(min(found), signal.SIGKILL)


def killed(victim, phase):
    """Return what kills a victim in a phase, and resumes if it was the launcher."""

    def strike(run):
        process = run.start()
        wait_for(lambda: getattr(Phases, phase)(run), process, phase)
        kill(run, victim)
        if victim != "launcher":
            return process
        process.wait()
        ends_s = time.monotonic() + 60
        while run.processes() and time.monotonic() < ends_s:
            time.sleep(0.1)
        if left := run.processes():
            raise RuntimeError(f"outlives its launcher: {sorted(left.values())}")
        if (run.folder / "manifest.json").exists():
            return run.start("run", "--resume", str(run.folder))
        shutil.rmtree(run.folder, ignore_errors=True)
        return run.start()

    return strike


def spoil(blobs, how):
    """Alter, cut or delete files, where they lie; those that go meanwhile are left."""
    for blob in blobs:
        with suppress(FileNotFoundError):
            size = blob.stat().st_size
            if how == "deleted":
                blob.unlink()
            elif how == "cut":
                os.truncate(blob, size // 2)
            else:
                with blob.open("r+b") as file:
                    file.seek(size // 2)
                    byte = file.read(1)[0]
                    file.seek(size // 2)
                    file.write(bytes([byte ^ 1]))


def spoilt_at_server(how, phase):
    """Return what spoils every blob of a phase as soon as it lies at the server.

    Seconds before a client asks for it: letters take that long.
    """

    def strike(run):
        process = run.start()
        if phase != "joining":  # whose blobs are there before it can be seen
            wait_for(lambda: getattr(Phases, phase)(run), process, phase)
        known = run.blobs("server")
        wait_for(lambda: run.blobs("server") - known, process, "another blob")
        ends_s = time.monotonic() + 1.0
        while time.monotonic() < ends_s:
            new = run.blobs("server") - known
            spoil(new, how)
            known |= new
        return process

    return strike


def spoilt_at_clients(how, phase, then_kill=False):
    """Return what spoils all that lies at the clients, and kills a worker if asked."""

    def strike(run):
        process = run.start()
        wait_for(lambda: getattr(Phases, phase)(run), process, phase)
        blobs = run.blobs("client")
        if not blobs:
            raise RuntimeError("no blob to spoil")
        spoil(blobs, how)
        if then_kill:
            kill(run, "worker")
        return process

    return strike


def full_disk(what, size):
    """Return what gives the run's folder or a client's cache a disk of that size."""

    def strike(run):
        target = run.folder if what == "run" else run.net / "clients" / "0"
        target.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(target)]
        subprocess.run(mount, check=True)
        run.mounted = target
        return run.start()

    return strike


@dataclass
class Row:
    """One fault of the table."""

    fault: str
    phase: str
    strike: object
    may_fail: bool = False
    """Whether one clear error is as good an end as a finished run."""


def rows():
    """Return all faults."""
    found = [
        Row(f"{victim} killed", phase, killed(victim, phase))
        for victim in VICTIMS
        for phase in PHASES
    ]
    for how in ("altered", "cut", "deleted"):
        fault = f"blobs {how} at the clients"
        found += [
            Row(fault, "training", spoilt_at_clients(how, "training")),
            Row(
                f"{fault}, worker killed",
                "dispatch",
                spoilt_at_clients(how, "dispatch", True),
            ),
        ]
    for how in ("altered", "cut", "deleted"):
        fault = f"blobs {how} at the server"
        found.append(Row(fault, "dispatch", spoilt_at_server(how, "dispatch"), True))
    strike = spoilt_at_server("altered", "joining")
    found.append(Row("blobs altered at the server", "joining", strike, True))
    for what, sizes in DISKS.items():
        found += [
            Row(f"disk of {size}iB: {what}", "all", full_disk(what, size), True)
            for size in sizes
        ]
    return found


def adapter_of(folder):
    """Return the file of what the newest checkpoint trained."""
    newest = max((folder / "checkpoints").glob("round-*"))
    return newest / "adapter.safetensors"


def difference(folder, unbroken):
    """Return how far a run's adapter is from the unbroken one's, as text."""
    one, other = adapter_of(folder), adapter_of(unbroken)
    if one.read_bytes() == other.read_bytes():
        return "bit for bit"
    mine, theirs = load_file(one), load_file(other)
    apart = [float(torch.max(torch.abs(mine[n] - theirs[n]))) for n in theirs]
    return f"max {max(apart):.1e}"


def judged(row, run, process, unbroken):
    """Return outcome, rounds lost, counted twice, the adapter, and what is wrong."""
    try:
        code = process.wait(LONGEST_S)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGTERM)
        process.wait(60)
        return "no end", "-", "-", "-", "did not end"
    wrong, outcome = [], "finished"
    ends_s = time.monotonic() + 20
    while (left := run.processes()) and time.monotonic() < ends_s:
        time.sleep(0.1)
    if left:
        wrong.append(f"left running: {sorted(left.values())}")
    if folders := [one.name for one in (run.root / "tmp").glob("trimwave-*")]:
        wrong.append(f"left in TMPDIR: {folders}")
    said = run.log.read_text()
    if "Traceback" in said:
        wrong.append("a traceback")
    records = run.records()
    twice = len(records) - len({*records})
    if code:
        errors = [x for x in said.splitlines() if x.startswith(("error", "trimwave:"))]
        outcome = "one error" if len(errors) == 1 else f"exit {code}"
        print(f"   {row.fault}: {' '.join(said.split())[-400:]}", flush=True)
        if not row.may_fail or len(errors) != 1:
            wrong.append(f"exit {code}: {said[-600:]}")
            return outcome, "-", twice, "-", "; ".join(wrong)
        if resumed(run):
            wrong.append(f"not resumed: {run.log.read_text()[-600:]}")
            return outcome, "-", twice, "-", "; ".join(wrong)
        outcome = "one error; resumed"
        records = run.records()
        twice = len(records) - len({*records})
    lost = ROUNDS + 1 - len({*records})
    same = difference(run.folder, unbroken)
    if lost or twice or same != "bit for bit":
        wrong.append("not the unbroken run's")
    return outcome, lost, twice, same, "; ".join(wrong)


def resumed(run):
    """Mend a disk that was full, and go on; the exit status."""
    if mounted := getattr(run, "mounted", None):
        mount = ["mount", "-o", "remount,size=64m", str(mounted)]
        subprocess.run(mount, check=True)
    arguments = ("run", "--resume", str(run.folder))
    if not (run.folder / "manifest.json").exists():
        arguments = ()
    return run.start(*arguments).wait(LONGEST_S)


@contextmanager
def tried(parent, recipe):
    """Have a place for one run; whatever it leaves is ended and unmounted."""
    root = Path(tempfile.mkdtemp(dir=parent))
    run = Tried(root, recipe, uuid.uuid4().hex)
    try:
        yield run
    finally:
        for pid in run.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if mounted := getattr(run, "mounted", None):
            subprocess.run(["umount", "-l", str(mounted)], check=False)
        shutil.rmtree(root, ignore_errors=True)


def tell(row, tries, outcome, lost, twice, same, taken_s):
    """Print a line of the table."""
    cells = (row.fault, row.phase, tries, outcome, lost, twice, same, f"{taken_s:.0f}")
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def unbroken(parent, recipe):
    """Return the run that nothing happens to; one that was kept is taken as it is."""
    kept = parent / "unbroken"
    if not (kept / "checkpoints").exists():
        with tried(parent, recipe) as whole:
            started = time.monotonic()
            if whole.start().wait(LONGEST_S):
                sys.exit(whole.log.read_text())
            print(f"unbroken: {time.monotonic() - started:.0f} s", flush=True)
            shutil.move(whole.folder, kept)
    return kept


def try_one(row, parent, recipe, whole):
    """Try a fault once and print its line; whether it went as it should."""
    with tried(parent, recipe) as run:
        started = time.monotonic()
        try:
            found = judged(row, run, row.strike(run), whole)
        except RuntimeError as error:
            found = "no try", "-", "-", "-", str(error)
        *cells, wrong = found
        tell(row, 1, *cells, time.monotonic() - started)
        if wrong:
            name = f"{row.fault} {row.phase}"
            print(f"!! {name}: {wrong}", file=sys.stderr, flush=True)
        return not wrong


def main():
    """Try every chosen fault and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("words", nargs="*", help="rows whose name has one of these")
    parser.add_argument("--tries", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="faults tried at a time")
    parser.add_argument("--keep", type=Path, help="folder that the unbroken run is in")
    asked = parser.parse_args()
    chosen = []
    for row in rows():
        name = f"{row.fault} {row.phase}"
        if asked.words and not any(one in name for one in asked.words):
            continue
        if "disk of" in name and os.geteuid():
            print(f"{name}: skipped, mounting a small disk needs root")
            continue
        chosen += [row] * asked.tries
    with ExitStack() as stack:
        parent = asked.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="nf"))
        )
        os.environ.setdefault("TRIMWAVE_CACHE", f"{parent}/cache")
        recipe = parent / "tiny.toml"
        if not recipe.exists():
            write_toml(recipe, make_config(parent, changes=CHANGES))
        whole = unbroken(parent, recipe)
        print("| fault | phase | tries | outcome | lost | twice | adapter | s |")
        print("|---|---|---:|---|---:|---:|---|---:|", flush=True)
        pool = stack.enter_context(ThreadPoolExecutor(asked.jobs))
        went = pool.map(lambda row: try_one(row, parent, recipe, whole), chosen)
        bad = sum(not one for one in went)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()

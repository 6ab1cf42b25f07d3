"""What a run over a network gives, and what it costs, beside one in one process.

Real processes on loopback, `trimwave run --backend flower` and `trimwave emulate`, on
the default recipe unless it says otherwise. Each prints a table of docs/network.md.

    python benchmarks/network.py methods             # losses against --backend local
    python benchmarks/network.py memory              # peaks, and bytes on the wire
    python benchmarks/network.py kept                # a second round with a kept model
    python benchmarks/network.py resume              # the launcher killed (SIGKILL)
    python benchmarks/network.py engine --python PY  # seconds of a round, engine alone

`engine` also times Flower itself, whose simulation engine needs a Python of its own:

    python -m venv /tmp/ray && /tmp/ray/bin/pip install "flwr[simulation]==1.42.0"

and then ``--python /tmp/ray/bin/python``.
"""

import argparse
import os
import signal
import statistics
import tempfile
import time
from datetime import date
from pathlib import Path

from flower_peers import deployment_s, simulation_s
from net_faults import difference, tried, wait_for
from net_memory import Peaks
from net_tables import changes, ended, heads, losses_at, round_parts, show
from solvers import machine
from tiny_run import save_model

from trimwave.runs.phases import read_phases
from trimwave.runs.records import Run

MIB = 1 << 20

WIDE = {"n_embd": 1024, "n_layer": 15, "n_head": 16}
"""Blocks of GPT-2 Medium, so many that they are 360 MiB at 16 bits; random weights, and
next to no vocabulary, since embeddings are no part of a package."""


def methods(asked, parent):
    """Compare every loss of every round of both backends."""
    heads("method", "rounds", "losses", "largest difference", "local s", "flower s")
    for method in asked.methods:
        took_s, found = [], []
        for backend in ("local", "flower"):
            with tried(parent, "default") as run:
                told = ["run", "default", "--backend", backend, "--method", method]
                told += ["--rounds", str(asked.rounds)]
                sets = changes(f"cell.num_clients={asked.clients}")
                took_s.append(ended(run, *told, *sets))
                records = Run.open(run.folder).records()
            found.append({k: v for one in records for k, v in losses_at(one).items()})
        local, flower = found
        if local.keys() != flower.keys():
            raise RuntimeError(
                f"{method}: other losses: {local.keys() ^ flower.keys()}"
            )
        apart = max(abs(local[key] - flower[key]) for key in local)
        cells = (method, asked.rounds, len(local), f"{apart:.1e}")
        show(*cells, *(f"{one:.0f}" for one in took_s))


def memory(asked, parent):
    """Measure peaks of the server's processes, and what the links carried."""
    model = save_model(Path(parent) / "model", "gpt2", **WIDE)
    sets = changes(
        "prune.criterion=magnitude",
        "limits.beta_min=0",
        f"limits.beta_bar={asked.beta}",
        "data.num_train=64",
        "data.num_test=1",
        "data.num_public=2",
        "train.num_local_steps=1",
        "train.seq_len=32",
        "data.max_tokens=32",
        "data.too_long=truncate",
        "cell.memory_bytes=[16e9,16e9]",
        "net.absence_s=300",
        "net.measured=off",
    )
    told = ["emulate", "default", "--model", str(model), "--method", "ubfp"]
    told += ["--slowdown", "1", "--shaper", asked.shaper, "--rounds", str(asked.rounds)]
    heads("clients", "process", "processes", "largest peak, MiB", "packages", words=2)
    wires = []
    for clients in asked.clients:
        with tried(parent, "default") as run:
            with Peaks(run) as peaks:
                count = changes(f"cell.num_clients={clients}")
                took_s = ended(run, *told, *sets, *count)
            record = Run.open(run.folder).records()[-1]
            package = record["down_bytes"] / clients
            for kind, of in sorted(peaks.by_kind().items()):
                cells = (clients, kind, len(of), f"{max(of) / MIB:.0f}")
                show(*cells, f"{max(of) / package:.2f}")
            wires.append((clients, took_s, package, *wire_of(run.folder)))
    print()
    heads("clients", "s", "package, MiB", *WIRE, words=0)
    for clients, took_s, package, *cells in wires:
        show(clients, f"{took_s:.0f}", f"{package / MIB:.1f}", *cells)


WIRE = (
    "down planned, MB",
    "blobs, MB",
    "passed, MB",
    "beyond",
    "up planned, MB",
    "passed, MB",
    "beyond",
)


def wire_of(folder):
    """Return what all links should have carried in all rounds, and did [MB]."""
    rows = read_phases(folder)
    timings = Run.open(folder).timings()
    clients = [one for of in timings for one in of.get("clients", {}).values()]
    blobs = sum(one["fetched_bytes"] for one in clients)
    cells = []
    for way in ("down", "up"):
        planned = sum(getattr(one, f"{way}_planned_bytes") for one in rows)
        passed = sum(getattr(one, f"{way}_passed_bytes") for one in rows)
        cells.append(f"{planned / 1e6:.2f}")
        if way == "down":
            cells.append(f"{blobs / 1e6:.2f}")
        cells += [f"{passed / 1e6:.2f}", f"{passed / planned - 1:+.2%}"]
    return cells


def kept(asked, parent):
    """Measure what goes down when clients keep what they were sent."""
    heads("method", "round", *WIRE[:4])
    for method in asked.methods:
        with tried(parent, "default") as run:
            told = ["emulate", "default", "--method", method, "--slowdown", "1"]
            told += ["--shaper", asked.shaper, "--rounds", str(asked.rounds)]
            sets = changes(
                f"cell.num_clients={asked.clients}",
                "cell.cache_bytes=1e12",
                "net.measured=off",
            )
            ended(run, *told, *sets)
            rows, timings = read_phases(run.folder), Run.open(run.folder).timings()
        for number in range(1, asked.rounds + 1):
            of = [one for one in rows if one.round == number]
            (timing,) = [one for one in timings if one["round"] == number]
            planned = sum(one.down_planned_bytes for one in of)
            passed = sum(one.down_passed_bytes for one in of)
            blobs = sum(one["fetched_bytes"] for one in timing["clients"].values())
            cells = [f"{one / 1e6:.2f}" for one in (planned, blobs, passed)]
            show(method, number, *cells, f"{passed / planned - 1:+.2%}")


def resume(asked, parent):
    """Kill the launcher once round 2 is under way, and go on."""
    told = ["run", "default", "--backend", "flower", "--rounds", "4"]
    told += changes(f"cell.num_clients={asked.clients}")
    heads(
        "kill",
        "unbroken s",
        "to the kill s",
        "resumed s",
        "lost s",
        "losses",
        "adapter",
    )
    with tried(parent, "default") as whole:
        whole_s = ended(whole, *told)
        expected = [losses_at(one) for one in Run.open(whole.folder).records()]
        for number in range(asked.tries):
            with tried(parent, "default") as run:
                started = time.monotonic()
                process = run.start(*told, "--out", str(run.folder))
                wait_for(lambda run=run: run.records()[-1:] == [1], process, "round 2")
                time.sleep(1 + number)  # into the round
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                killed_s = time.monotonic() - started
                started = time.monotonic()
                if run.start("run", "--resume", str(run.folder)).wait():
                    raise RuntimeError(run.log.read_text()[-2000:])
                resumed_s = time.monotonic() - started
                records = [losses_at(one) for one in Run.open(run.folder).records()]
                same = "the same" if records == expected else "**others**"
                lost_s = killed_s + resumed_s - whole_s
                seconds = (whole_s, killed_s, resumed_s, lost_s)
                cells = [f"{one:.0f}" for one in seconds]
                show(number + 1, *cells, same, difference(run.folder, whole.folder))


def engine(asked, parent):
    """Time a round without the clients' work; the same bytes in Flower itself.

    Of our rounds: from when the first client is asked to when the last answer is there,
    less the longest that a client was at work for (``work``: blobs fetched, model
    made, local steps) and, apart, what the server does between (``server``: plan,
    pack, aggregate, evaluate, save), which `--backend local` does too. Flower's rounds
    are from the first message to the last answer, with no work in them.
    """
    heads(
        "clients",
        "what",
        "MB per client",
        "first s",
        "later s",
        "least",
        "most",
        words=2,
    )
    for clients in asked.clients:
        with tried(parent, "default") as run:
            told = ["run", "default", "--backend", "flower"]
            told += ["--rounds", str(asked.rounds)]
            ended(run, *told, *changes(f"cell.num_clients={clients}"))
            timings, records = (
                Run.open(run.folder).timings(),
                Run.open(run.folder).records(),
            )
        parts = [round_parts(one) for one in timings if one["round"] > 0]
        plan = records[-1]["plan"]
        whole = sum(plan["down_bits"]) / 8 / clients
        up = sum(plan["up_bits"]) / 8 / clients
        blobs = statistics.mean(
            one["fetched_bytes"] for one in timings[-1]["clients"].values()
        )
        message = whole - blobs
        for name, text in (
            ("engine", "trimwave: engine"),
            ("work", "trimwave: work"),
            ("server", "trimwave: server"),
        ):
            tell(clients, text, message + up, [one[name] for one in parts])
        for down, text in ((message, "messages"), (whole, "packages")):
            sizes = {"down_bytes": int(down), "up_bytes": int(up)}
            sizes["rounds"] = asked.rounds
            with tempfile.TemporaryDirectory(dir=parent) as root:
                found = deployment_s(Path(root), clients, **sizes)
            tell(clients, f"Flower deployed, {text}", down + up, found)
            if asked.python is None:
                continue
            with tempfile.TemporaryDirectory(dir=parent) as root:
                found = simulation_s(Path(root), asked.python, clients, **sizes)
            tell(clients, f"Flower simulated, {text}", down + up, found)


def tell(clients, what, num_bytes, seconds):
    """Print a row of seconds per round, the first apart."""
    first, *later = seconds
    cells = (clients, what, f"{num_bytes / 1e6:.1f}", f"{first:.1f}")
    show(*cells, *(f"{of(later):.1f}" for of in (statistics.median, min, max)))


def main():
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    verbs = parser.add_subparsers(dest="table", required=True)

    def verb(name, rounds, clients):
        one = verbs.add_parser(name)
        several = {"nargs": "+"} if isinstance(clients, list) else {}
        one.add_argument("--clients", type=int, default=clients, **several)
        if rounds:
            one.add_argument("--rounds", type=int, default=rounds)
        return one

    default = ["jcpba", "lora", "fedbiot", "deft"]
    verb("methods", 2, 4).add_argument("methods", nargs="*", default=default)
    one = verb("memory", 1, [1, 8])
    one.add_argument("--beta", type=float, default=0.0, help="pruning of all clients")
    one.add_argument("--shaper", default="auto")
    one = verb("kept", 2, 4)
    one.add_argument("methods", nargs="*", default=["jcpba", "ubfp", "lora"])
    one.add_argument("--shaper", default="auto")
    verb("resume", 0, 2).add_argument("--tries", type=int, default=2)
    one = verb("engine", 5, [2, 4])
    one.add_argument("--python", type=Path, help="one that has flwr[simulation]")
    asked = parser.parse_args()
    load = f"{os.getloadavg()[0]:.1f}"
    on = machine() | {"load": load, "date": str(date.today())}
    print(", ".join(f"{key} {value}" for key, value in on.items()) + "\n")
    with tempfile.TemporaryDirectory(prefix="nw") as parent:
        globals()[asked.table](asked, parent)


if __name__ == "__main__":
    main()

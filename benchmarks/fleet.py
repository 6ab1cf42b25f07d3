"""A fleet from a table: seconds of `trimwave plan` against the library's call.

    python benchmarks/fleet.py                     # 100,000 lines, jcpba
    python benchmarks/fleet.py --clients 1000 100000 --methods all

Writes a table of random clients, plans it on the command line in a process of its own
(start of Python, reading, planning, printing) and solves the same cell with `tw.solve`,
cell in memory. The three kinds of output are timed apart. In a cell stand the seconds
that passed, and those of a core, which other work on the machine changes less.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

import numpy as np
from solvers import machine

import trimwave as tw
from trimwave.recipe.recipe import find_recipe, load_config
from trimwave.recipe.situation import situate
from trimwave.runs.comparison import method_texts

HEADER = "speed_flops_per_s,memory_bytes,snr_down_db,snr_up_db,num_samples\n"
PRINTED = {"table": (), "--all": ("--all",), "--json": ("--json",)}


def write_fleet(path: Path, num_clients: int) -> None:
    """Draw clients; speed, memory and SNRs from uniform ranges."""
    rng = np.random.default_rng(0)
    low, high = (0.5e12, 4e9, 60, 40, 50), (2e12, 8e9, 80, 60, 200)
    rows = rng.uniform(low, high, (num_clients, len(low)))
    np.savetxt(path, rows, "%.6g", ",", header=HEADER.strip(), comments="")


def command_s(path: Path, method: str, options: tuple[str, ...]) -> str:
    """Return what a plan takes from the shell, and of a core [s]."""
    call = [sys.executable, "-c", "from trimwave.cli.app import main; main()"]
    begin, before = time.perf_counter(), os.times()
    subprocess.run(
        [*call, "plan", str(path), "--method", method, *options],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    seconds, after = time.perf_counter() - begin, os.times()
    core_s = after.children_user - before.children_user
    core_s += after.children_system - before.children_system
    return f"{seconds:.2f}, {core_s:.2f}"


def library_s(path: Path) -> str:
    """Return what `tw.solve` takes of the same cell, and of a core [s]."""
    config = load_config(find_recipe("default"), [f'cell.clients="{path}"'])
    problem = situate(config).problem()
    begin, before_s = time.perf_counter(), time.process_time()
    tw.solve(problem, tw.Exact())
    seconds = time.perf_counter() - begin
    return f"{seconds:.2f}, {time.process_time() - before_s:.2f}"


def main() -> None:
    """Print a row per number of clients and method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[100_000])
    parser.add_argument("--methods", default="jcpba")
    arguments = parser.parse_args()
    load = f"{os.getloadavg()[0]:.1f}"
    on = machine() | {"load": load, "date": str(date.today())}
    print(", ".join(f"{key} {value}" for key, value in on.items()) + "\n")
    heads = ["K", "method", *(f"{name} [s]" for name in PRINTED), "tw.solve [s]"]
    for cells in (heads, ["---"] * len(heads)):
        print("| " + " | ".join(cells) + " |")
    for clients in arguments.clients:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fleet.csv"
            write_fleet(path, clients)
            for method in method_texts(arguments.methods, {}):
                seconds = [command_s(path, method, one) for one in PRINTED.values()]
                solved = [library_s(path)] if method == "jcpba" else []
                cells = [f"{clients:,}", method, *seconds, *(solved or [""])]
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

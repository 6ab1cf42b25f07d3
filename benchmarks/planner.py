"""The planner at scale: time, certificates, many draws at once, the psd noise model.

Run one of::

    python benchmarks/planner.py scale [--clients 8 100 ...] [--limit-s 60]
    python benchmarks/planner.py certificates [--instances 10000] [--checked 200]
    python benchmarks/planner.py draws [--draws 10000]
    python benchmarks/planner.py psd [--draws 1000] [--picture docs/planner-psd.png]
    python benchmarks/planner.py blocks [--draws 40]

each with ``--json FILE`` for the numbers. ``scale`` puts `exact` beside `bcd` and
general solvers (see planner_peers.py, planner_cvxpy.py) on the letter's cell with more
clients and as much more band: their time, how many times `exact`'s that is, and how
much later than the optimum their rounds end. ``certificates`` has `exact` prove its
optimum on random problems of every variant of P1, and CVXPY agree. ``draws`` solves
many rounds in one call and one by one. ``psd`` is how far from the optimum Algorithm 1
and the even split end when noise is a density. ``blocks``: whole resource blocks, the
optimum beside a heuristic. CVXPY is no dependency of trimwave: without it its columns
are left out.
"""

import argparse
import json
import os
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from planner_blocks import BLOCK_HEADS, block_row, blocks
from planner_cells import (
    PATH_LOSS_DB,
    VARIANTS,
    crowded_problem,
    letters_draws,
    random_problem,
)
from planner_cvxpy import clarabel_latency_s
from planner_peers import HAS_CVXPY, PEERS, duration, timed, times
from planner_psd import PSD_HEADS, psd, psd_row, save_picture
from solvers import machine

from trimwave.cell.link import NOISE_MODES, Noise
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution, Status, solve
from trimwave.solvers import Exact

Record = dict[str, Any]

CLIENTS = (8, 100, 1_000, 10_000, 100_000, 1_000_000)

BATCH = 200
"""Draws in one call of `certificates`; each batch has its own K and limits."""

CHECK_RTOL = 1e-8
"""To which CVXPY's deadline is searched where it checks ours."""

ALONE = 500
"""At most so many draws are solved one by one."""

SCALE_HEADS = ("K", "exact", "gap", "peak [arrays of K]", *PEERS)

CERTIFICATE_HEADS = (
    *("noise", "variant", "instances", "not optimal", "gap: median", "largest"),
    *("KKT: median", "largest", "time [s]", "CVXPY / exact - 1"),
)

DRAWS_HEADS = (
    *("noise", "draws", "in one call", "one by one", "ratio", "largest gap"),
    *("not optimal", "largest difference"),
)


def exactly(problem: Problem) -> Solution:
    """Return the optimum."""
    return solve(problem, Exact())


def scale(clients: Sequence[int], limit_s: float) -> Iterator[Record]:
    """Time against K."""
    late: set[str] = set()
    for num_clients in clients:
        problem = crowded_problem(num_clients)
        seconds, exact = timed(exactly, problem)
        tracemalloc.start()
        exactly(replace(problem))
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        record: Record = {
            "clients": num_clients,
            "exact_s": seconds,
            "latency_s": exact.latency_s,
            "gap": exact.gap,
            "peak_arrays": peak_bytes / (8 * num_clients),
        }
        for name, peer in PEERS.items():
            if name in late:
                continue
            peer_s, found_s = timed(peer, problem, limit_s)
            record[name] = {"s": peer_s, "ratio": peer_s / seconds}
            if found_s is None:
                late.add(name)
            else:
                record[name]["excess"] = found_s / exact.latency_s - 1
        yield record


def scale_row(record: Record) -> list[str]:
    """Format one K."""
    cells = [f"{record['clients']:,}", duration(record["exact_s"])]
    cells += [f"{record['gap']:.0e}", f"{record['peak_arrays']:.1f}"]
    for peer in (record.get(name) for name in PEERS):
        if peer is None:
            cells.append("")
        elif "excess" not in peer:
            cells.append(f"> {peer['s']:g} s, > {times(peer['ratio'])}")
        else:
            failed = np.isnan(peer["excess"])
            found = "failed" if failed else f"{peer['excess']:+.0e}"
            cells.append(f"{duration(peer['s'])}, {times(peer['ratio'])}, {found}")
    return cells


def certificates(instances: int, checked: int) -> Iterator[Record]:
    """Gaps and residuals of every variant, and how far off CVXPY is."""
    for noise in NOISE_MODES:
        for variant in VARIANTS:
            record = proofs(instances, variant, noise)
            if HAS_CVXPY and noise == "fixed":
                record["cvxpy"] = differences(checked, variant)
            yield record


def proofs(instances: int, variant: str, noise: Noise) -> Record:
    """Solve many random problems of a variant, and say which are the worst."""
    found, seconds = [], 0.0
    for batch in range(-(-instances // BATCH)):
        rng = np.random.default_rng((VARIANTS.index(variant), batch))
        shape = min(BATCH, instances - batch * BATCH), 2 + batch % 11
        problem = random_problem(rng, shape, variant, noise)
        begin = time.perf_counter()
        found.append(Exact().solve_batch(problem))
        seconds += time.perf_counter() - begin
    gap, residual, status = (
        np.concatenate([getattr(one, name) for one in found])
        for name in ("gap", "kkt_residual", "status")
    )
    counts = zip(*np.unique(status, return_counts=True), strict=True)
    return {
        "noise": noise,
        "variant": variant,
        "instances": instances,
        "statuses": {str(one): int(count) for one, count in counts},
        "not_optimal": np.flatnonzero(status != Status.OPTIMAL).tolist(),
        "gap": [float(f(gap)) for f in (np.nanmin, np.nanmedian, np.nanmax)],
        "kkt_residual": [float(f(residual)) for f in (np.nanmedian, np.nanmax)],
        "worst": [int(np.nanargmax(one)) for one in (gap, residual)],
        "seconds": seconds,
    }


def differences(checked: int, variant: str) -> Record:
    """How much later than the optimum CVXPY's answers are, relative."""
    found = []
    for instance in range(checked):
        rng = np.random.default_rng((VARIANTS.index(variant), 0, instance))
        problem = random_problem(rng, (2 + instance % 11,), variant, "fixed")
        theirs_s = clarabel_latency_s(problem, CHECK_RTOL)
        found.append(theirs_s / exactly(problem).latency_s - 1)
    least, median, most = np.quantile(found, (0, 0.5, 1)).tolist()
    return {"instances": checked, "least": least, "median": median, "most": most}


def certificate_row(record: Record) -> list[str]:
    """Format one variant."""
    counts = {one: n for one, n in record["statuses"].items() if one != Status.OPTIMAL}
    theirs = record.get("cvxpy")
    return [
        *(record["noise"], record["variant"], f"{record['instances']:,}"),
        ", ".join(f"{count} {status}" for status, count in counts.items()) or "0",
        *(f"{one:.0e}" for one in (*record["gap"][1:], *record["kkt_residual"])),
        f"{record['seconds']:.1f}",
        f"{theirs['least']:+.0e} to {theirs['most']:+.0e}" if theirs else "",
    ]


def draws(draws: int) -> Iterator[Record]:
    """Solve rounds of the letter's cell in one call, and one by one."""
    counts: dict[Noise, int] = {"fixed": draws, "psd": -(-draws // 10)}
    for noise, count in counts.items():
        stacked, each = letters_draws(count, PATH_LOSS_DB, noise)
        seconds, found = timed(Exact().solve_batch, stacked)
        alone = each[:ALONE]
        begin = time.perf_counter()
        latency_s = np.array([exactly(one).latency_s for one in alone])
        alone_s = (time.perf_counter() - begin) / len(alone)
        off = np.abs(latency_s / found.latency_s[: len(alone), 0] - 1)
        yield {
            "noise": noise,
            "draws": count,
            "draws_per_s": count / seconds,
            "alone": len(alone),
            "alone_per_s": 1 / alone_s,
            "ratio": alone_s * count / seconds,
            "largest_gap": float(np.nanmax(found.gap)),
            "not_optimal": int(np.sum(found.status != Status.OPTIMAL)),
            "largest_difference": float(np.max(off)),
        }


def draws_row(record: Record) -> list[str]:
    """Format one noise model."""
    return [
        *(record["noise"], f"{record['draws']:,}", f"{record['draws_per_s']:,.0f}/s"),
        f"{record['alone_per_s']:,.0f}/s ({record['alone']} of them)",
        *(times(record["ratio"]), f"{record['largest_gap']:.0e}"),
        *(f"{record['not_optimal']}", f"{record['largest_difference']:.0e}"),
    ]


def measured_on() -> dict[str, str]:
    """Return hardware, its load, versions and date."""
    on = machine()
    cpu = f"{on.pop('cpu')}, {os.cpu_count()} cores"
    on |= {name: version(name) for name in ("cvxpy", "clarabel") if HAS_CVXPY}
    return {
        "cpu": cpu,
        "load": f"{os.getloadavg()[0]:.1f}",
        **on,
        "date": f"{date.today()}",
    }


def shown(
    heads: Sequence[str], row: Callable[[Record], list[str]], records: Iterable[Record]
) -> list[Record]:
    """Print records as a table for docs/, each when it is there."""
    for cells in (heads, ["---"] * len(heads)):
        print("| " + " | ".join(cells) + " |")
    kept = []
    for record in records:
        kept.append(record)
        print("| " + " | ".join(row(record)) + " |", flush=True)
    return kept


def main(arguments: Sequence[str] | None = None) -> list[Record]:
    """Print one of the tables, write what was asked for and return its numbers."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("scale")
    command.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    command.add_argument("--limit-s", type=float, default=60.0, help="for each point")
    command = commands.add_parser("certificates")
    command.add_argument("--instances", type=int, default=10_000, help="per variant")
    command.add_argument("--checked", type=int, default=200, help="with CVXPY")
    command = commands.add_parser("draws")
    command.add_argument("--draws", type=int, default=10_000, help="a tenth for psd")
    command = commands.add_parser("psd")
    command.add_argument("--draws", type=int, default=1_000, help="per path loss")
    command.add_argument("--picture", type=Path, help="PNG of bcd's distributions")
    command = commands.add_parser("blocks")
    command.add_argument("--draws", type=int, default=40, help="per row")
    for command in commands.choices.values():
        command.add_argument("--json", type=Path, help="write the numbers here too")
    given = parser.parse_args(arguments)
    on = measured_on()
    print(", ".join(f"{key} {value}" for key, value in on.items()) + "\n")
    if not HAS_CVXPY and given.command in ("scale", "certificates"):
        print("CVXPY is left out: not installed (pip install cvxpy).\n")
    heads, row, records = {
        "scale": (SCALE_HEADS, scale_row, scale),
        "certificates": (CERTIFICATE_HEADS, certificate_row, certificates),
        "draws": (DRAWS_HEADS, draws_row, draws),
        "psd": (PSD_HEADS, psd_row, psd),
        "blocks": (BLOCK_HEADS, block_row, blocks),
    }[given.command]
    others = ("command", "json", "picture")
    asked = {name: one for name, one in vars(given).items() if name not in others}
    found = shown(heads, row, records(**asked))
    if given.command == "psd" and given.picture:
        save_picture(found, given.picture)
    if given.json:
        numbers = {"machine": on, "command": given.command, "records": found}
        given.json.write_text(json.dumps(numbers, indent=2) + "\n")
    return found


if __name__ == "__main__":
    main()

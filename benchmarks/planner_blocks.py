"""Whole resource blocks: the optimum beside the heuristic, and beside brute force."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from planner_cells import SPEED_FACTOR, drawn_cell
from solvers import letters_problem

from trimwave.cell.link import Noise
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution, Status, solve
from trimwave.solvers import Exact, realise
from trimwave.solvers.blocks import prune_block
from trimwave.solvers.resource_blocks import by_turns

Record = dict[str, Any]

CELLS = ((4, 11), (8, 25), (8, 50), (20, 106), (8, 133), (100, 273))
"""Clients and blocks of the band."""

KINDS: tuple[tuple[Noise, int | None], ...] = (
    ("fixed", None),
    ("fixed", 100),
    ("psd", None),
)
"""Noise, and how many sizes an emulator has; None = any."""

MOST_TRIED = 200
"""Brute force is for cells of at most so many splits."""

BLOCK_HEADS = (
    *("clients x blocks", "noise", "sizes", "draws", "heuristic / optimum: mean"),
    *(
        "worst",
        "proven",
        "optimum [CPU ms]",
        "heuristic [CPU ms]",
        "blocks cost: worst",
    ),
    "brute force: largest difference",
)


def blocks(draws: int) -> Iterator[Record]:
    """Compare over draws of every cell, at path losses of 60 to 100 dB."""
    for num_clients, num_blocks in CELLS:
        for noise, num_sizes in KINDS:
            found = [
                _compared(
                    drawn_problem(seed, num_clients, num_blocks, noise, num_sizes)
                )
                for seed in range(draws)
            ]
            yield {
                "clients": num_clients,
                "blocks": num_blocks,
                "noise": noise,
                "sizes": num_sizes,
                "draws": draws,
                **{name: [one[name] for one in found] for name in found[0]},
            }


def drawn_problem(
    seed: int, num_clients: int, num_blocks: int, noise: Noise, num_sizes: int | None
) -> Problem:
    """Draw a cell with the letter's radio whose band is so many blocks."""
    rng = np.random.default_rng((seed, num_clients, num_blocks))
    one = letters_problem(0, SPEED_FACTOR, 60.0)
    cell = drawn_cell(rng, (num_clients,), (0.2, 2.5), rng.uniform(60, 100))
    block_hz = cell.total_bandwidth_hz / num_blocks
    work = one.workload
    if num_sizes is not None:
        sizes = np.arange(1, num_sizes + 1) * (work.emulator_params // num_sizes)
        work = replace(work, emulator_params=int(sizes[-1])).with_sizes(sizes)
    cell = replace(cell, noise=noise, resource_block_hz=block_hz)
    return replace(one, cell=cell, workload=work)


def _compared(problem: Problem) -> Record:
    plan = solve(problem, Exact())
    begin = time.process_time()
    real = realise(problem, plan)
    middle = time.process_time()
    kept, shares_hz = by_turns(problem, plan.kept, plan.bandwidth_hz)
    end = time.process_time()
    turned_s = float(np.max(problem.latency.total_s(kept, shares_hz)))
    return {
        "heuristic": turned_s / real.latency_s,
        "proven": real.status is Status.OPTIMAL,
        "optimum_s": middle - begin,
        "heuristic_s": end - middle,
        "cost": real.latency_s / plan.latency_s - 1,
        "off": _off(problem, real),
    }


def _off(problem: Problem, real: Solution) -> float | None:
    """Difference from the best of all splits, relative; None where they are many."""
    cell, block_hz = problem.cell, problem.cell.resource_block_hz
    clients, total = cell.num_clients, round(cell.total_bandwidth_hz / block_hz)
    ends = list(combinations(range(1, total), clients - 1)) if clients < 5 else []
    if problem.workload.emulator_sizes is not None or not 0 < len(ends) <= MOST_TRIED:
        return None
    best_s = np.inf
    for inner in ends:
        shares_hz = block_hz * np.diff([0, *inner, total])
        kept = prune_block(problem, shares_hz)
        best_s = min(best_s, np.max(problem.latency.total_s(kept, shares_hz)))
    return float(abs(real.latency_s / best_s - 1))


def block_row(record: Record) -> list[str]:
    """Format one cell."""
    off = [one for one in record["off"] if one is not None]
    ratios = record["heuristic"]
    return [
        *(f"{record['clients']} x {record['blocks']}", record["noise"]),
        *(str(record["sizes"] or "any"), str(record["draws"])),
        *(f"{np.mean(ratios):.4f}", f"{np.max(ratios):.3f}"),
        f"{np.mean(record['proven']):.0%}",
        *(
            f"{1e3 * np.median(record[name]):.0f}"
            for name in ("optimum_s", "heuristic_s")
        ),
        f"{np.max(record['cost']):.1%}",
        f"{max(off):.0e}" if off else "",
    ]

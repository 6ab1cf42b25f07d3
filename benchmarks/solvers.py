"""How far Algorithm 1 and the even split are from the optimum, and what proof costs.

Run ``python benchmarks/solvers.py [--draws 200] [--peers 20] [--json out.json]``.

Prints, for the letter's cell, the three speed ranges of its Fig. 4 and two path losses,
the round time of `bcd` and `uniform` relative to `exact`, the largest duality gap and
KKT residual, and the time of an exact solve; then the agreement of `exact` with SciPy's
SLSQP, a general solver that shares no code with it.
"""

import argparse
import json
import platform
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from scipy.optimize import minimize

from trimwave.model.shape import SHAPES
from trimwave.model.workload_of import workload_of
from trimwave.problem.problem import Problem
from trimwave.problem.solution import solve
from trimwave.recipe.environment import Environment
from trimwave.recipe.limits import limits_of
from trimwave.recipe.recipe import load_config
from trimwave.solvers import SOLVERS

RECIPE = Path(__file__).parents[1] / "recipes" / "gpt2-medium.toml"
SPEED_RANGES = ((1.0, 1.5), (0.5, 2.0), (0.2, 2.5))
PATH_LOSSES_DB = (60.0, 94.0)
EVEN_TOLERANCE = 1e-6
"""Shares within this of B/K, relative, count as uniform."""


def letters_problem(
    seed: int, speed_factor: tuple[float, float], path_loss_db: float
) -> Problem:
    """Draw one round of the letter's cell."""
    changes = (
        f"seed={seed}",
        f"cell.speed_factor={list(speed_factor)}",
        f"radio.path_loss_db={path_loss_db}",
    )
    config = load_config(RECIPE, changes)
    shape, model, train = SHAPES[config.model.name], config.model, config.train
    work = workload_of(
        shape,
        split_index=shape.num_blocks - model.adapter_blocks,
        batch_size=train.batch_size,
        seq_len=train.seq_len,
        num_local_steps=train.num_local_steps,
        bits_per_param=model.bits_per_param,
        head_passes=model.head_passes,
        send_embeddings=model.send_embeddings,
    )
    cell = Environment.from_config(config).cell(0, np.ones(config.cell.num_clients))
    return Problem(cell=cell, workload=work, limits=limits_of(config))


def slsqp_latency_s(
    problem: Problem, rng: np.random.Generator, starts: int = 4
) -> float:
    """Return the best round time that SLSQP finds from several starts [s].

    Minimises t subject to T_k(x_k, B_k) <= t, C1, C3, C4 and C5, with shares of the
    band and times in units of the even split's. Its point is made exactly feasible
    before it is timed, so that the result is never below the optimum by its slack.
    """
    cell, latency = problem.cell, problem.latency
    num_clients, band = cell.num_clients, cell.total_bandwidth_hz
    low, high = problem.kept_min, problem.kept_max
    even = solve(problem, SOLVERS["uniform"])
    unit_s = even.latency_s

    def split(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return z[:num_clients], z[num_clients:-1] * band

    def slacks(z: np.ndarray) -> np.ndarray:
        kept, bandwidth_hz = split(z)
        used = (
            1 - bandwidth_hz.sum() / band,
            problem.avoided(kept)[0] - problem.avoid_min,
        )
        return np.r_[z[-1] - latency.total_s(kept, bandwidth_hz) / unit_s, used]

    bounds = [*zip(low, high, strict=True), *[(1e-4, 1.0)] * num_clients, (0, None)]
    best_s = np.inf
    for _ in range(starts):
        share = rng.dirichlet(np.full(num_clients, 20.0))
        kept = np.clip(even.kept + rng.uniform(-0.2, 0.2, num_clients), low, high)
        start_s = float(np.max(latency.total_s(kept, share * band)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # steps outside the bounds
            found = minimize(
                lambda z: z[-1],
                np.r_[kept, share, start_s / unit_s],
                jac=lambda z: np.r_[np.zeros(2 * num_clients), 1.0],
                bounds=bounds,
                constraints={"type": "ineq", "fun": slacks},
                method="SLSQP",
                options={"maxiter": 500, "ftol": 1e-13},
            )
        kept, bandwidth_hz = split(found.x)
        kept = _lift_to_c5(problem, np.clip(kept, low, high))
        total_s = latency.total_s(kept, bandwidth_hz * (band / bandwidth_hz.sum()))
        best_s = min(best_s, float(np.max(total_s)))
    return best_s


def _lift_to_c5(problem: Problem, kept: np.ndarray) -> np.ndarray:
    missing = problem.avoid_min - float(problem.avoided(kept)[0])
    room = problem.kept_max - kept
    return kept + room * max(0.0, missing) / max(float(np.sum(room)), 1e-300)


def compare(
    draws: int, speed_factor: tuple[float, float], path_loss_db: float
) -> dict[str, Any]:
    """Solve many draws with all three solvers."""
    bcd, uniform, even, gaps, residuals, seconds = [], [], [], [], [], []
    for seed in range(draws):
        problem = letters_problem(seed, speed_factor, path_loss_db)
        begin = time.perf_counter()
        exact = solve(problem, SOLVERS["exact"])
        seconds.append(time.perf_counter() - begin)
        descent = solve(problem, SOLVERS["bcd"])
        bcd.append(descent.latency_s / exact.latency_s)
        uniform.append(solve(problem, SOLVERS["uniform"]).latency_s / exact.latency_s)
        share = descent.bandwidth_hz / np.mean(descent.bandwidth_hz)
        even.append(bool(np.max(np.abs(share - 1)) < EVEN_TOLERANCE))
        gaps.append(exact.gap)
        residuals.append(exact.kkt_residual)
    return {
        "path_loss_db": path_loss_db,
        "speed_factor": list(speed_factor),
        "bcd_over_exact": _summary(bcd),
        "uniform_over_exact": _summary(uniform),
        "share_bcd_leaves_band_even": float(np.mean(even)),
        "largest_gap": float(np.max(gaps)),
        "largest_kkt_residual": float(np.max(residuals)),
        "exact_ms": 1e3 * float(np.mean(seconds)),
    }


def _summary(ratios: list[float]) -> dict[str, float]:
    return {
        "mean": float(np.mean(ratios)),
        "median": float(np.median(ratios)),
        "worst": float(np.max(ratios)),
    }


def peer_difference(seed: int) -> float:
    """How much slower SLSQP's best point is than the optimum, relative."""
    speed_factor = SPEED_RANGES[seed % len(SPEED_RANGES)]
    path_loss_db = PATH_LOSSES_DB[seed % len(PATH_LOSSES_DB)]
    problem = letters_problem(seed, speed_factor, path_loss_db)
    found_s = slsqp_latency_s(problem, np.random.default_rng(seed))
    return found_s / solve(problem, SOLVERS["exact"]).latency_s - 1


def machine() -> dict[str, str]:
    """Return what the numbers were measured on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    return {
        "cpu": cpu,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


HEADER = (
    f"{'loss':>6} {'speeds':>11} | {'bcd / exact':^21} | {'uniform / exact':^21} | "
    f"{'B even':>6} {'gap':>8} {'KKT':>8} {'ms':>6}\n"
    f"{'[dB]':>6} {'[TFLOP/s]':>11} | {'mean':>6} {'median':>7} {'worst':>6} | "
    f"{'mean':>6} {'median':>7} {'worst':>6} | {'':>6} {'largest':>8} {'largest':>8}"
)


def line_of(row: dict[str, Any]) -> str:
    """Format one row of the table."""
    low, high = row["speed_factor"]
    ratios = " | ".join(
        f"{row[key]['mean']:6.3f} {row[key]['median']:7.3f} {row[key]['worst']:6.3f}"
        for key in ("bcd_over_exact", "uniform_over_exact")
    )
    return (
        f"{row['path_loss_db']:6.0f} {f'[{low:g}, {high:g}]':>11} | {ratios} | "
        f"{row['share_bcd_leaves_band_even']:6.0%} {row['largest_gap']:8.1e} "
        f"{row['largest_kkt_residual']:8.1e} {row['exact_ms']:6.1f}"
    )


def main() -> None:
    """Print the table and, on request, write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--draws", type=int, default=200, help="rounds per row")
    parser.add_argument("--peers", type=int, default=20, help="instances for SLSQP")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    arguments = parser.parse_args()
    on = machine()
    print(", ".join(f"{key} {value}" for key, value in on.items()))
    print(
        f"GPT-2 Medium, 8 clients, 100 MHz, {arguments.draws} draws a row\n\n{HEADER}"
    )
    rows = []
    for path_loss_db in PATH_LOSSES_DB:
        for speed_factor in SPEED_RANGES:
            rows.append(compare(arguments.draws, speed_factor, path_loss_db))
            print(line_of(rows[-1]), flush=True)
    peers = [peer_difference(seed) for seed in range(arguments.peers)]
    print(
        f"\nSLSQP (4 starts) over exact - 1, {len(peers)} instances: "
        f"least {min(peers):.1e}, median {np.median(peers):.1e}, most {max(peers):.1e}"
    )
    if arguments.json:
        record = {"machine": on, "draws": arguments.draws, "rows": rows, "slsqp": peers}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()

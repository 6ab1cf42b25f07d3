"""The problems of planner.py: more clients, random variants of P1, many rounds.

And `Scaled`: a problem as general solvers take it.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from solvers import RECIPE, letters_problem

from trimwave.base.curve import PiecewiseLinear
from trimwave.base.units import db_to_linear, dbm_to_w
from trimwave.cell.cell import ARRAYS, Cell
from trimwave.cell.link import Noise
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem
from trimwave.problem.solution import solve
from trimwave.recipe.recipe import load_config
from trimwave.solvers import SOLVERS

Lines = list[tuple[np.ndarray, np.ndarray]]

SPEED_FACTOR, PATH_LOSS_DB = (0.5, 2.0), 60.0
"""The letter's."""

VARIANTS = ("base", "held", "table", "weights", "damage", "bounds", "all")
"""What P1 can have beside the letter's: see `random_problem`."""


def drawn_cell(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    speed_factor: tuple[Any, Any],
    path_loss_db: Any,
) -> Cell:
    """Draw cells with the letter's radio and memory, [..., K]."""
    config = load_config(RECIPE)
    radio, cell = config.radio, config.cell
    gain = rng.exponential(size=(2, *shape)) * db_to_linear(-path_loss_db)
    noise_w = dbm_to_w(radio.noise_psd_dbm_per_hz) * cell.total_bandwidth_hz
    factor = rng.uniform(*speed_factor, shape)
    return Cell(
        speed_flops_per_s=cell.base_speed_flops_per_s * factor,
        memory_bytes=rng.uniform(*cell.memory_bytes, shape),
        snr_down=radio.server_power_w * gain[0] / noise_w,
        snr_up=radio.client_power_w * gain[1] / noise_w,
        num_samples=np.ones(shape),
        total_bandwidth_hz=cell.total_bandwidth_hz,
    )


def crowded_problem(num_clients: int) -> Problem:
    """Draw the letter's cell with more clients and as much more band.

    SNRs and so round times stay in its range.
    """
    one = letters_problem(0, SPEED_FACTOR, PATH_LOSS_DB)
    rng = np.random.default_rng(num_clients)
    cell = drawn_cell(rng, (num_clients,), SPEED_FACTOR, PATH_LOSS_DB)
    band = one.cell.total_bandwidth_hz * num_clients / one.cell.num_clients
    return replace(one, cell=replace(cell, total_bandwidth_hz=band))


def random_problem(
    rng: np.random.Generator, shape: tuple[int, ...], variant: str, noise: Noise
) -> Problem:
    """Draw P1s from far around the letter's, [..., K], with what `variant` adds.

    Limits and a table's curves are the same for all draws of one call.
    """
    rows = (*shape[:-1], 1)
    slowest = rng.uniform(0.1, 1.0, rows)
    speeds = slowest, slowest * rng.uniform(1, 20, rows)
    cell = drawn_cell(rng, shape, speeds, rng.uniform(50, 110, rows))
    beta_min = rng.uniform(0, 0.4)
    beta_max = rng.uniform(beta_min + 0.1, 0.95)
    beta_bar = rng.uniform(beta_min, beta_max)
    more: dict[str, Any] = {}
    if variant in ("weights", "all"):
        more["weighted"] = True
    if variant in ("damage", "all"):
        rising = np.cumsum(np.cumsum(rng.uniform(0, 1, 6)))
        more["damage"] = PiecewiseLinear(np.linspace(0, 1, 6), rising)
    return Problem(
        cell=replace(cell, noise=noise, **_additions(rng, cell, variant)),
        workload=letters_problem(0, SPEED_FACTOR, PATH_LOSS_DB).workload,
        limits=Limits(beta_min=beta_min, beta_max=beta_max, beta_bar=beta_bar, **more),
    )


def _additions(rng: np.random.Generator, cell: Cell, variant: str) -> dict[str, Any]:
    """Fields of the cell that a variant has."""
    shape, num_clients, found = cell.shape, cell.num_clients, {}
    if variant in ("held", "all"):
        found["held"] = rng.uniform(0, 1, shape) * (rng.random(shape) < 0.7)
    if variant in ("table", "all"):
        rises = np.cumsum(np.sort(rng.uniform(0, 1, (4, num_clients)), axis=0), axis=0)
        values = 0.1 + 0.9 * np.vstack([np.zeros(num_clients), rises / rises[-1]])
        found["emulator_time"] = PiecewiseLinear(np.linspace(0, 1, 5), values)
    if variant in ("weights", "all"):
        found["num_samples"] = rng.uniform(10, 1000, shape)
    if variant in ("bounds", "all"):
        even_hz = cell.total_bandwidth_hz / num_clients
        found["bandwidth_min_hz"] = even_hz * rng.uniform(0, 0.8, shape)
        found["bandwidth_max_hz"] = even_hz * rng.uniform(1.2, 6, shape)
    return found


def letters_draws(
    draws: int, path_loss_db: float, noise: Noise
) -> tuple[Problem, list[Problem]]:
    """Draw rounds of the letter's cell: as one problem, and one by one."""
    each = [letters_problem(seed, SPEED_FACTOR, path_loss_db) for seed in range(draws)]
    each = [replace(one, cell=replace(one.cell, noise=noise)) for one in each]
    stacked = {
        name: np.stack([getattr(one.cell, name) for one in each]) for name in ARRAYS
    }
    return replace(each[0], cell=replace(each[0].cell, **stacked)), each


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """P1 under ``fixed`` noise, in units of the even plan's time and of B / K.

    A client ends at T_k = max_j (u_j + v_j x) + max_i (p_i + q_i x) / B_k.
    """

    unit_s: float
    """Round time of the even plan [s]."""
    compute: Lines
    """(u_j, v_j): the largest of these lines in x is the compute time."""
    payload: Lines
    """(p_i, q_i): the largest of these is the transfer time at an even share."""
    even_kept: np.ndarray

    @classmethod
    def of(cls, problem: Problem) -> "Scaled":
        """Read the lines off a problem of one draw."""
        latency, cell = problem.latency, problem.cell
        even = solve(problem, SOLVERS["uniform"])
        unit_s = even.latency_s
        share_hz = cell.total_bandwidth_hz / cell.num_clients
        down_s = 1 / (latency.down.efficiency * share_hz * unit_s)
        fixed = latency.down_fixed_bits * down_s
        fixed = fixed + latency.up_bits / (latency.up.efficiency * share_hz * unit_s)
        sent = latency.down_emulator_bits * down_s
        payload = [(fixed, sent)]
        if latency.held is not None:
            payload = [(fixed, 0 * sent), (fixed - sent * latency.held, sent)]
        u, v = latency.compute_fixed_s / unit_s, latency.compute_emulator_s / unit_s
        compute = [(u, v)]
        if latency.emulator_time is not None:
            lines = lines_of(latency.emulator_time)
            compute = [(u + v * start, v * slope) for start, slope in lines]
        return cls(unit_s=unit_s, compute=compute, payload=payload, even_kept=even.kept)

    def earliest(self, kept: np.ndarray) -> float:
        """Return when the slowest would end that has no payload."""
        return max(float(np.max(u + v * kept)) for u, v in self.compute)


def lines_of(curve: PiecewiseLinear) -> Lines:
    """Value at 0 and slope of each piece; a convex curve is the largest of them."""
    starts = zip(curve.points[:-1], curve.values[:-1], curve.slopes, strict=True)
    return [(value - slope * point, slope) for point, value, slope in starts]

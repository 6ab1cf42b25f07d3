"""One round of one cell, planned without training."""

import warnings
from pathlib import Path

import numpy as np

from trimwave.analysis import (
    Prices,
    Selection,
    TradeOff,
    WhatIf,
    drop_clients,
    prices_of,
    select_clients,
    trade_off,
    what_if,
)
from trimwave.base.errors import InputError
from trimwave.base.tolerances import ROUNDING
from trimwave.cell.link import DIRECTIONS
from trimwave.methods import SolvesP1, parse_method
from trimwave.plan.check import check_plan
from trimwave.plan.plan import Plan, Situation
from trimwave.problem.solution import solve
from trimwave.recipe.config import Config
from trimwave.recipe.situation import situate
from trimwave.solvers import Exact

DAY_S = 86400.0


def plan_cell(
    config: Config, method: str, *, round_: int = 1, cell_csv: Path | None = None
) -> tuple[Situation, Plan]:
    """Plan one round of a config's cell, or of a cell in a CSV.

    Any emulator size is allowed here; a run rounds to real heads and neurons.

    Parameters
    ----------
    config, round_, cell_csv
        As in `situate`.
    method : str
        As `parse_method` reads it.

    Raises
    ------
    InputError
        If the config or the cell is wrong, or the method has no plan for it.
    """
    rule = parse_method(method, config.options)
    situation = situate(config, round_=round_, cell_csv=cell_csv)
    plan = rule.plan(situation)
    check_plan(situation, plan, rule.label)
    _warn_of_hopeless(situation, plan)
    return situation, plan


def _warn_of_hopeless(situation: Situation, plan: Plan) -> None:
    """Warn of the client that alone makes the round longer than a day."""
    cell, alone_s = situation.cell, plan.compute_s.copy()
    bits_of = {"down": plan.down_bits, "up": plan.up_bits}
    for direction in DIRECTIONS:
        link = cell.link(direction)
        alone_s += bits_of[direction] / link.rate_bps(
            np.asarray(link.total_bandwidth_hz)
        )
    client = int(np.argmax(alone_s))
    if alone_s[client] > DAY_S:
        warnings.warn(
            f"client {client} alone, with the whole band, takes "
            f"{alone_s[client] / DAY_S:.3g} days for its part of the round; correct "
            "its speed and its links, or take it out of the cell.",
            stacklevel=3,
        )


def served_cell(
    config: Config,
    method: str,
    *,
    deadline_s: float | None = None,
    num_dropped: int = 0,
    round_: int = 1,
    cell_csv: Path | None = None,
) -> tuple[Situation, Plan, Selection]:
    """Plan one round without some of its clients.

    Parameters
    ----------
    config, round_, cell_csv
        As in `situate`.
    method : str
        ``jcpba`` with its options; P1 is solved exactly, whatever its solver.
    deadline_s : float, optional
        When the round must end [s]: as many clients as that allows.
    num_dropped : int
        Without a deadline, how many to drop: those without whom it ends soonest.

    Raises
    ------
    InputError
        If the config or the cell is wrong, nobody can be in time, there are not so many
        clients, or the method does not solve P1.
    """
    asked = "--drop" if deadline_s is None else "--deadline"
    rule = _solving_p1(config, method, asked)
    situation = situate(config, round_=round_, cell_csv=cell_csv)
    problem = rule.problem(situation)
    if deadline_s is not None:
        selection = select_clients(problem, deadline_s)
    else:
        clients = problem.cell.num_clients
        if not 0 <= num_dropped < clients:
            raise InputError(
                f"--drop must be 0 to {clients - 1}, of {clients} clients, got "
                f"{num_dropped}."
            )
        selection = drop_clients(problem, num_dropped)
    plan = rule.plan_for(situation, problem, selection.solution, selection.clients)
    check_plan(situation, plan, method)
    if deadline_s is not None and plan.latency_s > deadline_s * (1 + ROUNDING):
        warnings.warn(
            f"in whole blocks the round ends after the deadline, at "
            f"{plan.latency_s:.6g} s; ask for an earlier one.",
            stacklevel=2,
        )
    return situation, plan, selection


def _solving_p1(config: Config, method: str, asked: str) -> SolvesP1:
    """Return the method, if its plan is an answer to P1."""
    rule = parse_method(method, config.options)
    if not isinstance(rule, SolvesP1):
        raise InputError(
            f"{asked} is of P1, which `{method}` does not solve; use --method jcpba."
        )
    return rule


def tradeoff_cell(
    config: Config, method: str, *, round_: int = 1, cell_csv: Path | None = None
) -> tuple[TradeOff, Prices, list[WhatIf]]:
    """Return the trade-off of one round, the prices at its `beta_bar`, and what-ifs.

    Parameters
    ----------
    config, round_, cell_csv
        As in `situate`.
    method : str
        ``jcpba`` with its options; P1 is solved exactly, whatever its solver.

    Raises
    ------
    InputError
        If the config or the cell is wrong, P1 has no solution, or the method does not
        solve P1.
    """
    rule = _solving_p1(config, method, "--pareto")
    problem = rule.problem(situate(config, round_=round_, cell_csv=cell_csv))
    solution = solve(problem, Exact())
    curve = trade_off(problem)
    return curve, prices_of(problem, solution), what_if(problem, solution)

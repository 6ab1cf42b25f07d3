"""One round of one cell, planned without training."""

import warnings

import numpy as np

from trimwave.analysis import Prices, TradeOff, WhatIf, prices_of, trade_off, what_if
from trimwave.base.errors import InputError
from trimwave.cell.link import DIRECTIONS
from trimwave.methods import SolvesP1, ask_plan, parse_method
from trimwave.plan.plan import Plan, Situation
from trimwave.problem.solution import solve
from trimwave.recipe.config import Config
from trimwave.recipe.situation import situate
from trimwave.solvers import Exact

DAY_S = 86400.0


def plan_cell(
    config: Config, method: str, *, round_: int = 1, time_s: float | None = None
) -> tuple[Situation, Plan]:
    """Plan one round of a config's cell.

    Any emulator size is allowed here; a run rounds to real heads and neurons. The plan
    is of all clients, the situation's cell of those who are there.

    Parameters
    ----------
    config, round_, time_s
        As in `situate`.
    method : str
        As `parse_method` reads it.

    Raises
    ------
    InputError
        If the config or the cell is wrong, or the method has no plan for it.
    """
    rule = parse_method(method, config.options)
    situation = situate(config, round_=round_, time_s=time_s)
    plan = ask_plan(rule, situation)
    _warn_of_hopeless(situation, plan)
    return situation, plan


def _warn_of_hopeless(situation: Situation, plan: Plan) -> None:
    """Warn of the client that alone makes the round longer than a day."""
    cell, clients = situation.cell, situation.clients
    alone_s = plan.compute_s[clients]
    bits_of = {"down": plan.down_bits, "up": plan.up_bits}
    for direction in DIRECTIONS:
        link = cell.link(direction)
        alone_s += bits_of[direction][clients] / link.rate_bps(
            np.asarray(link.total_bandwidth_hz)
        )
    slowest = int(np.argmax(alone_s))
    if alone_s[slowest] > DAY_S:
        warnings.warn(
            f"{cell.who(slowest)} alone, with the whole band, takes "
            f"{alone_s[slowest] / DAY_S:.3g} days for its part of the round; correct "
            "its speed and its links, or take it out of the cell.",
            stacklevel=3,
        )


def tradeoff_cell(
    config: Config, method: str, *, round_: int = 1, time_s: float | None = None
) -> tuple[TradeOff, Prices, list[WhatIf]]:
    """Return the trade-off of one round, the prices at its `beta_bar`, and what-ifs.

    Parameters
    ----------
    config, round_, time_s
        As in `situate`.
    method : str
        ``jcpba`` with its options; P1 is solved exactly, whatever its solver.

    Raises
    ------
    InputError
        If the config or the cell is wrong, P1 has no solution, or the method does not
        solve P1.
    """
    rule = parse_method(method, config.options)
    if not isinstance(rule, SolvesP1):
        raise InputError(
            f"--pareto is of P1, which `{method}` does not solve; use --method jcpba."
        )
    situation = situate(config, round_=round_, time_s=time_s)
    problem = rule.problem(situation)
    solution = solve(problem, Exact())
    curve = trade_off(problem)
    return curve, prices_of(problem, solution), what_if(problem, solution)

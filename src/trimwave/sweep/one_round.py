"""One round of one cell, planned without training."""

import warnings
from dataclasses import replace
from typing import NamedTuple

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
from trimwave.base.errors import InfeasibleError, InputError
from trimwave.base.tolerances import ROUNDING
from trimwave.cell.link import DIRECTIONS
from trimwave.decision.first_pass import FirstPass, first_pass
from trimwave.decision.plan import Plan, Situation, Stage
from trimwave.methods import (
    ServesSome,
    SolvesP1,
    ask_plan,
    ask_stages,
    parse_method,
    ready,
    seen_by,
)
from trimwave.problem.problem import Problem
from trimwave.problem.solution import solve
from trimwave.recipe.config import Config
from trimwave.recipe.situation import situate
from trimwave.runs.stages import warn_of_unreached
from trimwave.runs.states import KnownStates
from trimwave.solvers import Exact
from trimwave.solvers.resource_blocks import BlockGrid

DAY_S = 86400.0

EARLIER = 0.98
"""By how much less a deadline is asked for, where whole blocks end too late."""


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


class PlannedStage(NamedTuple):
    """A stage of a method in a cell, by its first round."""

    stage: Stage
    plan: Plan
    """Of rows that no client has states of."""
    kept: Plan | None
    """Of rows whose states all clients keep; None where none are kept."""
    learnt_bits: int
    """What its first round brings each client of the stage before, to merge."""
    first_pass: FirstPass | None
    """Until its steps can begin, where the base comes first and is streamed."""


def planned_stages(
    config: Config, method: str, situation: Situation, first: Plan
) -> list[PlannedStage]:
    """Plan a round of each stage of a method, in the same cell.

    Empty of one stage in which no states are kept: its plan says it all.

    Parameters
    ----------
    config : Config
        Whether states are kept, `train.state_cache`.
    method : str
        As `parse_method` reads it.
    situation : Situation
        Of the round.
    first : Plan
        Of the first stage.

    Raises
    ------
    InputError
        If the method has no plan for a stage.
    """
    rule, cell, found = parse_method(method, config.options), situation.cell, []
    stages = ask_stages(rule, situation.costs, situation.limits)
    warn_of_unreached(stages, config.rounds, method)
    room = KnownStates.of(config, situation.costs).most_rows > 0
    keeps = [room and one.scheme.submodel.caches_states for one in stages]
    if len(stages) == 1 and not keeps[0]:
        return []
    for at, stage in enumerate(stages):
        one = replace(situation, stage=at)
        kept = None
        if keeps[at]:
            none_fresh = replace(cell, fresh_share=np.zeros(cell.num_clients))
            kept = ask_plan(rule, replace(one, cell=none_fresh))
        plan = ask_plan(rule, one) if at else first
        learnt_bits, ahead = 0, None
        if at:
            both = stages[at - 1].scheme.submodel, stage.scheme.submodel
            learnt_bits = situation.costs.learnt_bits(*both)
        if situation.present is None:
            ahead = first_pass(seen_by(rule, one), plan)
        found.append(PlannedStage(stage, plan, kept, learnt_bits, ahead))
    return found


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


def served_cell(
    config: Config,
    method: str,
    *,
    deadline_s: float | None = None,
    num_dropped: int = 0,
    round_: int = 1,
    time_s: float | None = None,
) -> tuple[Situation, Plan, Selection]:
    """Plan one round without some of its clients.

    Parameters
    ----------
    config, round_, time_s
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
    if not isinstance(rule, ServesSome):
        raise InputError(f"{asked} is not for `{method}`; use --method jcpba.")
    situation = seen_by(rule, situate(config, round_=round_, time_s=time_s))
    problem = rule.problem(situation)
    if deadline_s is not None:
        selection, plan = _in_time(rule, situation, problem, deadline_s)
    else:
        clients = problem.cell.num_clients
        if not 0 <= num_dropped < clients:
            raise InputError(
                f"--drop must be 0 to {clients - 1}, of {clients} clients, got "
                f"{num_dropped}."
            )
        selection = drop_clients(problem, num_dropped)
        plan = rule.plan_for(situation, problem, selection.solution, selection.clients)
    plan = ready(situation, plan, method)
    of_run = situation.clients
    selection = replace(
        selection,
        clients=of_run[selection.clients],
        dropped=of_run[selection.dropped],
    )
    return situation, plan, selection


def _in_time(
    rule: ServesSome, situation: Situation, problem: Problem, deadline_s: float
) -> tuple[Selection, Plan]:
    """Serve as many as a deadline allows, in whole blocks where the cell has some.

    Whole blocks end later than shares of any size, and there may be fewer than clients:
    whom to serve is asked again for earlier deadlines, so that fewer than could be may
    be served; `Selection.most` stays what is proven of shares of any size.

    Raises
    ------
    InfeasibleError
        If nobody is found who can be in time.
    """
    selection = select_clients(problem, deadline_s)
    most, asked_s = selection.most, deadline_s
    while True:
        if _has_blocks(problem, selection):
            plan = rule.plan_for(
                situation, problem, selection.solution, selection.clients
            )
            if plan.latency_s <= deadline_s * (1 + ROUNDING):
                return replace(selection, most=most), plan
        asked_s = EARLIER * min(asked_s, selection.solution.latency_s)
        try:
            selection = select_clients(problem, asked_s)
        except InfeasibleError:
            message = (
                f"deadline: nobody is found who can end within {deadline_s:g} s in "
                "whole resource blocks; raise the deadline, or use smaller blocks."
            )
            raise InfeasibleError([message]) from None


def _has_blocks(problem: Problem, selection: Selection) -> bool:
    """Whether there is a resource block for everyone who is served, if any is asked."""
    if problem.cell.resource_block_hz is None:
        return True
    try:
        BlockGrid.of(replace(problem, cell=problem.cell.take(selection.clients)))
    except InfeasibleError:
        return False
    return True


def _solving_p1(config: Config, method: str, asked: str) -> SolvesP1:
    """Return the method, if its plan is an answer to P1."""
    rule = parse_method(method, config.options)
    if not isinstance(rule, SolvesP1):
        raise InputError(
            f"{asked} is of P1, which `{method}` does not solve; use --method jcpba."
        )
    return rule


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
    rule = _solving_p1(config, method, "--pareto")
    situation = seen_by(rule, situate(config, round_=round_, time_s=time_s))
    problem = rule.problem(situation)
    if config.cell.resource_block_hz is not None:
        warnings.warn(
            "--pareto is of shares of any size: without effect on it "
            "`cell.resource_block_hz`.",
            stacklevel=2,
        )
    solution = solve(problem, Exact())
    curve = trade_off(problem)
    return curve, prices_of(problem, solution), what_if(problem, solution)

"""`Problem.check` against a linear program, and its remedies as they are printed."""

import re
from dataclasses import replace

import numpy as np
from helpers import make_problem, with_cell
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from trimwave.base.errors import InfeasibleError
from trimwave.base.tolerances import NO_SHARE
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Status, solve
from trimwave.solvers import get_solver

BAND_HZ = 100e6
HAIRS = st.sampled_from([0.0, 1e-13, -1e-13, 1e-10, -1e-10, 3e-9, -3e-9, 1e-6, -1e-6])
NUMBER = r"([0-9.e+-]*[0-9])"


@st.composite
def problems(draw):
    """Draw a P1 of up to three clients, on either side of each constraint."""
    clients = draw(st.integers(1, 3))
    shares = st.lists(st.floats(0, 1), min_size=clients, max_size=clients)
    rates = sorted(draw(st.tuples(st.floats(0, 0.9), st.floats(0, 0.9))))
    limits = Limits(
        beta_min=rates[0],
        beta_max=rates[1],
        beta_bar=draw(st.floats(-0.1, 1) | st.sampled_from(rates)) + draw(HAIRS),
        weighted=draw(st.booleans()),
    )
    problem = replace(make_problem(3, num_clients=clients), limits=limits)
    cell = {"num_samples": 1 + np.array(draw(shares))}
    if draw(st.booleans()):
        least = np.array(draw(shares))
        if draw(st.booleans()) and np.sum(least) > 0.1:
            least = least / np.sum(least)
        cell["bandwidth_min_hz"] = BAND_HZ * least * (1 + draw(HAIRS))
    if draw(st.booleans()):
        tiny = st.sampled_from([1.0, 1.0, 1e-6, 1e-12, 1e-315])
        cell["bandwidth_max_hz"] = (
            BAND_HZ * (np.array(draw(shares)) + 1e-3) * draw(tiny)
        )
    if draw(st.booleans()):
        work = problem.workload
        kept = np.array(draw(shares)) * 1.2 - 0.1
        if draw(st.booleans()):
            kept[0] = 1 - limits.beta_max + draw(HAIRS)
        cell["memory_bytes"] = (
            work.fixed_memory_bytes + kept * work.emulator_memory_bytes
        )
    return with_cell(problem, **cell)


def least_slack(problem: Problem) -> float:
    """Return by how much C1 to C5 must be loosened for a point to exist.

    Shares in bands, the rest in kept fractions; at least `NO_SHARE` for everyone.
    Negative = by how much they may be tightened.
    """
    cell, k = problem.cell, problem.cell.num_clients
    least = np.zeros(k) if cell.bandwidth_min_hz is None else cell.bandwidth_min_hz
    most = problem.share_max_hz() / BAND_HZ
    least = np.maximum(least / BAND_HZ, np.minimum(NO_SHARE, most))
    weight = np.broadcast_to(problem.weight, (k,))
    eye, zero, ones = np.eye(k), np.zeros((k, k)), np.ones((1, k))
    rows = np.block(
        [
            [ones, np.zeros((1, k))],
            [-eye, zero],
            [eye, zero],
            [zero, -eye],
            [zero, eye],
            [np.zeros((1, k)), -weight[None, :] / k],
        ]
    )
    limit = np.concatenate(
        [
            [1],
            -least,
            most,
            -problem.kept_min,
            problem.kept_max,
            [problem.limits.beta_bar - 1],
        ]
    )
    rows = np.hstack([rows, -np.ones((len(rows), 1))])
    cost = np.array([0.0] * (2 * k) + [1.0])
    found = linprog(cost, rows, limit, bounds=[(None, None)] * (2 * k + 1))
    return float(found.fun)


@given(problems())
@settings(max_examples=100)
def test_check_agrees_with_a_linear_program(problem):
    slack = least_slack(problem)
    try:
        problem.check()
    except InfeasibleError as error:
        assert slack > -1e-7 or "out of reach" in str(error)
    else:
        assert slack < 1e-7
        found = solve(problem, get_solver("exact"))
        assert found.status is not Status.INFEASIBLE
        assert problem.violations(found.kept, found.bandwidth_hz) == []


def number_in(pattern: str, sentence: str) -> float:
    found = re.search(pattern.replace("#", NUMBER), sentence)
    assert found, sentence
    return float(found[1])


def remedied(problem: Problem, sentence: str) -> Problem:
    """Do what a sentence says, by exactly the number in it."""
    cell, limits = problem.cell, problem.limits
    client = re.search(r"client (\d+)", sentence)
    k = int(client[1]) if client else 0
    if sentence.startswith("C1"):
        rest_hz = number_in("lower `bandwidth_min_hz` by # Hz in all", sentence)
        least = cell.bandwidth_min_hz.copy()
        for at in np.argsort(-least):
            taken = min(rest_hz, least[at])
            least[at], rest_hz = least[at] - taken, rest_hz - taken
        return with_cell(problem, bandwidth_min_hz=least)
    if "out of reach" in sentence:
        return with_cell(problem, bandwidth_max_hz=np.full_like(cell.snr_up, BAND_HZ))
    if "`bandwidth_min_hz`" in sentence:
        least = cell.bandwidth_min_hz.copy()
        lower_hz = number_in("lower its `bandwidth_min_hz` by # Hz", sentence)
        least[k] = max(least[k] - lower_hz, 0.0)
        return with_cell(problem, bandwidth_min_hz=least)
    if sentence.startswith("C3"):
        memory = cell.memory_bytes.copy()
        memory[k] += 1e9 * number_in("short by # GB", sentence)
        return with_cell(problem, memory_bytes=memory)
    raised = limits.beta_bar + number_in("raise `beta_bar` by #[,.]", sentence)
    return replace(problem, limits=replace(limits, beta_bar=raised))


@given(problems())
@settings(max_examples=100)
def test_a_remedy_by_exactly_the_number_printed_is_enough(problem):
    for _ in range(4):  # room for who was short of memory makes others' C5 another
        try:
            problem.check()
        except InfeasibleError as error:
            for sentence in error.violations:
                if not sentence.startswith("And "):
                    problem = remedied(problem, sentence)
        else:
            return
    problem.check()

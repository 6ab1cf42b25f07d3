"""examples/: what the example prints is so."""

import re
import runpy
from dataclasses import replace

import numpy as np
import pytest
from pages import ROOT
from printed import NUMBER

from trimwave.problem.solution import solve
from trimwave.solvers import BlockDescent, Exact

EXAMPLE = ROOT / "examples" / "plan_one_round.py"


def first_number(text):
    return float(NUMBER.search(text)[0])


@pytest.fixture(scope="module")
def example():
    return runpy.run_path(str(EXAMPLE))


@pytest.fixture
def example_says(example, capsys):
    """Return a function that runs the example: its table, and its lines by name."""

    def _says(*arguments):
        example["main"]([*map(str, arguments)])
        table, lines = capsys.readouterr().out.split("\n\n")
        rows = [row.split() for row in table.splitlines()[1:]]
        said = re.findall(r"^(\S.*?)  +(.*)$", lines, re.MULTILINE)
        return np.array(rows, dtype=float), dict(said)

    return _says


@pytest.mark.parametrize(("clients", "seed"), [(3, 1), (5, 7)])
def test_the_example_tells_the_truth(example, example_says, clients, seed):
    table, said = example_says("--clients", clients, "--seed", seed)
    problem = example["draw_problem"](clients, seed)
    plan, letters = solve(problem, Exact()), solve(problem, BlockDescent())
    assert table[:, 2] == pytest.approx(plan.prune_rate, abs=0.006)
    assert table[:, 3] == pytest.approx(plan.bandwidth_hz / 1e6, abs=0.006)
    assert table[:, 4:7].sum(axis=1) == pytest.approx(table[:, 7], abs=0.02)
    assert table[:, 7] == pytest.approx(plan.latency_s, abs=1e-3)
    assert said["round"] == f"{plan.latency_s:.4f} s, optimal"
    assert first_number(said["bound"]) == pytest.approx(plan.latency_s, abs=1e-4)
    _, gap, residual = map(float, NUMBER.findall(said["bound"]))
    assert 0 <= gap < 1e-12
    assert 0 <= residual < 1e-12
    late = float(said["Algorithm 1"].split()[-1].rstrip("%"))
    assert late == pytest.approx(
        100 * (letters.latency_s / plan.latency_s - 1), abs=0.01
    )


def test_the_example_prices_what_they_save(example, example_says):
    _, said = example_says("--clients", 4)
    problem = example["draw_problem"](4, 0)
    cell, plan_s = problem.cell, solve(problem, Exact()).latency_s

    def saved_s(**changed):
        return plan_s - solve(replace(problem, **changed), Exact()).latency_s

    def wider(hz):
        return replace(cell, total_bandwidth_hz=cell.total_bandwidth_hz + hz)

    looser = replace(problem.limits, beta_bar=problem.limits.beta_bar + 1e-5)
    slopes = {
        "1 MHz more": 1e4 * saved_s(cell=wider(1e2)),
        "0.01 beta": 1e3 * saved_s(limits=looser),
        "10 % band": saved_s(cell=wider(0.1 * cell.total_bandwidth_hz)),
    }
    for name, saved in slopes.items():
        assert first_number(said[name]) == pytest.approx(saved, abs=2e-4), name


def test_the_example_drops_whoever_holds_up_most(example, example_says):
    _, said = example_says("--clients", 5, "--seed", 2)
    problem = example["draw_problem"](5, 2)
    without = {}
    for client in range(5):
        rest = np.setdiff1d(np.arange(5), client)
        part = replace(problem, cell=problem.cell.take(rest))
        without[client] = solve(part, Exact()).latency_s
    first = min(without, key=without.get)
    saved_s = solve(problem, Exact()).latency_s - without[first]
    assert said["drop first"] == f"client {first}, which saves {saved_s:.4f} s"


def test_the_example_plans_for_one_client(example_says):
    table, said = example_says("--clients", 1)
    assert len(table) == 1
    assert "drop first" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--clients", "0"], "--clients must be at least 1, got 0."),
        (["--seed", "-1"], "--seed must be at least 0, got -1."),
    ],
)
def test_the_example_refuses_in_one_line(example, capsys, words, said):
    with pytest.raises(SystemExit) as stopped:
        example["main"](words)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == f"error: {said}\n"

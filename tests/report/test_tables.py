import json
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import pytest
from helpers import make_situation

from trimwave.analysis import Selection
from trimwave.decision.predict import plan_of
from trimwave.methods import METHODS, parse_method
from trimwave.report.name_tables import option_line
from trimwave.report.plan_table import (
    json_text,
    plan_json,
    plan_lines,
    plan_meanings,
    plan_table,
    selection_json,
    selection_lines,
)


@pytest.fixture
def lora_plan():
    """Three clients of whole models, the middle one left out."""
    situation = make_situation(0, num_clients=3)
    bill = situation.costs.pruned(1.0, "lora")
    band = np.full(3, situation.cell.total_bandwidth_hz / 2)
    return situation, plan_of(situation, [bill, None, bill], band)


def shown(plan, **options):
    return [line.split() for line in plan_table(plan, 100, **options)]


def test_who_is_left_out_is_shown(lora_plan):
    situation, plan = lora_plan
    rows = shown(plan)
    assert rows[3] == ["1", "not", "scheduled"]
    small = shown(replace(plan, binding=("-", "memory", "-")))
    assert small[3] == ["1", "memory"]
    assert rows[2][:2] == ["0", "0.000"]
    assert rows[2][8] == f"{plan.memory_bytes[0] / 1e9:.2f}"
    lines = plan_lines(situation, plan)
    assert "2 of 3 clients scheduled" in lines[1]
    record = plan_json(situation, plan)
    assert record["prune_rate"] == [0.0, None, 0.0]
    assert record["gap"] is None and record["price_hz"] is None
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_c5_and_proofs_are_for_methods_that_prune(lora_plan):
    situation, plan = lora_plan
    text = "\n".join(plan_lines(situation, plan))
    assert "C5" not in text and "certificate" not in text
    pruned = replace(plan, submodels=(situation.costs.pruned(0.7, "full"),) * 3)
    assert "C5 mean beta 0.3000 of 0.5000, slack" in plan_lines(situation, pruned)[1]
    half = replace(plan, submodels=(situation.costs.pruned(0.4, "full"),) * 3)
    said = "C5 mean beta 0.6000 of 0.5000, exceeded: this method does not keep it"
    assert said in plan_lines(situation, half)[1]


@pytest.mark.parametrize(
    ("mib", "said"),
    [([3, 3, 3], "3.0 MiB"), ([1, 4, 2], "1.0 to 4.0 MiB"), ([0, 0, 0], None)],
)
def test_the_one_time_download_is_shown(lora_plan, mib, said):
    situation, plan = lora_plan
    bits = np.array(mib) * 8 * 2**20
    line = plan_lines(situation, replace(plan, install_bits=bits, install_s=1.5))[-1]
    expected = f"one-time download before round one: {said} per client, 1.50 s"
    assert (line == expected) == (said is not None)


def test_an_option_in_a_line():
    @dataclass(frozen=True, kw_only=True)
    class Odd:
        mode: Literal["a", 4] = 4
        depth: int = 3
        weight: float = 0.5
        target_s: float | None = None

    assert [option_line(field).strip() for field in fields(Odd)] == [
        ":mode=4  (a, 4)",
        ":depth=3  (a whole number)",
        ":weight=0.5  (a number)",
        ":target_s=...  (a number, or left out)",
    ]
    # Every method's options are of these kinds.
    for kind in METHODS.values():
        for field in fields(kind):
            assert option_line(field)


def many(num_clients):
    situation = make_situation(0, num_clients=num_clients)
    return situation, parse_method("jcpba").plan(situation)


def test_of_many_clients_the_ends_and_a_summary_are_shown():
    situation, plan = many(100)
    plan = replace(plan, up_s=plan.up_s + (np.arange(100) == 57))
    rows = shown(plan)
    names = [*"01234567", "...", "57", "...", "least", "median", "most"]
    assert [row[0] for row in rows[2:]] == names
    least, median, most = rows[-3:]
    for at, values in ((1, plan.prune_rate), (8, plan.memory_bytes / 1e9)):
        expected = [f(values) for f in (np.min, np.median, np.max)]
        found = [float(row[at]) for row in (least, median, most)]
        assert found == pytest.approx(expected, abs=0.06)
    told = plan_lines(situation, plan)[0]
    assert told.startswith("9 of 100 clients, and the least, median and most of each")
    for name in {*plan.binding} - {"-"}:
        assert f"{name} {plan.binding.count(name)}" in told


def test_all_clients_are_shown_if_asked_for():
    situation, plan = many(100)
    rows = shown(plan, every=True)
    assert [row[0] for row in rows[2:]] == [str(k) for k in range(100)]
    assert "clients, and" not in plan_lines(situation, plan, every=True)[0]
    plan = replace(plan, client_ids=tuple(f"phone-{k}-upstairs" for k in range(100)))
    assert shown(plan, every=True)[2][:2] == ["0", "phone-0-u…"]
    last = f"client {plan.straggler} phone-{plan.straggler}-upstairs ends last"
    assert last in "\n".join(plan_lines(situation, plan))


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("scale", [1.0, 1e7])
def test_a_plan_fits_and_every_title_is_explained(lora_plan, width, scale):
    _, plan = lora_plan
    plan = replace(plan, up_s=plan.up_s * scale, bandwidth_hz=plan.bandwidth_hz * scale)
    for one in (plan, many(30)[1]):
        lines = plan_table(one, width)
        widest = 65 if one is plan else 60  # "not scheduled"
        assert max(map(len, lines)) <= max(width, widest)
        assert lines[0].split() == " ".join(plan_meanings(one)).split()
    twice = replace(plan, up_bandwidth_hz=plan.bandwidth_hz)
    assert max(map(len, plan_table(twice, 80))) <= 80
    assert "up MHz" in plan_meanings(twice)


def test_json_has_a_line_for_each_key(lora_plan):
    record = plan_json(*lora_plan)
    text = json_text(record)
    assert json.loads(text) == record
    assert len(text.splitlines()) == len(record) + 2


def test_who_is_dropped_is_said():
    solution = many(3)[1].solution
    some, rest = np.arange(2), np.array([2])
    chosen = Selection(clients=some, dropped=rest, solution=solution, most=2)
    said = "2 of 3 clients served within 15 s, nobody could serve more; dropped: 2"
    assert selection_lines(chosen, 15.0) == [said]
    open_ = replace(chosen, most=3)
    assert (
        "no more than 3 could be; dropped: 2 c"
        in selection_lines(open_, 15.0, "abc")[0]
    )
    assert selection_lines(chosen, None) == ["2 of 3 clients served; dropped: 2"]
    lots = replace(chosen, dropped=np.arange(2, 90))
    assert selection_lines(lots, None)[0].endswith("20, 21, and 68 more")
    nobody = replace(chosen, dropped=rest[:0])
    assert "dropped: nobody" in selection_lines(nobody, None)[0]
    assert selection_json(chosen, 15.0) == {
        "dropped": [2],
        "deadline_s": 15.0,
        "most_served": 2,
    }
    assert selection_json(chosen, None) == {"dropped": [2]}

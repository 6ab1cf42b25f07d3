import io
import json
from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import pytest
from helpers import make_situation
from rich.console import Console

from trimwave.methods import METHODS
from trimwave.plan.predict import plan_of
from trimwave.report.name_tables import option_line
from trimwave.report.plan_table import plan_json, plan_lines, plan_table


@pytest.fixture
def lora_plan():
    """Three clients of whole models, the middle one left out."""
    situation = make_situation(0, num_clients=3)
    bill = situation.costs.pruned(1.0, "lora")
    band = np.full(3, situation.cell.total_bandwidth_hz / 2)
    return situation, plan_of(situation, [bill, None, bill], band)


def shown(plan):
    console = Console(file=io.StringIO(), width=100)
    console.print(plan_table(plan))
    return [line.split() for line in console.file.getvalue().splitlines()]


def test_who_is_left_out_is_shown(lora_plan):
    situation, plan = lora_plan
    rows = shown(plan)
    assert rows[4] == ["1", "not", "scheduled"]
    assert rows[3][:2] == ["0", "0.000"]
    assert rows[3][8] == f"{plan.memory_bytes[0] / 1e9:.2f}"
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

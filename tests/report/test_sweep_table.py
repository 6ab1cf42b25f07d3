import pytest

from trimwave.report.sweep_table import (
    NEEDED,
    reason_lines,
    summarise,
    sweep_meanings,
    sweep_table,
)
from trimwave.sweep.draws import PLANNED


def row(method, seed, latency_s, status=PLANNED, key=1):
    values = method, seed, status, latency_s
    return {"k": key, **dict(zip(NEEDED, values, strict=True))}


def test_medians_and_intervals_by_hand():
    rows = [row("A", seed, float(seed)) for seed in range(21)]  # 0 .. 20: each is 5 %
    rows += [row("B", 0, 1.0), row("B", 0, 3.0), row("B", 1, 8.0)]  # means 2 and 8
    rows += [row("B", 1, None, "no"), row("B", 2, None, "never")]
    rows += [row("A", 0, None, "why", key=2)]
    first, second, third = summarise(rows, ["k"])
    assert (first.varied, first.method) == ((1,), "A")
    assert first.round_s == pytest.approx((10.0, 1.0, 19.0))
    assert (first.num_planned, first.num_rows, first.reason) == (21, 21, "")
    assert second.round_s == pytest.approx((5.0, 2.3, 7.7))
    assert (second.num_planned, second.num_rows, second.reason) == (3, 5, "no")
    assert (third.varied, third.method, third.round_s) == ((2,), "A", None)
    assert (third.num_planned, third.reason) == (0, "why")


def test_reasons_are_said_once_and_not_without_end():
    rows = [row("A", 0, None, f"why {key}", key=key // 2) for key in range(16)]
    rows += [row("B", 0, None, "why 0", key=9)]
    lines = reason_lines(summarise(rows, ["k"]), ["k"])
    assert lines[0] == "no plan: A at k 0: why 0"
    assert lines[1] == "no plan: A at k 1: why 2"
    assert lines[5:] == ["and 3 more reasons, in the column `status`"]
    assert reason_lines(summarise([row("A", 0, 1.0)], ["k"]), ["k"]) == []


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_sweep_fits_and_every_title_is_explained(width):
    keys = ["cell.total_bandwidth_hz", "radio.path_loss_db", "cell.speed_factor"]
    values = {keys[0]: 1e8, keys[1]: 60.0, keys[2]: "[1.0, 1.5]"}
    rows = [
        {key: one for key, one in row("budget pruning", 0, 1.3e9).items() if key != "k"}
        | values
    ]
    lines = sweep_table(summarise(rows, keys), keys, width)
    assert max(map(len, lines)) <= max(width, 72)
    assert lines[-1].split()[:2] == ["1e8", "60"]
    assert "[1.0, 1.5]" in lines[-1] and lines[-1].count("1.3e9") == 3
    meanings = ", ".join(sweep_meanings(keys)).replace(",", "").replace("_", "")
    titles = " ".join(" ".join(line.split()) for line in lines[:-2]).replace("_", "")
    assert sorted(meanings.replace(" ", "")) == sorted(titles.replace(" ", ""))

import json
import warnings

import pytest


def test_a_trade_off_is_a_table_with_prices(trimwave):
    code, out, err = trimwave("plan", "--pareto")
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines() if line.strip()]
    assert lines[0] == ["beta_bar", "round", "s", "price", "s", "gap"]
    rows = lines[2:15]  # below the rule
    beta_bars = [float(row[0].lstrip("*")) for row in rows]
    assert beta_bars == pytest.approx([0.2 + 0.05 * i for i in range(13)])
    assert [row[0] for row in rows if row[0].startswith("*")] == ["*0.500"]
    seconds = [float(row[1]) for row in rows]
    assert seconds == sorted(seconds, reverse=True)
    assert float(rows[-1][2]) == 0 < float(rows[0][2])
    plan = json.loads(trimwave("plan", "--json", "--method", "jcpba")[1])
    assert float(rows[6][1]) == pytest.approx(plan["latency_s"], abs=1e-3)
    assert "marginal prices: 1 MHz" in out
    assert "10 MHz more saves" in out
    assert "0.05 more mean pruning saves" in out
    assert trimwave("plan", "--pareto", "--solver", "exact")[1] == out


def test_a_trade_off_as_json(trimwave):
    code, out, err = trimwave("plan", "--pareto", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    curve = "beta_bar damage latency_s bound_s seconds_per_beta_bar".split()
    assert set(found) == {*curve, "prices", "what_if"}
    assert all(len(found[name]) == 13 for name in curve)
    assert found["damage"] == found["beta_bar"]
    assert all(
        0 <= here - bound <= 1e-9 * here
        for here, bound in zip(found["latency_s"], found["bound_s"], strict=True)
    )
    prices = found["prices"]
    assert prices["beta_bar_s"] == pytest.approx(found["seconds_per_beta_bar"][6])
    assert prices["band_s_per_hz"] < 0
    per_client = ("memory_s_per_byte", "beta_max_s", "speed_s_per_flops")
    assert all(len(prices[name]) == 8 for name in per_client)
    band, pruning = found["what_if"]
    assert (band["constraint"], band["client"], band["change"]) == ("C1", None, 1e7)
    assert pruning["constraint"] == "C5"
    assert 0 < band["saved_s"] < -prices["band_s_per_hz"] * 1e7
    assert "-0.0" not in {line.strip(" ,") for line in out.splitlines()}


def test_a_trade_off_says_that_it_is_not_in_blocks(trimwave):
    free = trimwave("plan", "--pareto")
    warnings.simplefilter("always")  # pytest puts its own filters back
    blocks = "--set", "cell.resource_block_hz=720e3"
    code, out, err = trimwave("plan", "--pareto", *blocks)
    assert (code, out) == free[:2]
    said = "shares of any size: without effect on it `cell.resource_block_hz`"
    assert said in " ".join(err.split())
    assert trimwave("plan", *blocks)[2] == ""


def test_a_trade_off_says_whose_memory_is_dear(trimwave, full_cell):
    small = full_cell.read_text().replace("2e12,4e9", "2e12,4.2e8")
    full_cell.write_text(small)
    code, out, err = trimwave("plan", "full.csv", "--pareto")
    assert (code, err) == (0, "")
    assert "client 2's memory costs" in out
    found = json.loads(trimwave("plan", "full.csv", "--pareto", "--json")[1])
    lifted = found["what_if"][-1]
    assert (lifted["constraint"], lifted["client"]) == ("C3", 2)
    assert lifted["change"] is None
    assert found["prices"]["memory_s_per_byte"][2] < 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--solver", "bcd"], "--pareto is solved exactly; drop --solver bcd, or drop"),
        (["--solver", "uniform"], "--pareto is solved exactly; drop --solver uniform"),
        (["--method", "ubfp"], "P1, which `ubfp` does not solve; use --method jcpba"),
        (["--method", "lora"], "P1, which `lora` does not solve; use --method jcpba"),
        (["--solver", "exat"], "no solver `exat`; did you mean `exact`?"),
        (["--set", "limits.beta_bar=0.1"], "infeasible: C5: mean pruning must not"),
        (["--round", "0"], "--round must be at least 1, got 0"),
    ],
)
def test_a_trade_off_that_cannot_be_is_one_line(refused, options, said):
    assert said in refused("plan", "--pareto", *options)


def test_a_trade_off_is_exact_whatever_the_recipes_solver(trimwave):
    own = trimwave("plan", "gpt2-medium", "--pareto", "--json")[1]
    exact = "plan", "gpt2-medium", "--pareto", "--json", "--method", "jcpba"
    assert own == trimwave(*exact)[1]

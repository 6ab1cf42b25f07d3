"""What `trimwave plan` can be asked besides a plan, and of which cells."""

import json
import time

import numpy as np
import pytest
from cells import HEADER

from trimwave.methods import ALL

BLOCKS = "--set", "cell.resource_block_hz=720e3"
FDD = "--set", "cell.up_bandwidth_hz=50e6"


@pytest.fixture
def planned(trimwave):
    """Plan, expect no word of error, and return the JSON."""

    def _planned(*arguments):
        code, out, err = trimwave("plan", *arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return _planned


@pytest.fixture
def fleet(tmp_path):
    """Write a table of many clients."""

    def _fleet(num_clients):
        rng = np.random.default_rng(0)
        low, high = (0.5e12, 4e9, 60, 40), (2e12, 8e9, 80, 60)
        rows = rng.uniform(low, high, (num_clients, 4))
        lines = (",".join(f"{value:.6g}" for value in row) for row in rows.tolist())
        (tmp_path / "fleet.csv").write_text(HEADER + "\n".join(lines))
        return "fleet.csv"

    return _fleet


def test_a_plan_in_whole_blocks(trimwave, planned):
    plan = planned(*BLOCKS)
    blocks = np.array(plan["bandwidth_hz"]) / 720e3
    assert blocks == pytest.approx(np.rint(blocks))
    assert np.rint(blocks).sum() == 138 == 100e6 // 720e3
    assert plan["resource_block_hz"] == 720e3
    assert "138 blocks of 720 kHz" in trimwave("plan", *BLOCKS)[1]
    assert planned()["latency_s"] <= plan["latency_s"]


def test_what_is_proven_of_blocks_is_of_blocks(trimwave, planned):
    one, wide = planned(*BLOCKS), planned()
    assert one["gap"] <= 1e-9
    assert one["latency_s"] > wide["latency_s"]
    proof = "certificate: no plan is faster than"
    assert f"{proof} {one['latency_s']:.6f} s" in trimwave("plan", *BLOCKS)[1]
    # Of two bands in blocks nothing is proven but what is of any share.
    free, pair = planned(*FDD), planned(*FDD, *BLOCKS)
    assert f"{proof} {free['latency_s']:.6f} s" in trimwave("plan", *FDD, *BLOCKS)[1]
    gap = 1 - free["latency_s"] / pair["latency_s"]
    assert pair["gap"] == pytest.approx(gap, rel=1e-6) and gap > 1e-4


def test_blocks_of_two_bands_are_no_faster_than_any_share(planned):
    free, whole = planned(*FDD), planned(*FDD, *BLOCKS)
    even = planned(*FDD, *BLOCKS, "--method", "ubfp")
    assert free["latency_s"] <= whole["latency_s"] <= even["latency_s"]
    for key in ("bandwidth_hz", "up_bandwidth_hz"):
        blocks = np.array(whole[key]) / 720e3
        assert blocks == pytest.approx(np.rint(blocks))


@pytest.mark.parametrize("part", [0.7, 0.95])
def test_a_deadline_in_blocks_is_kept(part, planned):
    deadline_s = part * planned(*BLOCKS)["latency_s"]
    plan = planned(*BLOCKS, "--deadline", deadline_s)
    assert plan["latency_s"] <= deadline_s * (1 + 1e-9)
    free = planned("--deadline", deadline_s)
    assert len(plan["dropped"]) >= len(free["dropped"]) > 0


def test_a_deadline_that_is_enough_for_any_share_alone_is_kept_too(planned):
    free, whole = planned(), planned(*BLOCKS)
    deadline_s = (free["latency_s"] + whole["latency_s"]) / 2
    plan = planned(*BLOCKS, "--deadline", deadline_s)
    assert plan["latency_s"] <= deadline_s * (1 + 1e-9)
    assert len(plan["dropped"]) == 1 and plan["most_served"] == 8


RATES = "client,speed_gflops,memory_gb,rate_mbps\n"


def test_whom_to_drop_where_nobody_takes_any_band(planned, tmp_path):
    lines = "a,900,8,50\nslow,50,8,1\nc,900,8,40\n"
    (tmp_path / "rates.csv").write_text(RATES + lines)
    plan = planned("rates.csv", "--drop", 1)
    assert plan["dropped"] == [1]
    (tmp_path / "others.csv").write_text(RATES + lines.replace("slow,50,8,1\n", ""))
    assert plan["latency_s"] == pytest.approx(planned("others.csv")["latency_s"])


@pytest.mark.filterwarnings("ignore:without effect")
def test_blocks_have_no_effect_where_nobody_takes_any(trimwave, tmp_path):
    (tmp_path / "rates.csv").write_text(RATES + "a,900,8,50\nb,500,8,20\n")
    plain, blocks = (
        json.loads(trimwave("plan", "rates.csv", "--json", *more)[1])
        for more in ((), BLOCKS)
    )
    assert plain == blocks


def test_c5_is_said_in_damage_where_a_curve_says_it(trimwave, tmp_path):
    (tmp_path / "damage.csv").write_text("prune_rate,damage\n0,0\n0.4,0.1\n0.8,1\n")
    named = "--set", "limits.damage=damage.csv"
    # At a mean rate of 0.5: 0.1, and a quarter of the way from there to 1.
    assert "C5 mean damage 0.3250 of 0.3250, tight" in trimwave("plan", *named)[1]


def test_two_tables_of_clients_are_refused(trimwave, fleet):
    table, other = fleet(3), "other.csv"
    written = f"cell.clients={other}", f"cell.clients = {other}"
    for change in (*written, f'cell={{clients="{other}"}}'):
        for asked in ([table], ["default", "--cell", table]):
            code, out, err = trimwave("plan", *asked, "--set", change)
            assert (code, out) == (2, "")
            assert f"fleet.csv gives the clients, and so does --set {change};" in err


def test_what_is_without_a_price_is_not_minus_nothing(trimwave):
    out = trimwave("plan", "--pareto", "--set", "limits.beta_bar=0.8")[1]
    assert "mean pruning 0 s" in out


def test_a_plan_of_two_bands(trimwave, planned):
    plan = planned(*FDD)
    assert sum(plan["up_bandwidth_hz"]) == pytest.approx(50e6)
    assert plan["total_up_bandwidth_hz"] == 50e6
    wide = planned("--set", "cell.up_bandwidth_hz=100e6")
    assert wide["latency_s"] <= planned()["latency_s"]
    out = trimwave("plan", *FDD)[1]
    assert " up MHz " in out and "50.0000 of 50.0000 up" in out
    assert "certificate: no plan is faster than" in out


@pytest.mark.parametrize("method", ["deft", "split_lora", "jcpba:solver=bcd"])
def test_a_method_of_one_band_names_those_of_two(refused, method):
    said = refused("plan", "--method", method, *FDD)
    assert "takes one band for both directions, got `up_bandwidth_hz` = 5e+07" in said
    assert "jcpba (exact), ubfp, lora, staged, fedqlora, fedbiot" in said


@pytest.mark.parametrize("method", ALL)
def test_every_method_plans_in_whole_blocks(planned, method):
    blocks = np.array(planned("--method", method, *BLOCKS)["bandwidth_hz"]) / 720e3
    assert blocks == pytest.approx(np.rint(blocks), abs=1e-6)


def test_c5_by_samples(trimwave, planned, full_cell):
    weighted = "--set", "limits.weighted=true"
    plan = planned(full_cell, *weighted)
    mean = np.average(plan["prune_rate"], weights=[10, 20, 30])
    assert mean == pytest.approx(0.5)
    assert planned(full_cell)["prune_rate"] != plan["prune_rate"]
    assert (
        "C5 mean beta, by samples, 0.5000" in trimwave("plan", full_cell, *weighted)[1]
    )


def test_a_block_fits_into_the_band(refused):
    narrow = "--set", "cell.total_bandwidth_hz=1e6"
    said = refused("plan", "--set", "cell.resource_block_hz=2e6", *narrow)
    assert "= 2e+06 is more than `cell.total_bandwidth_hz` = 1e+06" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "cell.resource_block_hz=2e8",
            "is more than `cell.total_bandwidth_hz` = 1e+08",
        ),
        ("cell.resource_block_hz=0", "`cell.resource_block_hz` must be in Hz, got 0"),
        ("cell.up_bandwidth_hz=20", "if it is in MHz, write 2e7"),
        ("limits.weighted=1", "`limits.weighted`"),
    ],
)
def test_what_cannot_be_is_named(refused, change, said):
    assert said in refused("plan", "--set", change)


def test_as_many_as_a_deadline_allows_are_served(trimwave, planned):
    full = planned()["latency_s"]
    plan = planned("--deadline", 0.75 * full)
    assert plan["latency_s"] <= 0.75 * full
    resting = [k for k, taken in enumerate(plan["scheduled"]) if not taken]
    assert plan["dropped"] == resting and 0 < len(resting) < 8
    assert plan["deadline_s"] == 0.75 * full
    assert plan["most_served"] == 8 - len(resting)
    code, out, err = trimwave("plan", "--deadline", 0.75 * full)
    assert (code, err) == (0, "")
    assert f"nobody could serve more; dropped: {', '.join(map(str, resting))}" in out
    assert out.count("not scheduled") == len(resting)
    easy = planned("--deadline", 2 * full)
    assert easy["dropped"] == [] and easy["latency_s"] == pytest.approx(full)


def test_dropping_is_as_good_as_the_best_of_all_sets(planned, cell):
    cell = cell()
    lines = cell.read_text().splitlines()
    plan = planned(cell, "--drop", 1)
    assert len(plan["dropped"]) == 1
    times = []
    for out in range(3):
        kept = [line for k, line in enumerate(lines) if k != out + 1]
        cell.write_text("\n".join(kept))
        times.append(planned(cell)["latency_s"])
    assert plan["latency_s"] == pytest.approx(min(times))
    assert plan["dropped"] == [int(np.argmin(times))]


def test_the_recipes_solver_does_not_count(planned):
    own = planned("gpt2-medium", "--drop", 1)
    assert own == planned("gpt2-medium", "--drop", 1, "--method", "jcpba")
    assert own["solver"] == "exact"
    blocks = planned("gpt2-medium", "--drop", 1, *BLOCKS)
    assert blocks["latency_s"] >= own["latency_s"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--deadline", 3, "--drop", 1], "--deadline and --drop ask for different"),
        (["--pareto", "--drop", 1], "--pareto and --drop ask for different things"),
        (["--pareto", "--all"], "--all is of a plan's table"),
        (["--deadline", -1], "--deadline must be positive, in s, got -1"),
        (["--deadline", "nan"], "--deadline must be positive, in s, got nan"),
        (["--deadline", 1e-4], "nobody can end within 0.0001 s with C5; client 5"),
        (["--drop", 8], "--drop must be 0 to 7, of 8 clients, got 8"),
        (["--drop", -1], "--drop must be 0 to 7, of 8 clients, got -1"),
        (["--drop", 1, "--method", "lora"], "--drop is of P1, which `lora` does not"),
        (
            ["--deadline", 3, "--solver", "bcd"],
            "--deadline is solved exactly; drop",
        ),
        (["--drop", 1, *FDD], "takes one band for both directions"),
        (["--cell", "my.toml"], "--cell takes a table, .csv, .tsv, .txt, got my.toml"),
        (["--cell", "none.csv"], "none.csv: cannot be read"),
        (["a.csv", "--cell", "b.csv"], "a.csv is a table and so is --cell b.csv"),
    ],
)
def test_questions_that_make_no_sense_are_one_line(refused, options, said):
    assert said in refused("plan", *options)


def test_a_recipe_with_another_cell(trimwave, planned, cell):
    cell = cell()
    assert planned("default", "--cell", cell) == planned(cell)
    recipe = planned("gpt2-medium", "--cell", cell)
    assert recipe["solver"] == "bcd" and len(recipe["scheduled"]) == 3
    exact = planned(cell, "--set", "model.name=gpt2-medium")["latency_s"]
    assert recipe["latency_s"] >= exact


def test_of_a_fleet_the_ends_are_shown(trimwave, fleet):
    out = trimwave("plan", fleet(30))[1]
    firsts = [line.split()[0] for line in out.splitlines() if line.startswith("   ")]
    assert firsts[:9] == [*"01234567", "..."]
    assert "of 30 clients, and the least, median and most of each column" in out
    assert "--all prints every client. held by:" in out
    every = trimwave("plan", "fleet.csv", "--all")[1].splitlines()
    assert [line.split()[0] for line in every[3:33]] == [str(k) for k in range(30)]


def test_the_time_grows_with_the_clients_and_not_with_their_square(trimwave, fleet):
    def cpu_s(num_clients, *options):
        name = fleet(num_clients)
        begin = time.process_time()
        assert trimwave("plan", name, *options)[0] == 0
        return time.process_time() - begin

    cpu_s(100, "--all")
    # 40 times as many; their square would be 1,600 times and take a minute.
    assert cpu_s(8000, "--all") < 40 * max(cpu_s(200, "--all"), 0.1)

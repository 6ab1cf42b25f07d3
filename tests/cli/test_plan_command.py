import json
import warnings

import pytest
from cells import CONSTANTS

from trimwave.methods import ALL
from trimwave.recipe.recipe import find_recipe


def test_a_cell_is_planned(trimwave, cell):
    code, out, err = trimwave("plan", cell(), "--set", "model.name=gpt2-medium")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows if row and row[0] in "012"] == ["0", "1", "2"]
    assert "by exact (optimal)" in out
    assert "certificate: no plan is faster than" in out
    assert "C5 mean beta 0.5000 of 0.5000, tight" in out


STAGED = (
    *("plan", "best/staged", "--set", "data.answer_share=0.4"),
    *("--set", "train.stream_prefix=true"),
)


def test_stages_are_planned_each(trimwave):
    code, out, _ = trimwave(*STAGED)
    plan = json.loads(trimwave(*STAGED, "--json")[1])
    first, second = plan["stages"]
    assert code == 0
    assert (first["trained_blocks"], second["trained_blocks"]) == (30, 12)
    assert (first["rounds"], second["rounds"]) == (4, None)
    assert first["scheduled"] == second["scheduled"] == 8 * [True]
    # SmolLM2's blocks: queries and outputs 576 to 576, keys and values to 192, three
    # matrices of 576 and 1536; factors of rank 4 in 16 bits, of 18 blocks.
    ends = 2 * (576 + 576) + 2 * (576 + 192) + 3 * (576 + 1536)
    assert (first["learnt_bytes"], second["learnt_bytes"]) == (0, 18 * 4 * ends * 2)
    assert first["latency_states_kept_s"] is None
    latencies = [one["latency_s"] for one in (first, second)]
    assert latencies[0] > latencies[1] > second["latency_states_kept_s"]
    assert first["first_pass_s"] is None
    in_turn_s, side_by_side_s = second["first_pass_s"].values()
    assert plan["install_s"] <= side_by_side_s < in_turn_s
    # The pass is what rounds with kept states do without, of the slowest client.
    passes_s = in_turn_s - plan["install_s"]
    assert passes_s == pytest.approx(
        latencies[1] - second["latency_states_kept_s"], rel=0.01
    )
    assert "for who joins here, the base and" in " ".join(out.split())


THREE = "options.staged={stages=[{rounds=4},{rounds=2,blocks=20},{blocks=3}]}"


def test_a_stage_says_its_memory_and_what_a_late_joiner_fetches(trimwave):
    asked = (*STAGED[:4], "--set", THREE)
    stages = json.loads(trimwave(*asked, "--json")[1])["stages"]
    memory = [one["memory_bytes"] for one in stages]
    assert memory[0] > memory[1] > memory[2]
    learnt = [one["learnt_bytes"] for one in stages]
    assert learnt[0] == 0 < learnt[1] < learnt[2]
    said = " ".join(trimwave(*asked)[1].split())
    for number, one in zip(memory, ("0 to 29", "10 to 29", "27 to 29"), strict=True):
        assert f"blocks {one} train, in {number / 1e9:.2f} GB" in said
    assert f"{sum(learnt) / 2**20:.3g} MiB of all to who joins late" in said


@pytest.mark.parametrize(("room", "kept"), [("8", False), ("1e9", True)])
def test_states_without_room_for_one_row_are_not_promised(trimwave, room, kept):
    asked = (*STAGED[:4], "--set", f"train.state_memory_bytes={room}", "--json")
    stages = json.loads(trimwave(*asked)[1])["stages"]
    assert (stages[1]["latency_states_kept_s"] is not None) == kept


def test_a_recipe_is_planned(trimwave):
    code, out, _ = trimwave("plan", "gpt2-medium", "--solver", "bcd")
    assert code == 0
    assert "by bcd" in out
    assert "certificate: none; only the exact solver of jcpba gives one" in out
    assert trimwave("plan", find_recipe("gpt2-medium"), "--solver", "bcd")[1] == out


@pytest.mark.parametrize(
    ("solver", "method"),
    [("exact", "jcpba"), ("bcd", "jcpba:solver=bcd"), ("uniform", "ubfp")],
)
def test_a_solver_is_short_for_a_method(trimwave, refused, solver, method):
    short = trimwave("plan", "--json", "--solver", solver)
    assert short == trimwave("plan", "--json", "--method", method)
    assert json.loads(short[1])["solver"] == solver
    both = refused("plan", "--method", method, "--solver", solver)
    assert "--solver is short for a --method; give one of them" in both


def test_jcpba_is_what_plans(trimwave):
    assert trimwave("plan", "--json") == trimwave("plan", "--json", "--method", "jcpba")


def test_options_of_the_recipe_apply(trimwave, refused):
    def solver(*options):
        return json.loads(trimwave("plan", "--json", *options)[1])["solver"]

    change = "--set", "options.jcpba.solver=bcd"
    assert solver(*change) == "bcd"
    assert solver(*change, "--solver", "exact") == "exact"
    assert solver(*change, "--method", "jcpba:solver=exact") == "exact"
    said = refused("plan", "--set", "options.jcpba.solver=none")
    assert "option `solver` of `jcpba` must be one of exact, bcd, got 'none'" in said


@pytest.mark.parametrize("method", ALL)
def test_every_method_has_a_table(trimwave, method):
    code, out, err = trimwave("plan", "--method", method)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[3:11]] == list("01234567")
    plan = json.loads(trimwave("plan", "--method", method, "--json")[1])
    assert f"round {plan['latency_s']:.6f} s" in out
    prunes = plan["solver"] is not None or any(plan["prune_rate"])
    assert ("C5 mean beta" in out) == prunes
    assert ("certificate" in out) == (plan["solver"] is not None)
    assert out.count("not scheduled") == plan["scheduled"].count(False)
    assert ("one-time download before round one" in out) == any(plan["install_bits"])


def test_json_has_what_the_table_has(trimwave, cell):
    code, out, err = trimwave("plan", cell(), "--json")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    per_client = (
        "prune_rate bandwidth_hz compute_s down_s up_s total_s down_bits up_bits "
        "flops energy_j memory_bytes install_bits scheduled binding"
    )
    assert all(len(plan[name]) == 3 for name in per_client.split())
    single = (
        "latency_s straggler solver status solver_latency_s bound_s kkt_residual "
        "total_bandwidth_hz beta_bar gap price_hz noise install_s carry"
    )
    assert set(plan) == {*per_client.split(), *single.split()}
    assert sum(plan["bandwidth_hz"]) == pytest.approx(plan["total_bandwidth_hz"])
    assert max(plan["total_s"]) == plan["latency_s"]
    assert plan["bound_s"] <= plan["latency_s"] * (1 + 1e-9)
    assert sum(plan["prune_rate"]) / 3 <= plan["beta_bar"] + 1e-9


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        (
            ["--set", "cell.memory_bytes=[1e9,2e9]", "--set", "radio.fading=none"],
            "`cell.memory_bytes`, `radio.fading`",
        ),
        (["--seed", 3, "--round", 2], "--round, --seed"),
        (["--set", "cell.total_bandwidth_hz=1e6"], None),
        (["--set", "cell.server_speed_flops_per_s=1e13"], None),
        (["--set", "radio.noise=psd"], None),
        (["--set", "limits.beta_bar=0.4"], None),
    ],
)
def test_what_a_csv_leaves_idle_is_said(trimwave, cell, options, idle):
    warnings.simplefilter("always")  # pytest puts its own filters back
    code, out, err = trimwave("plan", cell(), "--json", *options)
    assert code == 0
    name = cell().name
    said = f"warning: without effect beside {name}, which gives the clients: {idle}.\n"
    assert err == (said if idle else "")
    if idle:
        assert out == trimwave("plan", cell(), "--json")[1]


def test_rounds_and_seeds_draw_other_channels(trimwave):
    def latency(*options):
        return json.loads(trimwave("plan", "--json", *options)[1])["latency_s"]

    assert latency() == latency("--round", 1) == latency("--seed", 0)
    assert len({latency(), latency("--round", 2), latency("--seed", 1)}) == 3


def test_c5_counts_the_clients_of_the_cell(trimwave, cell):
    changes = [*CONSTANTS, "train.batch_size=2"]
    options = [item for change in changes for item in ("--set", change)]
    _, out, _ = trimwave("plan", cell(), "--json", *options)
    expected = 0.6 - 0.1 - 0.6 / (3 * 2)
    assert json.loads(out)["beta_bar"] == pytest.approx(expected)


def test_a_local_model_is_planned_without_its_weights(trimwave, tmp_path):
    (tmp_path / "model").mkdir()
    config = {"model_type": "gpt2", "n_layer": 6, "n_embd": 64, "n_head": 4}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    code, out, _ = trimwave("plan", "--json", "--set", "model.name=model")
    assert code == 0
    bits = json.loads(out)["down_bits"]
    block = 12 * 64**2 + 13 * 64
    assert all(6 * 0.2 * block * 16 < b <= 6 * block * 16 for b in bits)


def test_a_plan_is_by_the_recipes_method(trimwave):
    asked = ("plan", "gpt2-medium", "--json")
    own = trimwave(*asked)[1]
    assert own == trimwave(*asked, "--method", "jcpba:solver=bcd")[1]
    assert own != trimwave(*asked, "--method", "jcpba")[1]


def test_optional_columns_change_the_plan(trimwave, full_cell, cell):
    def planned(*arguments):
        code, out, err = trimwave("plan", *arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    full, plain = planned(full_cell), planned(cell())
    assert full["status"] == "optimal"
    assert full["bandwidth_hz"][0] <= 5e7 * (1 + 1e-9)
    assert full["bandwidth_hz"][1] >= 1e7 * (1 - 1e-9)
    assert full["bandwidth_hz"][2] <= 3e7 * (1 + 1e-9)
    # Client 2 holds all of the emulator: the adapter alone travels.
    assert full["down_bits"][2] < min(full["down_bits"][:2])
    assert full["down_bits"][2] < plain["down_bits"][2]
    assert full["compute_s"][1] > 0


def test_other_methods_say_what_of_the_cell_they_do_not_heed(trimwave, full_cell):
    warnings.simplefilter("always")  # pytest puts its own filters back
    code, _, err = trimwave("plan", full_cell, "--method", "lora", "--json")
    assert code == 0
    lines = err.splitlines()
    assert lines[0] == "warning: `held` of the cell has no effect on this method."
    assert all(line.startswith("warning: ") for line in lines)
    bound = "this method does not heed the largest shares of the cell: client 0 has "
    band = full_cell.read_text().replace("5e7", "1e5")
    full_cell.write_text(band)
    even = "lora:bandwidth=uniform"
    assert bound in trimwave("plan", full_cell, "--method", even)[2]

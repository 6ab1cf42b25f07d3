import json
import subprocess
import sys
import warnings
from dataclasses import fields

import pytest

import trimwave as package
from trimwave.cli import app as cli
from trimwave.methods import ALL, METHODS
from trimwave.model.names import KNOWN_MODELS
from trimwave.model.shape import SHAPES
from trimwave.recipe.recipe import find_recipe
from trimwave.sweep import one_round as planning

HEADER = "speed_flops_per_s,memory_bytes,snr_down_db,snr_up_db\n"
ROWS = ("1e12,8e9,90,70\n", "5e11,6e9,80,60\n", "2e12,4e9,100,75\n")
CONSTANTS = [
    "limits.c5_xi=0.1",
    "limits.c5_phi=0.6",
    "limits.c5_psi=1.0",
    "limits.gamma_min=0.6",
]


@pytest.fixture
def trimwave(monkeypatch, capsys, tmp_path):
    """Call the command line in this process: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def _trimwave(*arguments):
        monkeypatch.setattr(sys, "argv", ["trimwave", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code or 0, *capsys.readouterr()

    return _trimwave


@pytest.fixture
def refused(trimwave):
    """Call it, expect exit code 2 and one line of error, and return that line."""

    def _refused(*arguments):
        code, out, err = trimwave(*arguments)
        assert code == 2, out + err
        assert out == ""
        assert err.count("\n") == 1, err
        assert err.startswith("error: ")
        assert "Traceback" not in err
        return err

    return _refused


@pytest.fixture
def cell(tmp_path):
    """Write a cell of three clients, with one cell of the table replaced."""

    def _cell(line=0, column=0, value=None):
        rows = [row.strip().split(",") for row in ROWS]
        if value is not None:
            rows[line][column] = value
        path = tmp_path / "cell.csv"
        path.write_text(HEADER + "".join(",".join(row) + "\n" for row in rows))
        return path

    return _cell


def test_a_cell_is_planned(trimwave, cell):
    code, out, err = trimwave("plan", cell(), "--set", "model.name=gpt2-medium")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows if row and row[0] in "012"] == ["0", "1", "2"]
    assert "by exact (optimal)" in out
    assert "certificate: no plan is faster than" in out
    assert "C5 mean beta 0.5000 of 0.5000, tight" in out


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
        "flops memory_bytes install_bits scheduled binding"
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
        (["--set", "cell.num_clients=4"], "`cell.num_clients`"),
        (
            ["--set", "cell.memory_bytes=[1e9,2e9]", "--set", "radio.fading=none"],
            "`cell.memory_bytes`, `radio.fading`",
        ),
        (["--seed", 3, "--round", 2], "--seed, --round"),
        (["--set", "cell.total_bandwidth_hz=1e6"], None),
        (["--set", "cell.server_speed_flops_per_s=1e6"], None),
        (["--set", "radio.noise=psd"], None),
        (["--set", "limits.beta_bar=0.4"], None),
    ],
)
def test_what_a_csv_leaves_idle_is_said(trimwave, cell, options, idle):
    warnings.simplefilter("always")  # pytest puts its own filters back
    code, out, err = trimwave("plan", cell(), "--json", *options)
    assert code == 0
    said = f"warning: without effect on a cell in a CSV: {idle}.\n"
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


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ((0, 0), "nan", "`speed_flops_per_s` must be positive and finite, got nan"),
        ((1, 0), "-1e12", "got -1000000000000.0 for client 1"),
        ((2, 1), "0", "`memory_bytes` must be positive and finite, got 0.0 for client"),
        ((1, 2), "nan", "`snr_down` must be positive and finite, got nan for client 1"),
        ((2, 3), "inf", "for client 2"),
        ((1, 1), "", "line 3: `memory_bytes` must be a number, got ''"),
        ((2, 2), "good", "line 4: `snr_down_db` must be a number, got 'good'"),
    ],
)
def test_a_bad_number_in_a_cell_is_named(refused, cell, place, value, said):
    assert said in refused("plan", cell(*place, value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\xff\xfe", "cannot be read"),
        (HEADER, "no rows below the header"),
        ("", "no column speed_flops_per_s"),
        (HEADER.replace("snr_up_db", "snr_up"), "no column snr_up_db; expected speed"),
        (HEADER + "1e12,8e9,90\n", "line 2: `snr_up_db` must be a number, got None"),
    ],
)
def test_a_malformed_cell_is_named(refused, tmp_path, text, said):
    (tmp_path / "cell.csv").write_text(text, encoding="latin-1")
    assert said in refused("plan", "cell.csv")
    assert "none.csv: cannot be read" in refused("plan", "none.csv")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gpt2-medum"], "no recipe `gpt2-medum`; did you mean `gpt2-medium`?"),
        (["none.toml"], "recipe none.toml cannot be read"),
        (["--solver", "exat"], "`exat`; did you mean `exact`?"),
        (["--set", "cell.num_client=3"], "`cell.num_client`; did you mean `num_clie"),
        (["--set", "cell.num_clients=0"], "`cell.num_clients` must be at least 1"),
        (["--set", "radio.path_loss_db=nan"], "must be a number, got nan"),
        (["--set", "radio.path_loss_db=inf"], "`radio.path_loss_db` must be finite"),
        (["--set", "cell.total_bandwidth_hz=inf"], "total_bandwidth_hz"),
        (["--set", "cell.base_speed_flops_per_s=inf"], "speed_flops_per_s"),
        (["--seed", "-1"], "`seed` must be at least 0, got -1"),
        (["--round", "0"], "--round must be at least 1, got 0"),
        (["--set", "cell.memory_bytes=[1e8,2e8]"], "infeasible: C3: client 0 has"),
        (
            ["--set", "limits.beta_min=0.9"],
            "C4 needs 0 <= `beta_min` <= `beta_max` < 1",
        ),
        (["--set", "limits.beta_bar=0.1"], "infeasible: C5: mean pruning must not"),
        (["--set", "model.adapter_blocks=30"], "`split_index` must be in [1, 29]"),
        (["--set", "train.seq_len=100000"], "`train.seq_len` must be in [1, 8192]"),
        (["--set", "model.name=gpt3"], "the shape of model `gpt3` is not known"),
        (["--set", CONSTANTS[0]], "needs c5_phi, c5_psi, gamma_min too"),
    ],
)
def test_a_plan_that_cannot_be_is_one_line(refused, arguments, said):
    assert said in refused("plan", *arguments)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"model_type": "bert"}', "architecture `bert` of model is not in the table"),
        ('{"model_type": "llama"}', "the config of model has no key"),
        ('{"model_type": "gpt2", "n_embd": "wide", "n_head": 2}', "model"),
        ("{", "config.json is not JSON"),
        ("[]", "model"),
        ("{}", "architecture `` of model is not in the table"),
    ],
)
def test_a_model_that_cannot_be_planned_is_one_line(refused, tmp_path, text, said):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(text)
    assert said in refused("plan", "--set", "model.name=model")


def test_a_local_model_is_planned_without_its_weights(trimwave, tmp_path):
    (tmp_path / "model").mkdir()
    config = {"model_type": "gpt2", "n_layer": 6, "n_embd": 64, "n_head": 4}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    code, out, _ = trimwave("plan", "--json", "--set", "model.name=model")
    assert code == 0
    bits = json.loads(out)["down_bits"]
    block = 12 * 64**2 + 13 * 64
    assert all(6 * 0.2 * block * 16 < b <= 6 * block * 16 for b in bits)


def test_run_without_a_run_to_resume(refused, tmp_path):
    assert "holds no run (no manifest.json)" in refused("run", "--resume", tmp_path)
    assert "none holds no run" in refused("run", "--resume", "none")
    both = refused("run", "--resume", tmp_path, "--out", "x")
    assert "drop --out" in both


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "defalt"], "no recipe `defalt`; did you mean `default`?"),
        (["run", "--rounds", "0"], "`rounds` must be at least 1, got 0"),
        (["run", "--set", "modl.name=x"], "unknown key `modl`; did you mean `model`?"),
        (
            ["compare", "--methods", "jcpba,ubpf"],
            "no method `ubpf`; did you mean `ubfp`",
        ),
        (["compare", "--methods", "jcpba:solver=x"], "must be one of exact, bcd"),
        (["compare", "--methods", "ubfp:solver=bcd"], "`ubfp` has no option `solver`"),
        (["compare", "--methods", "ubfp,ubfp"], "each method once"),
        (["compare", "--methods", "ubfp,ubfp:adapter=full"], "each method once"),
        (["compare", "--methods", ","], "--methods names none; known: all, jcpba"),
        (["compare", "--methods", "all,jcpba"], "no method `all`"),
        (["compare", "--seeds", "0"], "--seeds must be at least 1, got 0"),
        (["compare", "--resume", "none"], "none holds no comparison (no compare.json)"),
        (["compare", "--resume", "none", "--out", "x"], "drop --out"),
        (
            ["compare", "--set", "options.jcpba.adapter=lora"]
            + ["--methods", "jcpba,jcpba:adapter=lora"],
            "each method once",
        ),
        (
            ["run", "--set", "options.ubfp.adapter=x"],
            "option `adapter` of `ubfp` must be one of full, lora, got 'x'",
        ),
        (
            ["compare", "--set", "options.ubpf.adapter=x"],
            "`options.ubpf`: no method `ubpf`; did you mean `ubfp`?",
        ),
    ],
)
def test_a_run_that_cannot_begin_is_one_line(refused, arguments, said):
    assert said in refused(*arguments)


def test_a_warning_is_printed_as_it_is(trimwave, monkeypatch):
    def warn_first(*args, **kwargs):
        warnings.warn("odd folder [/x] [bold]name", UserWarning, stacklevel=1)
        return plan_cell(*args, **kwargs)

    plan_cell = planning.plan_cell
    monkeypatch.setattr(planning, "plan_cell", warn_first)
    warnings.simplefilter("always")  # pytest puts its own filters back
    code, out, err = trimwave("plan", "--json")
    assert code == 0
    assert err == "warning: odd folder [/x] [bold]name\n"
    assert json.loads(out)


@pytest.mark.parametrize("arguments", [["pln"], ["plan", "--fast"], ["plan", "a", "b"]])
def test_wrong_usage_is_no_traceback(trimwave, arguments):
    code, _, err = trimwave(*arguments)
    assert code == 2
    assert "Usage" in err and "Traceback" not in err


def test_a_plan_is_by_the_recipes_method(trimwave):
    asked = ("plan", "gpt2-medium", "--json")
    own = trimwave(*asked)[1]
    assert own == trimwave(*asked, "--method", "jcpba:solver=bcd")[1]
    assert own != trimwave(*asked, "--method", "jcpba")[1]


def test_methods_are_listed_with_their_options(trimwave, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = trimwave("methods")
    assert code == 0
    text, said = " ".join(out.split()), 0
    for name, kind in METHODS.items():
        label, summary = kind().label, kind.__doc__.splitlines()[0]
        place = text.index(f"{name} {label}: {summary}")
        assert place >= said
        said = place
        for field in fields(kind):
            if field.name != "learning_rate":  # said once, for all
                said = text.index(f":{field.name}=", said)
    assert text.index("every method :learning_rate=... (a number, or left out)") > said
    assert text.count(":learning_rate") == 1
    assert ":solver=exact (exact, bcd) `exact`: the global optimum" in text


def test_the_version(trimwave):
    assert trimwave("--version") == (0, f"trimwave {package.__version__}\n", "")


def test_models_are_listed(trimwave, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    code, out, _ = trimwave("models")
    assert code == 0
    first = {line.split()[0] for line in out.splitlines()}
    assert first == {"name", *KNOWN_MODELS}
    assert KNOWN_MODELS.keys() == SHAPES.keys()


def test_help_says_what_there_is(trimwave):
    code, out, _ = trimwave("--help")
    assert code == 0
    assert "--version" in out
    for command in ("run", "compare", "plan", "sweep", "methods", "models"):
        assert command in out
        assert trimwave(command, "--help")[0] == 0


def test_a_plan_loads_no_torch(tmp_path):
    heavy = ("torch", "transformers", "peft", "datasets", "matplotlib", "scipy")
    code = (
        "import sys\nfrom trimwave.cli.app import main\n"
        "sys.argv = ['trimwave', 'plan', '--json']\n"
        "try:\n    main()\nexcept SystemExit as stopped:\n    assert not stopped.code\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "optimal"
    assert done.stderr.strip() == "[]"


FULL_HEADER = HEADER.strip() + ",num_samples,held,bandwidth_min_hz,bandwidth_max_hz\n"
FULL_ROWS = (
    "1e12,8e9,90,70,10,0.2,0,5e7\n",
    "5e11,6e9,80,60,20,0,1e7,inf\n",
    "2e12,4e9,100,75,30,1,0,3e7\n",
)


@pytest.fixture
def full_cell(tmp_path):
    """Write a cell with all the optional columns."""
    path = tmp_path / "full.csv"
    path.write_text(FULL_HEADER + "".join(FULL_ROWS))
    return path


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
    assert bound in trimwave("plan", full_cell, "--method", "lora")[2]


@pytest.mark.parametrize("solver", ["uniform", "bcd"])
def test_shares_that_an_even_split_cannot_give_are_one_line(refused, full_cell, solver):
    said = refused("plan", full_cell, "--solver", solver)
    expected = f"infeasible: C2: solver `{solver}` starts from B/K = 3.33333e+07 Hz, "
    assert expected + "outside the bounds of client 2; use the exact one" in said

import pytest
from cells import CONSTANTS, HEADER


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ((0, 0), "nan", "line 2, column `speed_flops_per_s`: must be a number in FLOP"),
        ((1, 0), "-1e12", "line 3, column `speed_flops_per_s`: must be in FLOP/s, got"),
        ((2, 1), "0", "line 4, column `memory_bytes`: must be in byte, got 0"),
        ((2, 1), "4", "if it is in GB, write 4e9"),
        ((1, 2), "nan", "line 3, column `snr_down_db`: must be a number in dB, got"),
        ((2, 3), "inf", "line 4, column `snr_up_db`: must be a number in dB, got"),
        ((1, 1), "", "line 3, column `memory_bytes`: must be a number in byte, got ''"),
        ((2, 2), "good", "line 4, column `snr_down_db`: must be a number in dB, got"),
        ((0, 3), "-150", "line 2, column `snr_up_db`: client 0 is out of reach"),
    ],
)
def test_a_bad_number_in_a_cell_is_named(refused, cell, place, value, said):
    assert said in refused("plan", cell(*place, value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\xff", "line 1: byte 1 of the file, 0xFF, `ÿ` in Windows-1252"),
        ("\xff\xfe", "is empty"),
        (HEADER, "no rows below the header"),
        ("", "is empty"),
        (HEADER.replace("snr_up_db", "snr_up"), "'snr_up' (did you mean `snr_up_db`?)"),
        (
            HEADER.replace(",snr_up_db", ""),
            "no column `snr_up_db`, but `snr_down",
        ),
        (HEADER + "1e12,8e9,90\n", "line 2: 3 cells for 4 columns; `snr_up_db` has"),
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
        (["none.toml"], "none.toml: cannot be read (No such file"),
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
        ('{"model_type": "bert"}', "/model is not in the table"),
        ('{"model_type": "llama"}', "/model has no key"),
        ('{"model_type": "gpt2", "n_embd": "wide", "n_head": 2}', "model"),
        ("{", "config.json is not JSON"),
        ("[]", "model"),
        ("{}", "architecture `` of /"),
    ],
)
def test_a_model_that_cannot_be_planned_is_one_line(refused, tmp_path, text, said):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(text)
    assert said in refused("plan", "--set", "model.name=model")


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
        (["compare", "--methods", ","], "`methods` names none; known: all, jcpba"),
        (["compare", "--methods", "all,jcpba"], "no method `all`"),
        (["compare", "--seeds", "0"], "`seeds` must be at least 1, got 0"),
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


@pytest.mark.parametrize("arguments", [["pln"], ["plan", "--fast"], ["plan", "a", "b"]])
def test_wrong_usage_is_no_traceback(trimwave, arguments):
    code, _, err = trimwave(*arguments)
    assert code == 2
    assert "Usage" in err and "Traceback" not in err


@pytest.mark.parametrize("solver", ["uniform", "bcd"])
def test_shares_that_an_even_split_cannot_give_are_one_line(refused, full_cell, solver):
    said = refused("plan", full_cell, "--solver", solver)
    expected = f"infeasible: C2: solver `{solver}` starts from B/K = 3.33333e+07 Hz, "
    assert (
        expected + "outside the bounds of client 2; use jcpba with the exact one"
        in said
    )

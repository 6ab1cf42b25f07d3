import json
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_run import bytes_of, make_bench, make_config, write_toml

from trimwave.base.errors import InputError, RunError
from trimwave.cli import app as cli
from trimwave.lm.session import check_beside, run_method
from trimwave.lm.workbench import build_workbench
from trimwave.recipe.recipe import merge_overrides

# One recipe serves tests of many methods, each of which leaves some keys unread.
pytestmark = pytest.mark.filterwarnings("ignore:without effect")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder for this module's runs, with a cache of its own."""
    folder = tmp_path_factory.mktemp("session")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def config(home):
    return make_config(home / "inputs", changes=["rounds=3"])


@pytest.fixture(scope="module")
def bench(config):
    return build_workbench(config)


@pytest.fixture(scope="module")
def recipe(home, config):
    return write_toml(home / "tiny.toml", config)


@pytest.fixture(scope="module")
def run(bench, home):
    """Run a method on the shared workbench; the second call returns the first's."""
    done = {}

    def _run(method):
        if method not in done:
            folder = home / method.replace(":", "-")
            one = replace(bench.config, method=method)
            done[method] = run_method(bench, one, folder), folder
        return done[method]

    return _run


@pytest.fixture
def trimwave(monkeypatch, capsys, tmp_path):
    """Call the command line in this process: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def _trimwave(*arguments):
        monkeypatch.setattr(sys, "argv", ["trimwave", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return _trimwave


def means(records):
    return [np.mean(record["plan"]["prune_rate"]) for record in records[1:]]


def test_methods_on_one_bench_do_not_meet(bench, run, tmp_path):
    first, second = run("jcpba"), run("ubfp")
    for method, (records, folder) in (("ubfp", second), ("jcpba", first)):
        one = replace(bench.config, method=method)
        again = tmp_path / method
        assert run_method(bench, one, again) == records
        assert bytes_of(again) == bytes_of(folder)


def test_the_same_seed_gives_the_same_bytes(run, config, tmp_path):
    again = run_method(build_workbench(config), config, tmp_path / "again")
    assert again == run("jcpba")[0]
    assert bytes_of(tmp_path / "again") == bytes_of(run("jcpba")[1])


def test_another_seed_gives_another_run(run, config, tmp_path):
    other = replace(config, seed=1)
    records = run_method(build_workbench(other), other, tmp_path / "other")
    assert records[0]["loss_full"] != run("jcpba")[0][0]["loss_full"]
    assert records[1]["round_s"] != run("jcpba")[0][1]["round_s"]
    assert bytes_of(tmp_path / "other").keys() == bytes_of(run("jcpba")[1]).keys()


def test_methods_start_alike_and_prune_alike(bench, run):
    ours, theirs = run("jcpba")[0], run("ubfp")[0]
    assert ours[0] == theirs[0]
    sizes = bench.ranking.sizes
    notch = np.diff(sizes).max() / sizes[-1]
    beta_bar = bench.config.limits.beta_bar
    for one, other in zip(means(ours), means(theirs), strict=True):
        assert abs(one - other) <= notch
        assert beta_bar - notch <= one <= beta_bar + 1e-9


def test_jcpba_is_never_slower_than_ubfp(run):
    ours, theirs = run("jcpba")[0], run("ubfp")[0]
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert one["round_s"] <= other["round_s"] * (1 + 1e-9)
    assert ours[-1]["virtual_s"] < 0.99 * theirs[-1]["virtual_s"]


def test_algorithm_1_runs_too(run):
    records, _ = run("jcpba:solver=bcd")
    assert all(record["plan"]["solver"] == "bcd" for record in records[1:])
    for exact, printed in zip(run("jcpba")[0][1:], records[1:], strict=True):
        plans = exact["plan"], printed["plan"]
        assert plans[0]["solver_latency_s"] <= plans[1]["solver_latency_s"] * (1 + 1e-9)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gpt2", ["method=jcpba:adapter=lora", "model.bits_per_param=32"]),
        ("gpt2", ["prune.criterion=fisher", "train.precision=bf16"]),
        ("llama", ["method=jcpba:adapter=lora", "prune.criterion=random"]),
        ("llama", ["prune.criterion=layer_drop", "limits.beta_max=0.66"]),
        ("llama", ["data.client_sizes=[2, 4, 12]", "radio.noise=psd"]),
    ],
)
def test_a_run_learns(home, tmp_path, kind, changes):
    longer = ["rounds=2", "train.num_local_steps=4"]
    rates = ["train.learning_rate=1e-2", "train.lora_learning_rate=1e-2"]
    bench = make_bench(tmp_path, kind, [*longer, *rates, *changes])
    records = run_method(bench, bench.config, tmp_path / "run")
    assert records[-1]["loss_emulator"] < records[0]["loss_emulator"] - 0.05
    assert records[-1]["loss_full"] < records[0]["loss_full"] - 0.05


def test_the_manifest_says_what_was_run(run, config):
    manifest = json.loads((run("jcpba")[1] / "manifest.json").read_text())
    assert manifest["config"]["model"]["name"] == config.model.name
    assert manifest["backend"] == "local"
    assert {"torch", "transformers", "trimwave"} <= set(manifest["versions"])
    assert manifest["model"]["source"] == "local folder"
    assert manifest["data"]["rows"] == {"train": 24, "test": 6, "public": 6}
    assert len(manifest["ranking"]) == 64


def test_fisher_is_ranked_once(home, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "cache"))
    bench = make_bench(tmp_path, changes=["prune.criterion=fisher"])
    said = []
    again = build_workbench(bench.config, said.append)
    assert again.ranking.digest() == bench.ranking.digest()
    assert not any("ranking" in line for line in said)
    other = merge_overrides(bench.config, ["prune.num_sequences=3"])
    build_workbench(other, said.append)
    assert any("ranking" in line for line in said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("limits.beta_max=0.75", "C4: `beta_max` = 0.75 cannot be reached"),
        ("cell.memory_bytes=[1e5, 2e5]", "C3: client 0 has"),
        ("cell.memory_bytes=[4, 8]", "if it is in GB, write 4e9"),
        ("limits.beta_bar=0.05", "C5: mean pruning must not exceed `beta_bar` = 0.05"),
        ("data.max_tokens=16", "raise `data.max_tokens`"),
        ("data.max_tokens=65", "exceeds the context"),
        ("train.seq_len=65", "`train.seq_len` must be in [1, 64]"),
        ("model.adapter_blocks=4", "`split_index` must be in [1, 3]"),
        ("data.num_train=1000", "only 48 are left"),
        ("data.client_sizes=[1, 2]", "one entry per client"),
        ("data.partition=dirichlet", "needs labelled rows"),
        ("train.device=tpu", "`train.device` = 'tpu' cannot be used here"),
        ("method=jcpb", "no method `jcpb`; did you mean `jcpba`?"),
        ("train.learning_rate=1e30", "loss"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore:`cell.memory_bytes`")
def test_what_a_run_cannot_do_is_one_line(home, recipe, trimwave, change, said):
    code, _, err = trimwave("run", recipe, "--set", change)
    assert code == 2, err
    line = err.splitlines()[-1]
    assert line.startswith("error: ")
    assert said in line
    assert "Traceback" not in err


def test_another_architecture_is_one_line(home, recipe, tmp_path, trimwave):
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    code, _, err = trimwave("run", recipe, "--model", tmp_path / "bert")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert err.startswith("error: ")


def test_run_prints_a_table_and_draws(home, recipe, trimwave, tmp_path):
    code, out, err = trimwave("run", recipe, "--rounds", 2, "--seed", 3)
    assert code == 0, err
    folder = tmp_path / "runs" / "tiny-jcpba-s3"
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    rounds = [line for line in out.splitlines() if line.startswith("JCPBA*   round")]
    assert [line.split()[2] for line in rounds] == ["0/2", "1/2", "2/2"]
    assert {"untrained", "GFLOPs"} <= set(out.split())
    assert "rows.jsonl, 3 clients, 2 rounds" in out
    code, out, _ = trimwave("run", recipe, "--rounds", 1, "--seed", 3)
    assert (tmp_path / "runs" / "tiny-jcpba-s3-2" / "rounds.jsonl").exists()


def test_compare_prints_methods_and_seeds(home, recipe, trimwave, tmp_path):
    code, out, err = trimwave(
        "compare", recipe, "--seeds", 2, "--rounds", 2, "--out", "both"
    )
    assert code == 0, err
    names = sorted(path.name for path in (tmp_path / "both").iterdir())
    runs = ["jcpba-s0", "jcpba-s1", "ubfp-s0", "ubfp-s1"]
    assert names == sorted([*runs, "compare.json", "loss.png", "summary.json"])
    table = out[out.index("untrained") :].split()
    assert {"JCPBA*", "UBFP"} <= set(table)
    seeds = [tmp_path / "both" / f"jcpba-s{n}" / "rounds.jsonl" for n in (0, 1)]
    losses = [json.loads(p.read_text().splitlines()[-1])["loss_full"] for p in seeds]
    assert f"{np.mean(losses):.3f}" in table
    assert any(f"+-{np.std(losses, ddof=1):.3f}" in cell for cell in table)
    # A run of a comparison is a run.
    code, _, err = trimwave("run", "--resume", "both/ubfp-s1", "--rounds", 3)
    assert code == 0, err
    assert len((tmp_path / "both/ubfp-s1/rounds.jsonl").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    "methods", ["jcpba,jcpba", "jcpba,jcpba:solver=exact", "", "jcpba,nothing"]
)
def test_methods_to_compare_must_differ(home, recipe, trimwave, methods):
    code, _, err = trimwave("compare", recipe, "--rounds", 1, "--methods", methods)
    assert code == 2
    assert err.startswith("error: ")


def test_a_resumed_run_keeps_its_settings(home, recipe, trimwave, tmp_path):
    assert trimwave("run", recipe, "--rounds", 1, "--out", "one")[0] == 0
    code, _, err = trimwave("run", "--resume", "one", "--seed", 5)
    assert code == 2
    assert "seed: 0 -> 5" in err
    code, _, err = trimwave("run", "--resume", "one", "--out", "two")
    assert code == 2
    assert "drop --out" in err
    code, _, err = trimwave("run", recipe, "--resume", "one", "--rounds", 2)
    assert code == 0, err
    assert not os.path.exists("two")


def test_a_used_folder_is_one_line(home, recipe, trimwave):
    assert trimwave("run", recipe, "--rounds", 1, "--out", "one")[0] == 0
    code, _, err = trimwave("run", recipe, "--rounds", 1, "--out", "one")
    assert code == 2
    assert "error: one already holds a run" in err


@pytest.mark.parametrize("name", ["[bold]run[/x]", "\U0001f4e1"])
def test_names_are_printed_as_they_are(home, config, trimwave, tmp_path, name):
    folder = make_config(tmp_path / name, changes=["rounds=1"])
    recipe = write_toml(tmp_path / "odd.toml", config)
    model, data = folder.model.name, folder.data.source
    arguments = ["--model", model, "--data", data, "--rounds", 1]
    code, out, err = trimwave("run", recipe, *arguments, "--out", tmp_path / name / "o")
    assert code == 0, err
    assert str(tmp_path / name / "o") in out
    assert model in out


def test_a_run_goes_on_where_the_cache_cannot_be_written(
    home, recipe, trimwave, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "file" / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, _, err = trimwave("run", recipe, "--rounds", 1)
    assert code == 0
    assert "warning: the ranking is not kept: cannot write to" in err


def test_a_workbench_needs_a_known_model(home, config):
    with pytest.raises(InputError, match="unknown model `nothing`"):
        build_workbench(merge_overrides(config, ["model.name=nothing"]))


def test_what_a_method_cannot_serve_is_said_before_training(home, recipe, trimwave):
    code, _, err = trimwave(
        "compare", recipe, "--methods", "ubfp,deft:groups=4", "--out", "early"
    )
    assert code == 2
    assert "error: method `deft:groups=4`: fewer devices than block groups" in err
    assert not Path("early").exists()


def test_a_missing_quantiser_is_said_before_training(
    home, recipe, trimwave, monkeypatch
):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    methods = "ubfp,fedqlora:bits=4"
    code, _, err = trimwave("compare", recipe, "--methods", methods, "--out", "early")
    assert code == 2
    assert "pip install 'trimwave[quant]'" in err
    assert not Path("early").exists()


def test_runs_that_are_compared_read_the_same(bench, run):
    _, folder = run("jcpba")
    other_seed = replace(bench, config=replace(bench.config, seed=7))
    for one in (bench, other_seed):
        check_beside(one, [folder])
        for part, name in (("data", "revision"), ("model", None)):
            facts = one.facts | {
                part: {**one.facts[part], name: "other"} if name else "other"
            }
            with pytest.raises(RunError, match=f"{part}.* -> 'other'"):
                check_beside(replace(one, facts=facts), [folder])
    facts = {**bench.facts, "ranking": "other"}
    with pytest.raises(RunError, match="ranking"):
        check_beside(replace(bench, facts=facts), [folder])
    check_beside(replace(other_seed, facts=facts), [folder])  # ranks by other rows

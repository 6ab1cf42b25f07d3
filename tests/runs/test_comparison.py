import json
import sys
import types

import pytest

from trimwave.base.errors import InputError, RunError
from trimwave.base.stored import read_sealed, write_sealed
from trimwave.cli import app as cli
from trimwave.methods import ALL, label_of
from trimwave.recipe.config import Config
from trimwave.recipe.recipe import merge_overrides
from trimwave.report import closing
from trimwave.runs.comparison import method_texts, methods_of, run_name
from trimwave.runs.records import Run

METHODS = "jcpba,jcpba:adapter=lora"


class FakeLab:
    """Stands for the training part: a loss per method, seed and round."""

    def __init__(self):
        self.benches, self.rounds, self.stop_at = [], [], None

    def build_workbench(self, config, say):
        self.benches.append(config.seed)
        return config.seed

    def check_beside(self, bench, folders):
        assert all((folder / "manifest.json").exists() for folder in folders)

    def check_runs(self, bench, configs):
        assert {config.seed for config in configs} == {bench}

    def run_method(self, bench, config, folder, *, resume, on_record, on_client):
        assert bench == config.seed
        run = Run.open(folder) if resume else Run.create(folder, config, {})
        if resume:
            run.check_same(config)
        records = run.restore(lambda checkpoint: None)
        for number in range(len(records), config.rounds + 1):
            place = folder.name, number
            if place == self.stop_at:
                raise KeyboardInterrupt
            self.rounds.append(place)
            record = {"round": number, "loss": f"{config.method} {config.seed}"}
            run.commit(record, lambda draft: (draft / "x").write_text(""), 0.0)
            records.append(record)
        return records


@pytest.fixture
def lab(monkeypatch):
    fake = FakeLab()
    session = types.SimpleNamespace(
        run_method=fake.run_method,
        check_runs=fake.check_runs,
        check_beside=fake.check_beside,
    )
    workbench = types.SimpleNamespace(build_workbench=fake.build_workbench)
    monkeypatch.setitem(sys.modules, "trimwave.lm.session", session)
    monkeypatch.setitem(sys.modules, "trimwave.lm.workbench", workbench)
    return fake


@pytest.fixture
def compare(lab, monkeypatch, capsys, tmp_path):
    """Call `trimwave compare`: exit code, its results, and all that it printed."""
    monkeypatch.chdir(tmp_path)

    def _compare(*arguments):
        reported = []
        monkeypatch.setattr(
            closing, "close_report", lambda *given: reported.append(given)
        )
        monkeypatch.setattr(sys, "argv", ["trimwave", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        results = reported[0][0] if reported else None
        return stopped.value.code or 0, results, "".join(capsys.readouterr())

    return _compare


def begin(compare, lab, stop_at=None, *arguments):
    lab.stop_at = stop_at
    common = "--methods", METHODS, "--seeds", 2, "--rounds", 2, "--out", "both"
    return compare(*common, *arguments)


def test_results_are_by_label_and_seed(compare, lab, tmp_path):
    code, results, _ = begin(compare, lab, None, "--seed", 5)
    assert code == 0
    assert {label: len(runs) for label, runs in results.items()} == {
        "JCPBA*": 2,
        "JCPBA* lora": 2,
    }
    for text, runs in zip(METHODS.split(","), results.values(), strict=True):
        for seed, records in zip((5, 6), runs, strict=True):
            assert [record["round"] for record in records] == [0, 1, 2]
            assert {record["loss"] for record in records} == {f"{text} {seed}"}
    assert lab.benches == [5, 6]
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == [
        "compare.json",
        "jcpba-adapter-lora-s5",
        "jcpba-adapter-lora-s6",
        "jcpba-s5",
        "jcpba-s6",
    ]


def test_compare_json_says_what_was_asked(compare, lab, tmp_path):
    begin(compare, lab, ("jcpba-s0", 0), "--set", "cell.num_clients=3")
    asked = json.loads((tmp_path / "both" / "compare.json").read_text())
    assert asked["methods"] == METHODS.split(",")
    assert asked["seeds"] == [0, 1]
    assert asked["config"]["cell"]["num_clients"] == 3
    assert asked["config"]["rounds"] == 2


@pytest.mark.parametrize(
    ("stop_at", "loaded", "same"),
    [
        (("jcpba-s0", 0), [0, 1], ()),
        (("jcpba-adapter-lora-s0", 2), [0, 1], ("--rounds", 2)),
        (("jcpba-s1", 0), [1], ("--methods", METHODS, "--seeds", 2)),
        (("jcpba-adapter-lora-s1", 1), [1], ("default", "--seed", 0)),
    ],
)
def test_a_stopped_comparison_goes_on(compare, lab, tmp_path, stop_at, loaded, same):
    whole = begin(compare, lab)[1]
    everything = lab.rounds.copy()
    (tmp_path / "both").rename(tmp_path / "whole")
    lab.rounds.clear()
    code, results, text = begin(compare, lab, stop_at)
    assert code == 130 and results is None
    assert "stopped; go on with: trimwave compare --resume both" in text
    lab.stop_at = None
    lab.benches.clear()
    code, results, _ = compare(*same, "--resume", "both")
    assert code == 0
    assert results == whole
    assert list(results) == list(whole)
    assert lab.rounds == everything  # none twice, none left out
    assert lab.benches == loaded
    lab.benches.clear()
    assert compare("--resume", "both")[1] == whole  # is only read
    assert lab.benches == []


def test_a_comparison_grows(compare, lab, tmp_path):
    whole = begin(compare, lab, None, "--rounds", 4)[1]
    (tmp_path / "both").rename(tmp_path / "whole")
    begin(compare, lab)
    lab.rounds.clear()
    lab.stop_at = "jcpba-s1", 3
    assert compare("--resume", "both", "--rounds", 4)[0] == 130
    lab.stop_at = None
    # How far it was to go is kept, and a finished run is not begun again.
    assert compare("--resume", "both")[1] == whole
    folders = [f"{name}-s{seed}" for seed in (0, 1) for name in names()]
    assert lab.rounds == [(folder, n) for folder in folders for n in (3, 4)]


def names():
    return "jcpba", "jcpba-adapter-lora"


def test_a_run_that_went_on_by_itself_is_read_up_to_the_others(compare, lab, tmp_path):
    whole = begin(compare, lab)[1]
    folder = tmp_path / "both" / "jcpba-s0"
    config = Run.open(folder).config
    longer = merge_overrides(config, ["rounds=3"])
    nothing = {"on_record": None, "on_client": None}
    assert len(lab.run_method(0, longer, folder, resume=True, **nothing)) == 4
    assert compare("--resume", "both")[1] == whole


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seed", 1], "seed: 0 -> 1"),
        (["--rounds", 1], "rounds: 2 -> 1"),
        (["--set", "cell.num_clients=3"], "cell.num_clients: 8 -> 3"),
        (["gpt2-medium"], "model.name: 'smollm2-135m' -> 'gpt2-medium'"),
        (["--methods", "jcpba"], "compares jcpba,jcpba:adapter=lora with 2 seeds"),
        (["--seeds", 3], "with 2 seeds; leave `methods` and `seeds` out"),
        (["--out", "other"], "drop --out"),
    ],
)
def test_settings_may_not_differ(compare, lab, arguments, said):
    begin(compare, lab, ("jcpba-s0", 0))
    code, results, text = compare("--resume", "both", *arguments)
    assert code == 2 and results is None
    assert said in text and text.count("\n") == 1
    assert lab.rounds == []


def test_a_run_of_other_settings_is_named(compare, lab, tmp_path):
    begin(compare, lab, ("jcpba-s1", 0))
    path = tmp_path / "both" / "jcpba-s0" / "manifest.json"
    manifest = read_sealed(path)
    manifest["config"]["cell"]["num_clients"] = 7
    write_sealed(path, manifest)
    code, _, text = compare("--resume", "both")
    assert code == 2
    assert "jcpba-s0 was started with another recipe" in text
    assert "cell.num_clients: 7 -> 8" in text


def test_a_used_folder_is_not_compared_in(compare, lab):
    begin(compare, lab)
    code, _, text = begin(compare, lab)
    assert code == 2
    assert "both already holds a comparison" in text
    assert "trimwave compare --resume both" in text


def test_what_is_refused_leaves_nothing_behind(compare, lab, monkeypatch, tmp_path):
    def refuse(bench, configs):
        raise InputError("no such cell")

    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(sys.modules["trimwave.lm.session"], "check_runs", refuse)
    for folder in ("both", "mine"):
        code, _, text = compare("--methods", "ubfp,lora", "--out", folder)
        assert code == 2
        assert "no such cell" in text
    assert not (tmp_path / "both").exists()
    assert list((tmp_path / "mine").iterdir()) == []


def test_folders_of_the_wrong_kind_name_the_right_command(compare, lab, tmp_path):
    begin(compare, lab)
    run = next((tmp_path / "both").glob("*/manifest.json")).parent
    text = compare("--resume", run)[2]
    hint = f"it holds a run; use `trimwave run --resume {run}`"
    assert hint in " ".join(text.split())
    with pytest.raises(RunError, match="use `trimwave compare --resume"):
        Run.open(tmp_path / "both")


def test_no_method_is_none(compare, lab):
    code, _, text = compare("--methods", " , ", "--out", "none")
    assert code == 2
    assert "`methods` names none; known: all, jcpba" in text


def test_all_is_every_method(compare, lab):
    code, results, _ = compare("--methods", "all", "--rounds", 1, "--out", "all")
    assert code == 0
    assert list(results) == [label_of(text) for text in ALL]


def test_no_two_methods_share_a_folder():
    configs = [Config(method=text) for text in ALL]
    assert len({run_name(config) for config in configs}) == len(ALL)
    odd = Config(method="deft:groups=-3:download=delta/ x", seed=2)
    assert run_name(odd) == "deft-groups--3-download-delta--x-s2"


@pytest.mark.parametrize(
    ("own", "compared"),
    [
        ("jcpba", ("jcpba", "ubfp")),
        ("ubfp", ("ubfp", "jcpba")),
        ("jcpba:solver=bcd", ("jcpba:solver=bcd", "ubfp")),
        ("staged", ("staged", "jcpba", "ubfp")),
    ],
)
def test_a_recipes_own_method_is_compared_unless_others_are_named(own, compared):
    assert methods_of(Config(method=own), None) == compared
    assert methods_of(Config(method=own), "lora,deft") == ("lora", "deft")


def test_methods_as_a_recipe_with_options_has_them():
    options = {"jcpba": {"solver": "bcd"}}
    assert method_texts(" jcpba , ubfp ", options) == ("jcpba", "ubfp")
    with pytest.raises(InputError, match="each method once"):
        method_texts("jcpba,jcpba:solver=bcd", options)

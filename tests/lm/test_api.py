"""`tw.run` and `tw.compare` on a random model; the examples, as a user runs them."""

import json
import os
import runpy
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tiny_run import save_model, tree, write_rows, write_toml

import trimwave as tw
from trimwave.base.errors import RunError
from trimwave.recipe.recipe import config_from_dict
from trimwave.report import closing
from trimwave.runs.records import Run

pytestmark = [
    pytest.mark.filterwarnings("ignore:without effect"),
    pytest.mark.usefixtures("rules_forgotten"),
]
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    """The recipe of the miniature, in a new working directory."""
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(closing, "save_picture", lambda *_: None)  # takes seconds
    given = tree(save_model(tmp_path / "model"), write_rows(tmp_path / "rows.jsonl"))
    return {**given, "rounds": 2}


@dataclass(frozen=True)
class Slow(tw.PruningRule):
    """Everyone alike, with a dip that no other rule has."""

    rate: float = 0.5

    def decide(self, problem):
        band_hz, clients = problem.cell.total_bandwidth_hz, problem.cell.num_clients
        kept = np.clip(1 - self.rate, problem.kept_min, problem.kept_max)
        return np.full(clients, kept), np.full(clients, band_hz / clients / 2)


def test_a_run_from_python_is_the_commands(recipe, capsys):
    heard = []
    done = tw.run(recipe, method=Slow(rate=0.4), on_round=heard.append, seed=3)
    assert capsys.readouterr().out == ""
    assert [record["round"] for record in heard] == [0, 1, 2]
    assert done.records == heard == Run.open(done.folder).records()
    assert done.folder.name == f"tiny-{__name__}-Slow-rate-0.4-s3"
    assert {"summary.json", "manifest.json", "rounds.jsonl"} <= {
        path.name for path in done.folder.iterdir()
    }
    manifest = json.loads((done.folder / "manifest.json").read_text())
    assert manifest["rule"]["class"] == f"{__name__}:Slow"
    assert done.label in str(done) and done.label == "Slow rate=0.4"
    rows = done.to_rows()
    assert [row["round"] for row in rows] == [0, 1, 2]
    assert {row["seed"] for row in rows} == {3}
    further = tw.run(resume=done.folder, rounds=3)
    assert len(further.records) == 4 and further.records[:3] == heard
    with pytest.raises(RunError, match="started with another recipe.*seed: 3 -> 4"):
        tw.run(resume=done.folder, seed=4)
    with pytest.raises(tw.InputError, match="leave `recipe` and `out` out"):
        tw.run(resume=done.folder, out="elsewhere")


def test_a_changed_rule_is_seen_at_resume(recipe, tmp_path):
    text = (EXAMPLES / "proportional.py").read_text()
    (tmp_path / "proportional.py").write_text(text)
    done = tw.run(recipe, method="proportional:Proportional:rate=0.4", rounds=1)
    (tmp_path / "proportional.py").write_text(text + "\n# another\n")
    del sys.modules["proportional"]
    with pytest.raises(RunError, match="another rule .*rule.file: 'sha256:"):
        tw.run(resume=done.folder, rounds=2)


def test_a_comparison_from_python(recipe, capsys):
    heard = []
    done = tw.compare(
        recipe,
        methods=["jcpba", Slow(rate=0.4)],
        on_round=lambda label, record: heard.append((label, record["round"])),
        rounds=1,
        out="both",
    )
    assert capsys.readouterr().out == ""
    assert list(done.results) == ["JCPBA*", "Slow rate=0.4"]
    assert heard == [(label, number) for label in done.results for number in (0, 1)]
    assert len(done.to_rows()) == 4
    axes = done.plot()
    assert [line.get_label() for line in axes.lines] == list(done.results)
    frame = done.to_pandas()
    assert set(frame["method"]) == set(done.results)
    again = tw.compare(resume="both", rounds=2, progress=True)
    assert "round   2/2" in capsys.readouterr().out
    assert [len(runs[0]) for runs in again.results.values()] == [3, 3]


def test_a_rule_that_fails_in_a_run_leaves_nothing(recipe):
    with pytest.raises(tw.InputError, match="breaks P1: C5"):
        tw.run(recipe, method=Slow(rate=0.6))
    assert not Path("runs").exists()


def cells_of(path):
    notebook = json.loads(path.read_text("utf-8"))
    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and not cell.get("execution_count")
        if cell["cell_type"] == "code":
            yield "".join(cell["source"])


def test_the_notebook_runs(recipe, monkeypatch):
    """Its code on the miniature; the names that it leaves are looked at."""
    notebook = types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", notebook)
    names, recipe["limits"]["beta_bar"] = notebook.__dict__, 0.5
    for number, code in enumerate(cells_of(EXAMPLES / "compare.ipynb")):
        exec(compile(code, f"cell {number}", "exec"), names)
        if "RECIPE" in code and number == 0:
            names["RECIPE"] = recipe
    assert list(names["compared"].results) == ["JCPBA*", "by need"]
    assert names["planned"].label == "JCPBA*"


def test_the_students_path(recipe, tmp_path, monkeypatch, capsys):
    """A fleet and a rule of one's own against JCPBA, by the script."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    script = runpy.run_path(str(EXAMPLES / "own_fleet.py"))
    script["main"].__globals__["ROWS"][:] = [2, 2, 4, 4, 8]
    del recipe["cell"]["num_clients"]
    recipe["limits"] = {"beta_min": 0.1, "beta_max": 0.7, "beta_bar": 0.5}
    toml = write_toml(tmp_path / "tiny.toml", config_from_dict(recipe, "tiny"))
    script["main"](["--recipe", str(toml), "--rounds", "1", "--out", "here"])
    out = capsys.readouterr().out
    assert "gate camera" in out or "client" in out
    assert "in proportion, round 1" in out and "minutes; records" in out
    assert {"full.png", "compare.json"} <= set(os.listdir("here"))
    records = Run.open(tmp_path / "here" / "jcpba-s0").records()
    assert len(records[1]["plan"]["bandwidth_hz"]) == 5

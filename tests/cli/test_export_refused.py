"""`trimwave export`: what is refused, before torch is loaded."""

import sys

import pytest

from trimwave.base.stored import write_sealed
from trimwave.recipe.config import Config
from trimwave.runs.records import Run


@pytest.fixture(autouse=True)
def no_torch(trimwave, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimwave.lm.export", None)


@pytest.fixture
def run(trimwave, tmp_path):
    """A run of four rounds; round 1 is the best, and the checkpoint of 2 is gone."""
    run = Run.create(tmp_path / "run", Config(name="one"), {})
    losses = [3.0, 1.0, 2.0, 2.5, 1.5]
    for number, loss in enumerate(losses):
        record = {"round": number, "virtual_s": 0.0, "loss_full": loss}
        save = lambda draft, n=number: (draft / "x").write_text(str(n))  # noqa: E731
        run.commit(record, save, 0.0, (1,))
    return run


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none", "--to", "m"], "none holds no run (no manifest.json)"),
        (["run", "--to", "m", "--round", "first"], "--round must be best, last or a n"),
        (["run", "--to", "m", "--round", "-1"], "--round must be best, last or a numb"),
        (["run", "--to", "m", "--round", "5"], "the run has rounds 0 to 4 so far"),
        (
            ["run", "--to", "m", "--round", "2"],
            "no checkpoint of round 2; there is 1, ",
        ),
        (["run", "--to", "m", "--pruned", "1"], "--pruned must be in [0, 1), got 1.0"),
        (["run", "--to", "m", "--pruned", "nan"], "--pruned must be in [0, 1), got na"),
        (["run", "--to", "m", "--merge", "--adapter"], "its factors alone; drop one."),
        (["run", "--to", "m", "--adapter", "--merge"], "its factors alone; drop one."),
        (["run", "--to", "m", "--pruned", "0.2", "--adapter"], "drop it or --pruned"),
        (["run", "--to", "m", "--adapter", "--dtype", "float16"], "drop --dtype"),
        (["run", "--to", "m", "--adapter"], "trained weights (`jcpba`), not LoRA fac"),
        (["run", "--to", "run"], "run is not empty; name a folder that is not there"),
        (["run", "--to", "run/manifest.json"], "manifest.json is no folder"),
    ],
)
def test_an_export_that_cannot_be_is_one_line(refused, run, arguments, said):
    assert said in refused("export", *arguments)
    assert sorted(one.name for one in run.folder.parent.iterdir()) == ["run"]


def test_a_damaged_checkpoint_is_named_with_what_is_left(refused, run):
    (run.folder / "checkpoints" / "round-0001" / "x").write_text("2")
    said = refused("export", "run", "--to", "m")
    assert "round-0001 cannot be used (x does not match its hash)" in said
    assert "take another --round: there is 3, 4" in said


def test_a_run_without_a_round_is_named(refused, tmp_path):
    Run.create(tmp_path / "young", Config(), {})
    assert "has no finished round yet" in refused("export", "young", "--to", "m")


def test_of_a_comparison_a_run_is_to_be_named(refused, run, tmp_path):
    write_sealed(tmp_path / "compare.json", {})
    assert "name one of its runs: run." in refused("export", ".", "--to", "m")


def test_without_the_extra_the_pip_command_is_given(refused, run):
    assert "pip install 'trimwave[lm]'" in refused("export", "run", "--to", "m")

"""`trimwave tune`: short runs on public rows alone, and what is picked of them."""

import re
import sys
import tomllib
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from tiny_run import changed, make_bench, make_config, write_toml

from trimwave.base.errors import InputError
from trimwave.cli import app as cli
from trimwave.lm import tuning
from trimwave.lm.tuning import RANKS, RATES, public_bench, tune
from trimwave.recipe.recipe import config_from_dict, load_config, merge_overrides
from trimwave.report.tune_table import tune_table, tune_toml
from trimwave.runs.tuned import Tried, Tuned

CHANGES = ["data.num_public=16", "rounds=2", "cell.num_clients=3"]


@pytest.fixture(scope="module")
def bench(home):
    return make_bench(home / "llama", "llama", CHANGES)


def tuned(bench, *changes, rates=(), ranks=(), method="lora", **more):
    config = merge_overrides(bench.config, [f'method="{method}"', *changes])
    return tune(bench, config, rates, ranks, **more)


def test_public_rows_take_both_places(bench):
    rows = public_bench(bench, bench.config)
    trained = [id(row) for own in rows.client_rows for row in own]
    assert [len(own) for own in rows.client_rows] == [4, 4, 4]
    assert {*trained} < {id(row) for row in bench.public_rows}
    assert len({*trained}) == len(trained) == 12
    # an aligner reads the public rows: none that is tested on
    assert {id(row) for row in rows.public_rows} == {*trained}


def test_what_clients_and_test_have_changes_nothing(bench):
    """Their rows are taken away, and one of the public ones is put in their place."""
    found = tuned(bench, rates=(1e-3,))
    row = bench.public_rows[:1]
    poor = replace(bench, client_rows=3 * (row,), evaluator=None)
    assert tuned(poor, rates=(1e-3,)).tried == found.tried


def test_each_point_is_tried_and_the_lowest_loss_is_picked(bench, tmp_path):
    told = []
    found = tuned(
        bench, rates=(1e-4, 3e-3), ranks=(1, 4), folder=tmp_path, on_tried=told.append
    )
    assert [*found.tried] == told
    points = [(one.learning_rate, one.lora_rank) for one in told]
    assert points == [(1e-4, 1), (1e-4, 4), (3e-3, 1), (3e-3, 4)]
    assert all(len(one.losses) == 3 and not one.diverged for one in told)
    assert len({one.losses[0] for one in told}) == 1
    assert found.best == min(told, key=lambda one: one.losses[-1])
    assert {path.name for path in tmp_path.iterdir()} == {
        *("0.0001-r1", "0.0001-r4", "0.003-r1", "0.003-r4")
    }
    assert found.edges == ["learning_rate", "lora_rank"]


def test_a_run_that_diverges_is_a_row(bench):
    found = tuned(bench, method="jcpba", rates=(1e-3, 1e30))
    good, bad = found.tried
    assert (good.diverged, bad.diverged) == (False, True)
    assert len(bad.losses) < 3 and found.best == good
    none = tuned(bench, method="jcpba", rates=(1e30,))
    assert "diverged" in tune_table(none, 80)[-1]
    with pytest.raises(InputError, match="every run of the grid diverged"):
        _ = none.best


def test_ties_go_to_the_smaller_step():
    def one(rate, *losses):
        return Tried(learning_rate=rate, lora_rank=None, losses=losses, diverged=False)

    tried = (one(3.0, 2.0, 1.0), one(1.0, 2.0, 1.0), one(2.0, 2.0, 0.5))
    assert Tuned(method="lora", tried=tried[:2], facts={}).best.learning_rate == 1.0
    assert Tuned(method="lora", tried=tried, facts={}).edges == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ranks": (2,), "method": "jcpba"}, "--ranks: `jcpba` trains weights"),
        ({"method": "lora:learning_rate=1e-3", "rates": (1e-2,)}, "says its `learning"),
        ({"method": "lora:lora_rank=2", "ranks": (4,)}, "says its `lora_rank` itself"),
    ],
)
def test_what_cannot_be_picked(bench, changes, words):
    with pytest.raises(InputError, match=words):
        tuned(bench, **changes)


OWN = [{"rounds": 1, "learning_rate": 2e-3}, {"blocks": 2, "learning_rate": 2e-3}]


def with_stages(bench, stages, rounds=2):
    options = {"staged": {"stages": stages}}
    tree = {**bench.config.to_dict(), "method": "staged", "rounds": rounds}
    return config_from_dict({**tree, "options": options}, "staged")


def has_told(recwarn, pattern):
    """Whether one of the warnings matches; what libraries warn of is not asked."""
    return any(re.search(pattern, str(one.message)) for one in recwarn)


def test_stages_that_say_the_rate_themselves(bench, recwarn):
    """Else all runs of the grid are one, and the smallest rate is picked of equals."""
    with pytest.raises(InputError, match="every stage of `staged` says its `learning_"):
        tune(bench, with_stages(bench, OWN), (1e-4, 1e-2), ())
    one = [{"rounds": 1}, OWN[1]]
    first, second = tune(bench, with_stages(bench, one), (1e-4, 1e-2), (2,)).tried
    assert has_told(recwarn, "say their `learning_rate` .* grid: 1.$")
    assert first.losses != second.losses


def memory_for(bench, rank):
    costs = replace(bench.costs, lora_rank=rank)
    whole = costs.whole(costs.all_blocks, "lora", sends_frozen=False)
    return costs.bill(whole).memory_bytes


def points_of(bench, monkeypatch, config):
    """Return the grid of a method, and for how many rounds, without training it."""
    rounds = set()

    def tried(rows, one, rate, rank, folder):
        rounds.add(one.rounds)
        return Tried(learning_rate=rate, lora_rank=rank, losses=(1.0,), diverged=False)

    monkeypatch.setattr(tuning, "_try", tried)
    found = tune(bench, config, (), ())
    assert rounds == {found.facts["rounds"]}
    points = [(one.learning_rate, one.lora_rank) for one in found.tried]
    return points, found.facts["rounds"]


@pytest.mark.parametrize(
    ("method", "ranks", "rounds"),
    [
        ("lora", RANKS, 2),
        ("lora:blocks=1", RANKS, 2),
        ("jcpba:adapter=lora", RANKS, 2),
        ("staged:warm_rounds=3:blocks=1", RANKS, 5),
        ("lora:lora_rank=2", (None,), 2),
        ("jcpba", (None,), 2),
    ],
)
def test_the_grid_is_the_same_for_every_method(
    bench, monkeypatch, method, ranks, rounds
):
    config = merge_overrides(bench.config, [f'method="{method}"'])
    rates = RATES["full" if method == "jcpba" else "lora"]
    grid = [*product(rates, ranks)]
    assert points_of(bench, monkeypatch, config) == (grid, rounds)


def test_a_rank_that_every_stage_says_is_kept(bench, monkeypatch):
    own = [{"rounds": 2, "lora_rank": 2}, {"blocks": 1, "lora_rank": 3}]
    grid = [*product(RATES["lora"], (None,))]
    assert points_of(bench, monkeypatch, with_stages(bench, own)) == (grid, 4)


UNUSUAL = pytest.mark.filterwarnings("ignore:.*unusual in")  # as the model is small


@UNUSUAL
def test_a_rank_that_does_not_fit_is_refused_before_any_trains(bench):
    between = (memory_for(bench, 4) + memory_for(bench, 64)) / 2
    memory, tried = f"cell.memory_bytes=[{between}, {between}]", []
    with pytest.raises(InputError, match="--ranks: of rank 64, .* C3"):
        tuned(bench, memory, rates=(1e-3,), ranks=(4, 64), on_tried=tried.append)
    assert tried == []


def test_ranks_that_fewer_clients_hold_are_told(bench, recwarn):
    """With one of a rank sitting out, the ranks are of other runs."""
    most = memory_for(bench, 64)
    path = Path(bench.config.data.source).parent / "memory.csv"
    rows = [f"{0.99 * most:.0f},1e9", f"{2 * most:.0f},1e9", f"{2 * most:.0f},1e9"]
    path.write_text("\n".join(["memory_bytes,speed_flops_per_s", *rows]))
    changes = (f'cell.clients="{path}"', "options.staged.warm_rounds=1")
    told = "3, 3 with rank 4; 2, 3 with rank 64"
    tuned(bench, *changes, method="staged:blocks=1", rates=(1e-3,), ranks=(4, 64))
    assert has_told(recwarn, f"take part are {told}")


@pytest.mark.parametrize(("warm", "warns"), [(1, False), (2, True)])
def test_a_stage_that_is_not_reached_is_told(bench, recwarn, warm, warns):
    config = with_stages(bench, [{"rounds": warm}, {"blocks": 2}])
    tune(bench, config, (1e-3,), (2,), 2)
    said = [str(one.message) for one in recwarn if "last stage" in str(one.message)]
    assert bool(said) == warns and all("`rounds` to 3 or more" in one for one in said)


def test_what_is_written_runs_what_was_tuned():
    """With the method, whatever the recipe below has; names of rules in quotes."""
    tried = Tried(learning_rate=1e-3, lora_rank=4, losses=(2.0, 1.0), diverged=False)
    found = Tuned(method="a.b:Rule", tried=(tried,), facts={})
    text = "\n".join(tune_toml(found, 'C:\\my "own".toml', "a.b:Rule:x=1"))
    assert tomllib.loads(text) == {
        "extends": 'C:\\my "own".toml',
        "method": "a.b:Rule:x=1",
        "options": {"a.b:Rule": {"learning_rate": 1e-3, "lora_rank": 4}},
    }


def test_too_few_public_rows(bench):
    few = changed(bench, "cell.num_clients=3")
    few = replace(few, public_rows=bench.public_rows[:7])
    with pytest.raises(InputError, match="7 public rows for 3 clients; set .* to 8"):
        tuned(few)
    tuned(replace(few, public_rows=bench.public_rows[:8]), rates=(1e-3,))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:without effect:UserWarning")
def test_the_command_writes_a_recipe(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = make_config(home / "command", changes=["data.num_public=16"])
    recipe = write_toml(tmp_path / "tiny.toml", config).relative_to(tmp_path)
    written = tmp_path / "sub" / "best.toml"
    written.parent.mkdir()
    words = ("--learning-rates", "1e-3,1e-2", "--rounds", "1", "--method", "lora")
    argv = ["trimwave", "tune", str(recipe), *words, "--write", str(written)]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    out = capsys.readouterr().out
    assert "best" in out and "is at an end of the grid" in out
    monkeypatch.chdir(written.parent)  # whence the recipe below is no neighbour
    read = load_config(written, [])
    assert read.method == "lora" != config.method
    assert read.options["lora"]["learning_rate"] in (1e-3, 1e-2)
    assert read.data == config.data

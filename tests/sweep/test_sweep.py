import builtins
import errno
import itertools
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
from faults import failing_disk
from small import CONFIG, METHODS, VARY, make_sweep

from trimwave import methods
from trimwave.base.errors import InputError, MissingExtraError, RunError
from trimwave.base.stored import read_sealed, write_sealed
from trimwave.methods import ask_stages, label_of, parse_method
from trimwave.problem.limits import Limits
from trimwave.recipe.environment import Environment
from trimwave.recipe.recipe import merge_overrides
from trimwave.recipe.situation import costs_from, shape_named
from trimwave.sweep import draws, sweep
from trimwave.sweep.draws import COLUMNS, PLANNED, plan_draw
from trimwave.sweep.one_round import plan_cell

pytest.importorskip("pyarrow")


def rows_of(parts, *keys):
    return sweep.read_rows(parts, (*keys, *COLUMNS))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Return a sweep in this process: folder, parts, rows."""
    folder = tmp_path_factory.mktemp("sweep") / "one"
    parts = sweep.run_sweep(make_sweep(rounds=2), folder, jobs=1)
    return folder, parts, rows_of(parts, *VARY)


def test_a_row_for_every_round(done):
    folder, parts, rows = done
    assert len(parts) == 4 and sorted((folder / "parts").iterdir()) == parts
    keys = [*VARY, "method_text", "seed", "round"]
    found = [tuple(row[key] for key in keys) for row in rows]
    expected = [
        (json.dumps([float(x) for x in factor]), beta_bar, text, seed, number)
        for factor in VARY["cell.speed_factor"]
        for beta_bar in VARY["limits.beta_bar"]
        for seed in (0, 1)
        for text in METHODS
        for number in (1, 2)
    ]
    assert found == expected
    assert {row["status"] for row in rows} == {PLANNED}
    assert all(row["method"] == label_of(row["method_text"]) for row in rows)


def test_a_row_is_the_plan_of_its_point(done):
    for row in done[2][::5]:
        changes = [f"{key}={row[key]}" for key in VARY]
        config = merge_overrides(CONFIG, [*changes, f"seed={row['seed']}"])
        situation, plan = plan_cell(config, row["method_text"], round_=row["round"])
        speeds = situation.cell.speed_flops_per_s
        assert {name: row[name] for name in list(COLUMNS)[6:]} == {
            "latency_s": plan.latency_s,
            "start_s": row["start_s"],
            "round_s": plan.latency_s,
            "mean_prune_rate": pytest.approx(plan.prune_rate.mean()),
            "num_scheduled": 3,
            "down_bytes": sum(plan.down_bits.tolist()) // 8,
            "up_bytes": sum(plan.up_bits.tolist()) // 8,
            "device_flops": pytest.approx(sum(plan.flops.tolist()) / 3),
            "memory_bytes_max": max(plan.memory_bytes.tolist()),
            "install_bytes": sum(plan.install_bits.tolist()) // 8,
            "install_s": plan.install_s,
            "solver": plan.solution.solver,
            "bound_s": plan.solution.bound_s,
            "gap": plan.solution.gap,
            "kkt_residual": plan.solution.kkt_residual,
            "spectrum_utilisation": plan.spectrum_utilisation,
            "speed_cv": pytest.approx(
                np.sqrt(np.mean((speeds - speeds.mean()) ** 2)) / speeds.mean()
            ),
        }


def test_processes_change_nothing(done, tmp_path):
    said = []
    asked = make_sweep(rounds=2)
    parts = sweep.run_sweep(asked, tmp_path / "two", 2, lambda *at: said.append(at))
    assert said == [(number, 8) for number in range(1, 9)]
    assert [part.name for part in parts] == [part.name for part in done[1]]
    assert rows_of(parts, *VARY) == done[2]
    for part, other in zip(parts, done[1], strict=True):
        assert part.read_bytes() == other.read_bytes()


def test_only_what_is_missing_is_planned(done, monkeypatch, tmp_path):
    asked, folder = make_sweep(rounds=2), tmp_path / "again"
    parts = sweep.run_sweep(asked, folder, jobs=1)
    before = [part.read_bytes() for part in parts]
    planned = []
    real = plan_draw

    def noted(config, *rest):
        planned.append((config.limits.beta_bar, config.seed))
        return real(config, *rest)

    monkeypatch.setattr(sweep, "plan_draw", noted)
    sweep.run_sweep(asked, folder, jobs=1)
    assert planned == []
    parts[1].unlink()
    (folder / "parts" / f".{parts[1].name}.draft").write_text("torn")
    assert sweep.run_sweep(asked, folder, jobs=1) == parts
    assert planned == [(0.5, 0), (0.5, 1)]
    assert [part.read_bytes() for part in parts] == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupt_keeps_what_is_finished(tmp_path, jobs):
    asked = make_sweep(vary={"limits.beta_bar": [0.3, 0.4, 0.5]}, draws=1)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.run_sweep(asked, tmp_path / "cut", jobs, stop)
    kept = sorted((tmp_path / "cut" / "parts").iterdir())
    assert len(kept) == 2
    counted = []
    parts = sweep.run_sweep(asked, tmp_path / "cut", 1, lambda *at: counted.append(at))
    assert counted == [(1, 1)]
    assert set(kept) < set(parts)
    assert [row["status"] for row in rows_of(parts)] == [PLANNED] * 6


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"draws": 3}, "draws: 2 -> 3"),
        ({"rounds": 1}, "rounds: 2 -> 1"),
        ({"methods": ("ubfp",)}, "methods: "),
        ({"config": replace(CONFIG, seed=4)}, "config.seed: 0 -> 4"),
        ({"vary": {}}, "vary.limits.beta_bar: [0.4, 0.5] -> None"),
    ],
)
def test_another_sweep_is_refused(done, changes, said):
    asked = make_sweep(**{"rounds": 2, **changes})
    with pytest.raises(RunError, match="holds another sweep") as refused:
        sweep.run_sweep(asked, done[0], jobs=1)
    assert said in str(refused.value)
    assert len(list((done[0] / "parts").iterdir())) == 4


def test_a_sweep_goes_on_only_with_the_files_that_it_began_with(tmp_path):
    trace = tmp_path / "trace.csv"
    rows = ["round,client,gain_down_db,gain_up_db", *(f"0,{k},-60,-70" for k in "012")]
    trace.write_text("\n".join(rows))
    config = merge_overrides(CONFIG, [f"radio.trace={trace}", "cell.num_clients=3"])
    asked = make_sweep(config=config, vary={})

    def plan():
        return sweep.run_sweep(asked, tmp_path / "s", 1)

    assert plan() == plan()
    trace.write_text("\n".join(rows).replace("-70", "-80"))
    with pytest.raises(RunError, match="another sweep: inputs.*trace.csv"):
        plan()
    trace.unlink()
    with pytest.raises(InputError, match="cannot be read: .*trace.csv"):
        plan()


def test_the_manifest_says_what_was_done(done):
    manifest = json.loads((done[0] / "sweep.json").read_text())
    assert manifest["vary"] == VARY
    assert manifest["methods"] == list(METHODS)
    assert (manifest["draws"], manifest["rounds"]) == (2, 2)
    assert manifest["config"]["cell"]["num_clients"] == 3
    assert {"trimwave", "numpy", "pyarrow", "python"} <= set(manifest["versions"])
    assert manifest["hardware"]["cpus"] > 0


def test_other_versions_are_said(tmp_path):
    asked = make_sweep(vary={}, draws=1, methods=("ubfp",))
    sweep.run_sweep(asked, tmp_path / "old", jobs=1)
    path = tmp_path / "old" / "sweep.json"
    manifest = read_sealed(path)
    manifest["versions"]["numpy"] = "0.1"
    write_sealed(path, manifest)
    with pytest.warns(UserWarning, match="other versions.*numpy: '0.1' -> "):
        sweep.run_sweep(asked, tmp_path / "old", jobs=1)


def test_a_point_without_a_plan_is_a_row(tmp_path):
    vary = {
        "cell.memory_bytes": [[7e7, 8e7], [4e9, 8e9]],
        "model.adapter_blocks": [2, 12],
    }
    asked = make_sweep(vary=vary, methods=("ubfp",), draws=1)
    rows = rows_of(sweep.run_sweep(asked, tmp_path / "some", jobs=1), *vary)
    assert [row["latency_s"] is None for row in rows] == [True, True, False, True]
    assert rows[0]["status"].startswith("infeasible: C3: client 0 has 0.0")
    assert "\n" not in rows[0]["status"]
    assert "`split_index` must be in [1, 11]" in rows[1]["status"]
    assert rows[0]["speed_cv"] == rows[2]["speed_cv"]
    for row in (rows[0], rows[1]):
        assert row["num_scheduled"] is None and row["solver"] is None


class Carrying:
    """Notes what it is handed, counts on, and cannot plan its second call of a draw."""

    label = "Carrying"
    handed = []

    def scheme(self, costs, limits):
        return methods.Ubfp().scheme(costs, limits)

    def plan(self, situation):
        self.handed.append(dict(situation.carried))
        if len(self.handed) % 4 == 2:
            raise InputError("not\n  now")
        count = situation.carried.get("count", 0)
        return replace(methods.Ubfp().plan(situation), carry={"count": count + 1})


def test_what_a_method_carries_goes_on_to_the_next_round(monkeypatch):
    monkeypatch.setattr(draws, "parse_method", lambda text, options: Carrying())
    monkeypatch.setattr(draws, "label_of", lambda text, options: text.upper())
    rows = plan_draw(CONFIG, ["a", "b"], 4)
    of_a_draw = [{}, {"count": 1}, {"count": 1}, {"count": 2}]
    assert Carrying.handed == of_a_draw * 2
    assert [row["status"] for row in rows] == [PLANNED, "not now", PLANNED, PLANNED] * 2
    assert [row["method"] for row in rows] == ["A"] * 4 + ["B"] * 4


def test_rounds_and_seeds_are_those_of_a_run():
    rows = plan_draw(replace(CONFIG, seed=3), ["ubfp"], 2)
    cell = Environment.from_config(replace(CONFIG, seed=3)).cell(1, np.ones(3))
    assert [row["seed"] for row in rows] == [3, 3]
    assert rows[0]["latency_s"] != rows[1]["latency_s"]
    down_s = rows[1]["down_bytes"] * 8 / 3 / (100e6 / 3 * np.log2(1 + cell.snr_down))
    assert rows[1]["latency_s"] > down_s.max()


def flip(data):
    return data[:40] + bytes([data[40] ^ 1]) + data[41:]


@pytest.mark.parametrize("spoil", [flip, lambda data: data[:-1], lambda data: b""])
def test_a_damaged_part_is_planned_again(tmp_path, spoil):
    asked = make_sweep(draws=2)
    parts = sweep.run_sweep(asked, tmp_path / "one", jobs=1)
    whole = parts[0].read_bytes()
    parts[0].write_bytes(spoil(whole))
    with pytest.raises(RunError, match="does not match its digest in SHA256SUMS"):
        sweep.read_rows(parts, ["seed"])
    with pytest.warns(UserWarning, match="point-00000.*it is planned again"):
        sweep.run_sweep(asked, tmp_path / "one", jobs=1)
    assert parts[0].read_bytes() == whole


def test_a_lost_list_has_all_planned_again(tmp_path):
    asked = make_sweep(vary={}, draws=1)
    parts = sweep.run_sweep(asked, tmp_path / "one", jobs=1)
    whole = parts[0].read_bytes()
    (tmp_path / "one" / "SHA256SUMS").write_bytes(b"\xff torn")
    with pytest.warns(UserWarning, match="it is planned again"):
        sweep.run_sweep(asked, tmp_path / "one", jobs=1)
    assert parts[0].read_bytes() == whole


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot read or write .*file.*nothing was"):
        sweep.run_sweep(make_sweep(), tmp_path / "file" / "x", jobs=1)


def test_without_pyarrow_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ModuleNotFoundError("No module", name="pyarrow")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingExtraError, match=r"pip install 'trimwave\[sweep\]'"):
        sweep.run_sweep(make_sweep(), tmp_path / "x", jobs=1)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("reads_fail", [False, True])
def test_a_disk_that_fails_at_any_moment_loses_no_point(tmp_path, reads_fail):
    asked = make_sweep(vary={"cell.num_clients": [2, 3]}, methods=("ubfp",), draws=1)
    rows = rows_of(sweep.run_sweep(asked, tmp_path / "whole", jobs=1))
    after, done = 0, False
    while not done:
        folder = tmp_path / str(after)
        try:
            with failing_disk(folder, errno.ENOSPC, after, reads_fail):
                sweep.run_sweep(asked, folder, jobs=1)
            done = True
        except RunError as error:
            assert "\n" not in str(error)
            assert str(folder) in str(error)
        saved = set(folder.glob("parts/point-*.parquet"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a point whose digest was not listed yet
            assert rows_of(sweep.run_sweep(asked, folder, jobs=1)) == rows
        assert saved <= set(folder.glob("parts/point-*.parquet"))
        after += 1
    assert after > 4


def test_a_sweep_plays_rounds_over_a_trace(tmp_path):
    trace = tmp_path / "trace.csv"
    snr = [[(20, 14), (25, 20), (9, 4)], [None, (12, 6), (16, 10)]]
    rows = [
        f"{second},{k},{one[0]},{one[1]}"
        for second, clients in enumerate(snr)
        for k, one in enumerate(clients)
        if one
    ]
    trace.write_text("\n".join(["time_s,client,snr_down_db,snr_up_db", *rows]))
    changes = [f"radio.trace={trace}", "radio.trace_holes=absent", "cell.num_clients=3"]
    config = merge_overrides(CONFIG, changes)
    asked = make_sweep(config=config, vary={}, rounds=3)
    found = sweep.read_rows(sweep.run_sweep(asked, tmp_path / "s", 1), tuple(COLUMNS))
    for before, row in itertools.pairwise(found):
        assert row["status"] == PLANNED
        if row["round"] == 1:
            assert row["start_s"] == 0.0
            continue
        assert row["start_s"] == before["start_s"] + before["round_s"]
        assert row["num_scheduled"] == (3 if int(row["start_s"]) % 2 == 0 else 2)
    assert any(row["round_s"] > 1.01 * row["latency_s"] for row in found)


STAGED = [
    "data.client_sizes=[8, 8, 8]",
    "train.num_local_steps=2",
    "train.batch_size=2",
]


def test_rounds_know_stages_and_what_earlier_ones_left_on_the_devices():
    config = merge_overrides(CONFIG, [*STAGED, "train.state_cache=bf16"])
    rows = plan_draw(config, ["staged:blocks=4", "lora"], 6)
    staged, lora = rows[:6], rows[6:]
    assert [row["stage"] for row in staged] == [0, 0, 1, 1, 1, 1]
    assert {row["stage"] for row in lora} == {0}
    flops = [row["device_flops"] for row in staged]
    assert flops[0] == flops[1] == lora[0]["device_flops"]
    # Rounds 3 and 4 meet all 8 rows, those after them have their states.
    costs = costs_from(config, shape_named("gpt2"))
    rule = parse_method("staged:blocks=4")
    stages = ask_stages(rule, costs, Limits())
    before, after = (stage.scheme.submodel for stage in stages)
    bill = costs.bill(after)
    assert flops[2] == flops[3] == 2 * bill.step_flops
    assert flops[4] == flops[5] == 2 * (bill.step_flops - bill.frozen_flops)
    # 8 blocks are merged, with a pair of factors of rank 8 beside c_attn: 768 x 2304.
    learnt_bytes = 8 * 8 * (768 + 2304) * 2
    assert 8 * learnt_bytes == costs.learnt_bits(before, after)
    down = [row["down_bytes"] for row in staged]
    assert down[2] == down[3] + 3 * learnt_bytes
    assert staged[2]["latency_s"] > staged[3]["latency_s"] > staged[4]["latency_s"]


def test_a_slice_that_is_held_is_planned_once():
    keeps = merge_overrides(CONFIG, ["cell.cache_bytes=1e9", "radio.fading=none"])
    first, second = plan_draw(keeps, ["ubfp"], 2)
    assert second["down_bytes"] < first["down_bytes"]
    plain = merge_overrides(CONFIG, ["radio.fading=none"])
    first, second = plan_draw(plain, ["ubfp"], 2)
    assert second["down_bytes"] == first["down_bytes"]


def test_an_emulator_that_is_aligned_is_planned_anew():
    keeps = merge_overrides(
        CONFIG, ["cell.cache_bytes=1e9", "radio.fading=none", "align.every_rounds=2"]
    )
    down = [row["down_bytes"] for row in plan_draw(keeps, ["ubfp"], 5)]
    assert down[0] == down[2] == down[4] > down[1] == down[3]


def test_without_losses_a_stage_ends_by_its_rounds_alone():
    table = (
        "[{rounds=3,least_slope_per_s=0.1},{blocks=2,least_slope_per_s=0.1},{blocks=1}]"
    )
    config = merge_overrides(CONFIG, [f"options.staged={{stages={table}}}"])
    with pytest.warns(UserWarning, match="no effect on what is planned without"):
        rows = plan_draw(config, ["staged"], 6)
    assert [row["stage"] for row in rows] == [0, 0, 0, 1, 1, 1]


def test_a_stage_that_nobody_holds_goes_on_without_a_plan():
    text, costs = (
        "staged:warm_rounds=2:blocks=1",
        costs_from(CONFIG, shape_named("gpt2")),
    )
    stages = ask_stages(parse_method(text), costs, Limits())
    whole, top = (costs.bill(one.scheme.submodel).memory_bytes for one in stages)
    between = (whole + top) / 2
    config = merge_overrides(CONFIG, [f"cell.memory_bytes=[{between}, {between}]"])
    rows = plan_draw(config, [text], 4)
    assert [row["stage"] for row in rows] == [0, 0, 0, 0]
    assert all(row["status"].startswith("infeasible: C3") for row in rows)


def test_a_method_without_its_stages_is_a_status():
    rows = plan_draw(CONFIG, ["staged:blocks=13", "lora"], 2)
    assert "`blocks` of a stage of `staged` must be in [1, 12]" in rows[0]["status"]
    assert rows[1]["status"] == rows[0]["status"]
    assert [row["status"] for row in rows[2:]] == [PLANNED, PLANNED]

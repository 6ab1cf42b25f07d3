import builtins
import json
import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest

from trimwave import methods
from trimwave.base.errors import InputError, MissingExtraError, RunError
from trimwave.cli import app as cli
from trimwave.methods import label_of
from trimwave.recipe.config import Config
from trimwave.recipe.environment import Environment
from trimwave.recipe.recipe import merge_overrides
from trimwave.report.sweep_table import NEEDED, reason_lines, summarise
from trimwave.sweep import draws, sweep
from trimwave.sweep.draws import COLUMNS, PLANNED, plan_draw
from trimwave.sweep.grid import Sweep, parse_vary
from trimwave.sweep.one_round import plan_cell

pytest.importorskip("pyarrow")

CONFIG = merge_overrides(
    Config(), ["model.name=gpt2", "cell.num_clients=3", "train.seq_len=64"]
)
VARY = {"cell.speed_factor": [[1, 1.5], [0.2, 2.5]], "limits.beta_bar": [0.4, 0.5]}
METHODS = "jcpba", "ubfp:adapter=lora"


def make_sweep(**changes):
    asked = {"config": CONFIG, "vary": VARY, "methods": METHODS, "draws": 2}
    return Sweep(**{**asked, **changes})


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
        assert {name: row[name] for name in list(COLUMNS)[5:]} == {
            "latency_s": plan.latency_s,
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
    manifest = json.loads(path.read_text())
    manifest["versions"]["numpy"] = "0.1"
    path.write_text(json.dumps(manifest))
    with pytest.warns(UserWarning, match="other versions.*numpy: '0.1' -> "):
        sweep.run_sweep(asked, tmp_path / "old", jobs=1)


def test_a_point_without_a_plan_is_a_row(tmp_path):
    vary = {
        "cell.memory_bytes": [[1e7, 2e7], [4e9, 8e9]],
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


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a.b=1,2", [1, 2]),
        ("a.b = 1e6, 2.5", [1e6, 2.5]),
        ("a.b=3", [3]),
        ("a.b=[1, 2]", [1, 2]),
        ("a.b=[[1,1.5],[0.5,2]]", [[1, 1.5], [0.5, 2]]),
        ("a.b=[1,1.5],[0.5,2]", [[1, 1.5], [0.5, 2]]),
        ("a.b=[[1, 2]]", [[1, 2]]),
        ("a.b=rayleigh,none", ["rayleigh", "none"]),
        ("a.b='x,y',z", ["'x", "y'", "z"]),
        ("a.b='x,y',\"z\"", ["x,y", "z"]),
        ("a.b=true,false", [True, False]),
    ],
)
def test_values_that_vary(text, values):
    assert parse_vary([text, "c=0"]) == {"a.b": values, "c": [0]}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["a.b"], "--vary takes key=value,value,..., got 'a.b'"),
        (["a.b="], "--vary takes key=value,value,..., got 'a.b='"),
        (["a.b=[]"], "--vary takes"),
        (["=1"], "--vary takes"),
        (["a.b=1", "c=1", "a.b=2"], "--vary names `a.b` twice"),
    ],
)
def test_a_vary_that_says_nothing(texts, said):
    with pytest.raises(InputError) as refused:
        parse_vary(texts)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ({"cell.num_client": [2]}, "`cell.num_client`; did you mean `num_clients`?"),
        ({"cell.num_clients": [2, 2.5]}, "`cell.num_clients` must be int, got 2.5"),
        ({"cell.num_clients": [2, 0]}, "`cell.num_clients` must be at least 1, got 0"),
        ({"cell.speed_factor": [1, 2]}, "`cell.speed_factor` must be a list, got 1"),
        ({"cell.total_bandwidth_hz": [1e6, 1000000]}, "gives a value twice"),
        ({"model.name": ["gpt2", "gpt-2"]}, "shape of model `gpt-2` is not known"),
        ({"options.ubfp.adapter": ["lora", "x"]}, "must be one of full, lora, got 'x'"),
        ({"seed": [1, 2]}, "`seed` is varied by --seed and --draws, not --vary"),
        ({"method": ["ubfp"]}, "`method` is varied by --methods, not --vary"),
    ],
)
def test_a_grid_that_cannot_be(tmp_path, vary, said):
    with pytest.raises(InputError) as refused:
        sweep.run_sweep(make_sweep(vary=vary), tmp_path / "none", jobs=1)
    assert said in str(refused.value)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["draws", "rounds", "jobs"])
def test_counts_are_at_least_one(tmp_path, name):
    with pytest.raises(InputError, match=f"--{name} must be at least 1, got 0"):
        jobs = 0 if name == "jobs" else 1
        counts = {} if name == "jobs" else {name: 0}
        sweep.run_sweep(make_sweep(**counts), tmp_path, jobs)


def test_keys_become_columns():
    vary = {
        "options.jcpba.adapter": ["lora", "full"],
        "cell.total_bandwidth_hz": [10000000, 2e7],
        "data.client_sizes": [[1, 2], []],
    }
    points = make_sweep(vary=vary).points()
    assert [dict(point.varied) for point in points[:4]] == [
        {**dict.fromkeys(vary), **dict(zip(vary, values, strict=True))}
        for values in (
            ("lora", 1e7, "[1, 2]"),
            ("lora", 1e7, "[]"),
            ("lora", 2e7, "[1, 2]"),
            ("lora", 2e7, "[]"),
        )
    ]
    assert points[4].config.options == {"jcpba": {"adapter": "full"}}
    one = make_sweep(vary={})
    assert [point.varied for point in one.points()] == [{}]
    named = {point.file for point in (*points, *one.points())}
    assert len(named) == len(points) + 1
    more = (
        replace(one, draws=3),
        replace(one, rounds=3),
        replace(one, methods=("ubfp",)),
    )
    assert len({two.points()[0].file for two in (one, *more)}) == 4


def row(method, seed, latency_s, status=PLANNED, key=1):
    values = method, seed, status, latency_s
    return {"k": key, **dict(zip(NEEDED, values, strict=True))}


def test_medians_and_intervals_by_hand():
    rows = [row("A", seed, float(seed)) for seed in range(21)]  # 0 .. 20: each is 5 %
    rows += [row("B", 0, 1.0), row("B", 0, 3.0), row("B", 1, 8.0)]  # means 2 and 8
    rows += [row("B", 1, None, "no"), row("B", 2, None, "never")]
    rows += [row("A", 0, None, "why", key=2)]
    first, second, third = summarise(rows, ["k"])
    assert (first.varied, first.method) == ((1,), "A")
    assert first.round_s == pytest.approx((10.0, 1.0, 19.0))
    assert (first.num_planned, first.num_rows, first.reason) == (21, 21, "")
    assert second.round_s == pytest.approx((5.0, 2.3, 7.7))
    assert (second.num_planned, second.num_rows, second.reason) == (3, 5, "no")
    assert (third.varied, third.method, third.round_s) == ((2,), "A", None)
    assert (third.num_planned, third.reason) == (0, "why")


def test_a_damaged_part_is_named(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(RunError, match="x.parquet is damaged; delete it"):
        sweep.read_rows([tmp_path / "x.parquet"], ["seed"])


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write to .*file.*nothing was planned"):
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


@pytest.fixture
def trimwave(monkeypatch, capsys, tmp_path):
    """Call `trimwave sweep` in this process: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")

    def _trimwave(*arguments):
        monkeypatch.setattr(sys, "argv", ["trimwave", "sweep", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code or 0, *capsys.readouterr()

    return _trimwave


SMALL = "--set", "model.name=gpt2", "--draws", 2, "--jobs", 1


def test_the_command_line_sweeps(trimwave, tmp_path):
    vary = (
        "--vary",
        "cell.speed_factor=[[1,1.5],[0.5,2]]",
        "--vary",
        "cell.num_clients=2",
    )
    given = *SMALL, *vary, "--methods", "jcpba,ubfp", "--seed", 7
    code, out, err = trimwave(*given)
    assert (code, err) == (0, "")
    assert "rows  runs/default-sweep/parts" in out
    parts = sorted((tmp_path / "runs/default-sweep/parts").iterdir())
    rows = sweep.read_rows(parts, ["cell.speed_factor", *NEEDED])
    assert {row["seed"] for row in rows} == {7, 8}
    lines = [line.split() for line in out.splitlines()]
    for one in summarise(rows, ["cell.speed_factor"]):
        numbers = [f"{value:.3f}" for value in one.round_s]
        shown = [*one.varied[0].split(), "2", one.method, *numbers, "2/2"]
        assert shown in lines
    before = {part: part.stat().st_mtime_ns for part in parts}
    assert trimwave(*given, "--out", "runs/default-sweep")[1] == out
    assert {part: part.stat().st_mtime_ns for part in parts} == before
    assert trimwave(*given)[0] == 0
    assert (tmp_path / "runs/default-sweep-2").exists()


def test_the_table_says_why_there_is_no_plan(trimwave):
    vary = "--vary", "cell.memory_bytes=[[1e7,1e7],[8e9,8e9]]"
    code, out, _ = trimwave(*SMALL, *vary, "--methods", "ubfp")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[-2:] for line in lines if "0/2" in line] == [["UBFP", "0/2"]]
    assert any("2/2" in line for line in lines)
    (reason,) = [line for line in lines if line.startswith("no plan")]
    place = "no plan: UBFP at memory_bytes [10000000.0, 10000000.0]: "
    assert reason.startswith(f"{place}infeasible: C3: client 0 has 0.010 GB")


def test_reasons_are_said_once_and_not_without_end():
    rows = [row("A", 0, None, f"why {key}", key=key // 2) for key in range(16)]
    rows += [row("B", 0, None, "why 0", key=9)]
    lines = reason_lines(summarise(rows, ["k"]), ["k"])
    assert lines[0] == "no plan: A at k 0: why 0"
    assert lines[1] == "no plan: A at k 1: why 2"
    assert lines[5:] == ["and 3 more reasons, in the column `status`"]
    assert reason_lines(summarise([row("A", 0, 1.0)], ["k"]), ["k"]) == []


def test_ctrl_c_says_how_to_go_on(trimwave, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "plan_draw", stop)
    code, out, err = trimwave(*SMALL, "--out", "cut")
    assert code == 130
    assert "stopped; go on with: the same command, with --out cut" in out
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--vary", "cell.num_client=2"], "did you mean `num_clients`?"),
        (["--vary", "cell.num_clients"], "--vary takes key=value"),
        (["--methods", "ubpf"], "did you mean `ubfp`?"),
        (["--draws", 0], "--draws must be at least 1, got 0"),
        (["--jobs", 0], "--jobs must be at least 1, got 0"),
        (["defalt"], "did you mean `default`?"),
    ],
)
def test_a_sweep_that_cannot_be_is_one_line(trimwave, tmp_path, arguments, said):
    code, out, err = trimwave(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert said in err
    assert not (tmp_path / "runs").exists()


def test_processes_start_with_one_thread_each(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with sweep._quiet_start():
        assert {os.environ[name] for name in sweep.ONE_THREAD} == {"1"}
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())

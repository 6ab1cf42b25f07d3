"""Runs over Flower in real processes on this machine: slow, and nothing may be left."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_run import make_config, write_toml

from trimwave.net.links.meter import STEP_BYTES
from trimwave.runs.phases import read_phases

pytestmark = pytest.mark.slow

LONGEST_S = 400
"""A run takes 40 s on two idle cores."""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("loopback")
    os.environ.setdefault("TRIMWAVE_CACHE", str(folder / "cache"))
    changes = ["cell.num_clients=2", "rounds=2", "data.num_train=16"]
    return write_toml(folder / "tiny.toml", make_config(folder, changes=changes))


def start(*arguments, folder):
    """Start a command of ours with its output in a file."""
    argv = [sys.executable, "-m", "trimwave", *map(str, arguments)]
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)


def said(folder):
    return (folder.parent / f"{folder.name}.log").read_text()


def run(*arguments, folder):
    process = start(*arguments, folder=folder)
    assert process.wait(LONGEST_S) == 0, said(folder)


def records_of(folder):
    lines = (folder / "rounds.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def losses(folder):
    return [
        value
        for record in records_of(folder)
        for name, value in record.items()
        if "loss" in name
        for value in (value if isinstance(value, list) else [value])
    ]


def processes_of(folder):
    """Return the command lines of processes that name a folder, or serve a run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and int(path.parent.name) != os.getpid():
            found.append(line)
    return found


def wait_until(condition, what):
    ends_s = time.monotonic() + LONGEST_S
    while not condition():
        assert time.monotonic() < ends_s, what
        time.sleep(0.1)


@pytest.fixture(scope="module")
def here(recipe):
    folder = recipe.parent / "here"
    run("run", recipe, "--out", folder, folder=folder)
    return folder


def test_over_flower_as_in_one_process(recipe, here, tmp_path):
    folder = tmp_path / "far"
    run("run", recipe, "--backend", "flower", "--out", folder, folder=folder)
    assert losses(folder) == pytest.approx(losses(here), rel=1e-6)
    far, near = records_of(folder), records_of(here)
    assert [one.get("plan") for one in far] == [one.get("plan") for one in near]
    assert not processes_of(folder)
    assert json.loads((folder / "manifest.json").read_text())["backend"] == "flower"
    again = start("run", recipe, "--backend", "flower", "--out", folder, folder=folder)
    assert again.wait(LONGEST_S) == 2
    assert "already holds a run" in said(folder)


def test_devices_go_from_stage_to_stage(recipe, tmp_path):
    stages = "--method", "staged:warm_rounds=1:blocks=2", "--rounds", "3"
    kept = "--set", "train.update_bits=8", "--set", "train.state_cache=fp32"
    near, far = tmp_path / "near", tmp_path / "far"
    run("run", recipe, *stages, *kept, "--out", near, folder=near)
    flower = "--backend", "flower", "--out", far
    run("run", recipe, *stages, *kept, *flower, folder=far)
    assert [one["stage"] for one in records_of(far)[1:]] == [0, 1, 1]
    assert losses(far) == pytest.approx(losses(near), rel=1e-6)
    assert not processes_of(far)


def test_a_killed_run_goes_on_and_ends_alike(recipe, here, tmp_path):
    folder = tmp_path / "far"
    process = start(
        "run", recipe, "--backend", "flower", "--out", folder, folder=folder
    )
    wait_until(
        lambda: (folder / "checkpoints" / "round-0000").exists(), "no round 0 in time"
    )
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    wait_until(lambda: not processes_of(folder), "processes outlive their launcher")
    run("run", "--resume", folder, folder=folder)
    assert losses(folder) == pytest.approx(losses(here), rel=1e-6)
    assert not processes_of(folder)


@pytest.mark.parametrize(
    "victim", ["trimwave.net.worker", "flower-supernode", "flower-superlink"]
)
def test_what_dies_is_started_again(recipe, here, tmp_path, victim):
    folder = tmp_path / "far"
    process = start(
        "run", recipe, "--backend", "flower", "--out", folder, folder=folder
    )
    wait_until(
        lambda: (folder / "checkpoints" / "round-0000").exists(), "no round 0 in time"
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    lines = {
        int(pid): Path(f"/proc/{pid}/cmdline").read_bytes().decode()
        for pid in children.split()
    }
    struck = next(pid for pid, line in lines.items() if victim in line)
    os.kill(struck, signal.SIGKILL)
    assert process.wait(LONGEST_S) == 0, said(folder)
    assert [one.get("missing") for one in records_of(folder)] == 3 * [None]
    assert losses(folder) == pytest.approx(losses(here), rel=1e-6)


def test_an_emulation_is_the_same_run_in_slow_motion(recipe, here, tmp_path):
    folder, plans = tmp_path / "slow", [one["plan"] for one in records_of(here)[1:]]
    slowdown = round(2.0 / max(max(plan["down_s"]) for plan in plans))
    run(
        *("emulate", recipe, "--slowdown", slowdown, "--shaper", "relay"),
        *("--out", folder),
        folder=folder,
    )
    assert losses(folder) == pytest.approx(losses(here), rel=1e-6)
    for slow, plan in zip(records_of(folder)[1:], plans, strict=True):
        assert slow["plan"]["prune_rate"] == pytest.approx(plan["prune_rate"])
        assert slow["plan"]["latency_s"] == pytest.approx(slowdown * plan["latency_s"])
    rows = read_phases(folder)
    assert [(one.round, one.client) for one in rows] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    for one in rows:
        assert one.down_passed_bytes > one.down_planned_bytes
        assert one.up_passed_bytes > one.up_planned_bytes
        assert one.counted_flops > 0
        held_s = one.counted_flops / one.planned_flops * one.compute_predicted_s
        assert one.compute_measured_s >= held_s
        # Not sooner than bytes at the planned rate; a step of the meter at either end,
        # which on so slow a link is what some whole pieces take.
        step_s = STEP_BYTES / one.down_planned_bytes * one.down_predicted_s
        assert one.down_measured_s > one.down_predicted_s - 2 * step_s - 0.1
        assert one.measured_s("round") <= one.wall_s + 0.4
    assert "median of |measured / predicted - 1|" in said(folder)
    assert not processes_of(folder)


def test_split_lora_is_refused(recipe, tmp_path):
    folder = tmp_path / "far"
    process = start(
        *("run", recipe, "--backend", "flower", "--method", "split_lora"),
        *("--out", folder),
        folder=folder,
    )
    assert process.wait(LONGEST_S) == 2
    assert re.search(r"error: method `split_lora` runs the blocks at", said(folder))
    assert not folder.exists()

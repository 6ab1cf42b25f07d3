import json
import resource
import shutil
import signal
import subprocess
import sys

import pytest
from tiny_run import bytes_of, make_bench, make_server, python, write_toml

from trimwave.base.errors import RunError
from trimwave.cli import app as cli
from trimwave.lm.session import run_method
from trimwave.lm.workbench import build_workbench
from trimwave.recipe.recipe import merge_overrides

VICTIM = """
import os, signal, sys
from pathlib import Path
from trimwave.lm.train.client import Client
from trimwave.lm.server import LmServer
from trimwave.lm.session import run_method
from trimwave.lm.workbench import build_workbench
from trimwave.recipe.recipe import load_config

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def die_in_training(fine_tune=Client.fine_tune):
    def replaced(client, package, submodel, round_index):
        if (round_index, client.number) == (3, 1):
            die()
        return fine_tune(client, package, submodel, round_index)
    Client.fine_tune = replaced

def die_in_saving(save=LmServer.save):
    def replaced(server, folder):
        if folder.name.endswith("0003"):
            die()
        save(server, folder)
    LmServer.save = replaced

config = load_config(Path(sys.argv[1]))
for break_off in (die_in_training, die_in_saving):
    child = os.fork()
    if not child:
        break_off()
        folder = Path(sys.argv[2]) / break_off.__name__
        run_method(build_workbench(config), config, folder)
        os._exit(0)
    print(break_off.__name__, os.WTERMSIG(os.waitpid(child, 0)[1]))
"""

COMMAND = "from trimwave.cli.app import main; main()"


@pytest.fixture(scope="module")
def bench(home):
    return make_bench(home / "inputs")


@pytest.fixture(scope="module")
def recipe(home, bench):
    return write_toml(home / "tiny.toml", bench.config)


@pytest.fixture(scope="module")
def whole(home, bench):
    """An unbroken run of four rounds."""
    run_method(bench, bench.config, home / "whole")
    return home / "whole"


@pytest.fixture(scope="module")
def killed(home, recipe):
    """Two runs killed in round 3: while training, and before the checkpoint."""
    victim = python(VICTIM, recipe, home)
    out, err = victim.communicate(timeout=120)
    assert out.split() == ["die_in_training", "9", "die_in_saving", "9"], err
    return home


@pytest.fixture
def copy_of(whole, tmp_path):
    """A copy of the unbroken run, to be spoilt."""
    return shutil.copytree(whole, tmp_path / "copy")


def resume(bench, folder, **changes):
    config = merge_overrides(bench.config, [f"{k}={v}" for k, v in changes.items()])
    return run_method(bench, config, folder, resume=True)


def lines(folder):
    text = (folder / "rounds.jsonl").read_text()
    return [json.loads(line)["round"] for line in text.splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "left"),
    [("die_in_training", [0, 1, 2]), ("die_in_saving", [0, 1, 2, 3])],
)
def test_a_killed_run_ends_with_the_same_bytes(bench, whole, killed, name, left):
    folder = killed / name
    assert lines(folder) == left
    newest = max((folder / "checkpoints").glob("round-*"))
    assert newest.name == "round-0002"
    resume(bench, folder)
    assert lines(folder) == [0, 1, 2, 3, 4]
    assert bytes_of(folder) == bytes_of(whole)


def test_a_finished_run_resumes_to_nothing_new(bench, whole, copy_of):
    assert len(resume(bench, copy_of)) == 5
    assert bytes_of(copy_of) == bytes_of(whole)


def test_a_truncated_checkpoint_costs_a_round(bench, whole, copy_of):
    path = copy_of / "checkpoints" / "round-0004" / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.warns(UserWarning, match="round-0004 cannot be used.*match its hash"):
        records = resume(bench, copy_of)
    assert len(records) == 5
    assert bytes_of(copy_of) == bytes_of(whole)


@pytest.mark.filterwarnings("ignore:checkpoint")
def test_without_a_sound_checkpoint_it_says_so(bench, copy_of):
    for path in copy_of.rglob("adapter.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(RunError, match="no checkpoint in .* is sound"):
        resume(bench, copy_of)


def test_another_models_checkpoint_is_refused(bench, copy_of, tmp_path):
    other = make_bench(tmp_path / "other", "gpt2")
    folder = tmp_path / "gpt2"
    run_method(other, merge_overrides(other.config, ["rounds=1"]), folder)
    with pytest.raises(RunError, match="does not fit the model: tensor"):
        make_server(bench).load(max((folder / "checkpoints").glob("round-*")))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"method": "ubfp"}, "method: 'jcpba' -> 'ubfp'"),
        ({"rounds": 3}, "rounds: 4 -> 3"),
        ({"train.learning_rate": 0.5}, "train.learning_rate: 0.001 -> 0.5"),
    ],
)
def test_another_recipe_is_refused(bench, copy_of, changes, said):
    before = bytes_of(copy_of)
    with pytest.raises(RunError) as caught:
        resume(bench, copy_of, **changes)
    assert said in str(caught.value)
    assert bytes_of(copy_of) == before


def test_other_data_under_the_same_name_are_refused(home, tmp_path):
    bench = make_bench(tmp_path / "inputs")
    run_method(bench, merge_overrides(bench.config, ["rounds=1"]), tmp_path / "run")
    rows = tmp_path / "inputs" / "rows.jsonl"
    rows.write_text(rows.read_text().replace("+", "-"))
    with pytest.raises(RunError):
        resume(build_workbench(bench.config), tmp_path / "run", rounds=2)


def test_more_rounds_continue_as_if_planned(bench, home, whole):
    longer = merge_overrides(bench.config, ["rounds=2"])
    run_method(bench, longer, home / "grown")
    resume(bench, home / "grown", rounds=4)
    assert bytes_of(home / "grown") == bytes_of(whole)


def test_a_folder_without_a_run_is_refused(bench, tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        resume(bench, tmp_path)


def test_a_used_folder_is_refused(bench, copy_of):
    with pytest.raises(RunError, match="already holds a run"):
        run_method(bench, bench.config, copy_of)


def test_a_full_disk_loses_one_round_at_most(bench, whole, tmp_path):
    """No file may grow beyond what the adapter needs: the kernel refuses the write."""
    folder = tmp_path / "full"
    run_method(bench, merge_overrides(bench.config, ["rounds=1"]), folder)
    size = max(path.stat().st_size for path in folder.rglob("adapter.safetensors"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
    try:
        with pytest.raises(RunError, match="round 2 is not saved.*--resume"):
            resume(bench, folder, rounds=4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    resume(bench, folder, rounds=4)
    assert bytes_of(folder) == bytes_of(whole)


@pytest.fixture(scope="module")
def interrupted(home, recipe):
    """A command stopped by Ctrl-C after its first round, and what it said."""
    folder = home / "interrupted"
    process = python(COMMAND, "run", recipe, "--rounds", 8, "--out", folder)
    for line in process.stdout:
        if "round   1/8" in line:
            process.send_signal(signal.SIGINT)
            break
    out, err = process.communicate(timeout=120)
    return folder, process.returncode, out, err, lines(folder)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(interrupted):
    folder, code, out, err, left = interrupted
    assert code == 130, err
    assert f"trimwave run --resume {folder}\n" in out
    assert "Traceback" not in err
    assert 2 <= len(left) < 9


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_bytes(
    bench, home, interrupted, monkeypatch, capsys
):
    folder = interrupted[0]
    monkeypatch.setattr(sys, "argv", ["trimwave", "run", "--resume", str(folder)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    assert str(folder) in capsys.readouterr().out
    longer = merge_overrides(bench.config, ["rounds=8"])
    run_method(bench, longer, home / "uninterrupted")
    assert lines(folder) == list(range(9))
    assert bytes_of(folder) == bytes_of(home / "uninterrupted")
    assert (folder / "loss.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_stop_as_ctrl_c_does(home, recipe, whole, number):
    folder = home / f"stopped {number.name}"
    process = python(COMMAND, "run", recipe, "--out", folder)
    for line in process.stdout:
        if "round   1/4" in line:
            process.send_signal(number)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + number, err
    assert f"trimwave run --resume '{folder}'\n" in out
    assert "Traceback" not in err
    again = python(COMMAND, "run", "--resume", folder)
    assert again.communicate(timeout=120) and again.returncode == 0
    assert bytes_of(folder) == bytes_of(whole)


@pytest.mark.slow
def test_a_stop_while_loading_says_so(home, recipe):
    late = "import trimwave.lm.workbench as w, signal, os\n"
    late += "w.build_workbench = lambda *_: os.kill(os.getpid(), signal.SIGTERM)\n"
    process = python(late + COMMAND, "run", recipe, "--out", home / "unloaded")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "stopped while loading; nothing was begun" in out
    assert not (home / "unloaded").exists()


def test_a_second_process_on_a_folder_is_one_error(
    bench, home, whole, tmp_path, monkeypatch, capsys
):
    folder = shutil.copytree(whole, tmp_path / "held")
    script = "import sys; from pathlib import Path\n"
    script += "from trimwave.runs.folder import locked\n"
    script += "with locked(Path(sys.argv[1])): print('held', flush=True); input()\n"
    command = [sys.executable, "-c", script, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as holder:
        assert holder.stdout.readline() == "held\n"
        monkeypatch.setattr(sys, "argv", ["trimwave", "run", "--resume", str(folder)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        assert stopped.value.code == 2
        err = capsys.readouterr().err
        assert f"another process writes in {folder} (process {holder.pid} on" in err
        assert err.count("\n") == 1
        with pytest.raises(RunError, match="another process writes"):
            resume(bench, folder)
        holder.communicate("\n")
    resume(bench, folder)
    assert bytes_of(folder) == bytes_of(whole)

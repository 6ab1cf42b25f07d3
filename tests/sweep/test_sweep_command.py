import os
import signal
import sys

import pytest

from trimwave.cli import app as cli
from trimwave.report.sweep_table import NEEDED, summarise
from trimwave.sweep import sweep

pytest.importorskip("pyarrow")


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
    vary = "--vary", "cell.memory_bytes=[[7e7,7e7],[8e9,8e9]]"
    code, out, _ = trimwave(*SMALL, *vary, "--methods", "ubfp")
    assert code == 0
    lines = out.splitlines()
    assert [line.split()[-2:] for line in lines if "0/2" in line] == [["UBFP", "0/2"]]
    assert any("2/2" in line for line in lines)
    (reason,) = [line for line in lines if line.startswith("no plan")]
    place = "no plan: UBFP at memory_bytes [70000000.0, 70000000.0]: "
    assert reason.startswith(f"{place}infeasible: C3: client 0 has 0.070 GB")


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

import contextlib
import functools
import io
import json
import runpy
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCALE = ("scale", "--clients", "8", "24")
CERTIFICATES = ("certificates", "--instances", "11", "--checked", "2")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a function that runs a sub-command: its numbers and what it printed."""
    path = tmp_path_factory.mktemp("planner") / "numbers.json"

    @functools.cache
    def run(*arguments):
        with contextlib.redirect_stdout(io.StringIO()) as out:
            found = main([*arguments, "--json", str(path)])
        record = json.loads(path.read_text())
        assert record["command"] == arguments[0]
        assert record["records"] == json.loads(json.dumps(found))
        printed = out.getvalue()
        rows = [line for line in printed.splitlines() if line.startswith("|")]
        assert len(rows) == 2 + len(found)
        assert len({row.count("|") for row in rows}) == 1
        return found, printed

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        main = runpy.run_path(str(BENCHMARKS / "planner.py"))["main"]
        patch.setattr("planner_peers.ENOUGH_S", 0.0)  # one run is enough here
        yield run


def test_scale(run):
    (small, large), printed = run(*SCALE)
    assert "date 20" in printed and "load" in printed
    for row in (small, large):
        assert 0 <= row["gap"] < 1e-9
        assert 1e-12 < row["bcd"]["excess"] < 0.2
        assert -1e-9 < row["SLSQP"]["excess"] < 1e-3
        assert row["SLSQP"]["ratio"] == row["SLSQP"]["s"] / row["exact_s"]
    # Round times stay in the letter's range, and memory goes with K.
    assert 0.8 < large["latency_s"] / small["latency_s"] < 1.25
    assert large["peak_arrays"] < small["peak_arrays"]


@pytest.mark.parametrize("name", ["CVXPY DQCP", "CVXPY + Clarabel"])
def test_cvxpy_agrees(run, name):
    pytest.importorskip("cvxpy")
    for row in run(*SCALE)[0]:
        assert abs(row[name]["excess"]) < 3e-6
        assert row[name]["ratio"] > 1


# The alarm may fall into a callback of the garbage collector, which swallows it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_column_ends_where_a_point_is_late(run):
    rows, printed = run("scale", "--clients", "100", "101", "--limit-s", "0.2")
    assert rows[0]["SLSQP"]["s"] == 0.2
    assert "excess" not in rows[0]["SLSQP"]
    assert "SLSQP" not in rows[1]
    assert "> 0.2 s" in printed
    assert all("excess" in row["bcd"] for row in rows)


def test_certificates(run):
    rows, _ = run(*CERTIFICATES)
    assert len({(row["noise"], row["variant"]) for row in rows}) == 14
    for row in rows:
        least, median, largest = row["gap"]
        assert 0 <= least <= median <= largest < 1e-9
        assert row["kkt_residual"][1] < 1e-8
        assert row["statuses"] == {"optimal": 11}


def test_cvxpy_agrees_on_every_variant(run):
    pytest.importorskip("cvxpy")
    rows, _ = run(*CERTIFICATES)
    for row in rows:
        if row["noise"] == "fixed":
            assert -1e-6 < row["cvxpy"]["least"] <= row["cvxpy"]["most"] < 1e-7


def test_draws(run):
    rows, _ = run("draws", "--draws", "40")
    assert [(row["noise"], row["draws"]) for row in rows] == [("fixed", 40), ("psd", 4)]
    for row in rows:
        assert row["largest_difference"] < 1e-12
        assert row["largest_gap"] < 1e-9
        assert row["not_optimal"] == 0
    assert rows[0]["ratio"] > 2


def test_psd(run, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "psd.png"
    rows, _ = run("psd", "--draws", "5", "--picture", str(picture))
    for row in rows:
        bcd, uniform = np.array(row["bcd"]), np.array(row["uniform"])
        assert row["proven"] == 1
        assert np.all(bcd >= 1 - 1e-12)
        assert np.all(uniform >= bcd * (1 - 1e-12))
        assert uniform[row["worst_seed"]] >= np.max(bcd)
    snrs_db = [row["median_snr_db"][0] for row in rows]
    np.testing.assert_allclose(np.diff(snrs_db), [-34, -10, -10])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_blocks(run):
    rows, _ = run("blocks", "--draws", "2")
    assert {(8, 25), (8, 50), (20, 106)} <= {
        (row["clients"], row["blocks"]) for row in rows
    }
    for row in rows:
        assert all(row["proven"])
        assert min(row["heuristic"]) >= 1
        assert min(row["cost"]) >= -1e-9
        assert all(off is None or off <= 1e-9 for off in row["off"])
    assert any(off is not None for row in rows for off in row["off"])

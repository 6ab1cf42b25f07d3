import io
import json
from dataclasses import replace

import pytest
from made_up import full_set, no_matplotlib, run
from rich.console import Console

from trimwave.base.stored import write_sealed
from trimwave.recipe.config import Config
from trimwave.report.closing import close_report
from trimwave.report.summary import numbers_of, summary_json
from trimwave.report.target import choose_target


def closed(folder, results):
    """Close a comparison in a folder; return what it printed."""
    run_folder = folder / "jcpba-s0"
    run_folder.mkdir()
    manifest = {"config": {}, "model": {"note": "quantised"}}
    write_sealed(run_folder / "manifest.json", manifest)
    console = Console(file=io.StringIO(), width=80, markup=False, emoji=False)
    close_report(results, replace(Config(), rounds=20), folder, console)
    return console.file.getvalue()


def test_the_end_of_a_comparison(tmp_path):
    pytest.importorskip("matplotlib")
    results = full_set(2)
    text = closed(tmp_path, results)
    paths = [tmp_path / name for name in ("loss.png", "summary.json")]
    assert all(str(path) in text for path in paths)
    assert paths[0].read_bytes().startswith(b"\x89PNG")
    target = choose_target(results)
    title = text.splitlines()[1]
    assert title.endswith("20 rounds (quantised)")
    expected = summary_json(numbers_of(results, target), target, title)
    said = json.loads(paths[1].read_text())
    stopped = said.pop("stopped")
    assert stopped == {label: ["", ""] for label in results}
    assert said == json.loads(json.dumps(expected))
    order = ["20 rounds", "method", "Personalised", "target: loss, full", "loss.png"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)


def test_the_end_without_matplotlib_still_leaves_the_numbers(tmp_path, monkeypatch):
    no_matplotlib(monkeypatch)
    text = closed(tmp_path, {"JCPBA*": [run()]})
    assert "no picture: " in text and "target" not in text
    assert json.loads((tmp_path / "summary.json").read_text())["target"] is None

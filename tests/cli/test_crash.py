import re
import tempfile
from pathlib import Path

import pytest

from trimwave.cli import arguments


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """Have every command fail in a way that nobody foresaw."""

    def fail(*_):
        raise RuntimeError("a number went missing\nsomewhere")

    monkeypatch.setattr(arguments, "load", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_a_fault_of_ours_is_a_line_and_a_report(broken, trimwave, tmp_path):
    code, out, err = trimwave("plan", "default", "--seed", 7)
    assert (code, out) == (70, "")
    assert err.count("\n") == 1
    assert "trimwave's own, RuntimeError: a number went missing. Please report" in err
    report = Path(re.search(r"the file (\S+)\.$", err.strip())[1])
    assert report.parent == tmp_path
    text = report.read_text()
    assert "trimwave plan default --seed 7" in text
    assert "Traceback" in text and "somewhere" in text


def test_without_room_for_a_report_it_is_still_a_line(broken, trimwave, monkeypatch):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refuse)
    code, _, err = trimwave("plan", "default")
    assert code == 70
    assert err.endswith("went missing (no room for a report).\n")

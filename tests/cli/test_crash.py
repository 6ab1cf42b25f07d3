import re
import tempfile
from pathlib import Path

import pytest

from trimwave.cli import arguments


def fail_with(error, monkeypatch):
    """Have every command that reads a recipe fail in a way that nobody foresaw."""

    def fail(*_):
        raise error

    monkeypatch.setattr(arguments, "load", fail)


@pytest.fixture
def broken(monkeypatch, tmp_path):
    fail_with(RuntimeError("a number went missing\nsomewhere"), monkeypatch)
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


class OutOfMemoryError(RuntimeError):
    """Named as torch's own."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied."),
        (OSError(5, "Input/output error"), "Input/output error."),
        (MemoryError(), "memory ran out; lower"),
        (OutOfMemoryError("CUDA out of memory"), "memory ran out; lower"),
        (RuntimeError("[enforce fail] can't allocate memory: you"), "memory ran out"),
    ],
)
def test_what_the_machine_refuses_is_no_fault_of_ours(
    refused, monkeypatch, error, said
):
    fail_with(error, monkeypatch)
    assert said in refused("plan", "default")

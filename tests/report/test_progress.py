import io

import pytest
from made_up import run
from rich.console import Console

from trimwave.report.progress import RoundProgress


def shown_rounds(console, records):
    with RoundProgress(console, "JCPBA*", num_rounds=2) as progress:
        for entry in records:
            progress.on_client(0, 0, 2)
            progress.on_client(1, 1, 2)
            progress.on_record(entry)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_round_is_one_line_where_there_is_no_terminal(width):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    lines = shown_rounds(console, run())
    assert len(lines) == 3
    assert lines[0].split()[:3] == ["JCPBA*", "round", "0/2"]
    assert "loss 1.5000 emulator, 1.2500 full" in lines[2]
    assert lines[2].endswith("last: client 1, beta 0.60")


def test_a_round_of_a_method_that_prunes_nothing():
    records = run()
    records[1]["plan"]["prune_rate"] = [None, 0.0]
    lines = shown_rounds(Console(file=io.StringIO(), width=80), records)
    assert lines[1].endswith("last: client 1")


def test_a_round_of_a_stage_says_which():
    records = run()
    records[1]["stage"] = 1
    lines = shown_rounds(Console(file=io.StringIO(), width=80), records)
    assert "full  stage 1  last:" in lines[1] and "stage" not in lines[2]


def test_a_terminal_shows_who_is_at_work():
    console = Console(file=io.StringIO(), width=120, force_terminal=True)
    with RoundProgress(console, "UBFP", num_rounds=2) as progress:
        progress.on_record(run()[0])
        progress.on_client(7, 1, 3)  # of three that take part
        progress._bar.refresh()
        progress.on_record(run()[1])
    shown = console.file.getvalue()
    assert "UBFP round 1/2" in shown
    assert "2/3 clients (number 7)" in shown

import io

import pytest
from rich.console import Console
from rich.table import Table

from trimwave.report.console import plain_console, print_whole


@pytest.mark.parametrize("columns", ["0", "1", "20", "79", "200"])
def test_no_number_is_cut_however_narrow_the_terminal(monkeypatch, capsys, columns):
    monkeypatch.setenv("COLUMNS", columns)
    table = Table()
    numbers = [str(123456789 + at) for at in range(12)]
    for _ in numbers:
        table.add_column("a heading")
    table.add_row(*numbers)
    console = plain_console()
    print_whole(console, table)
    console.print("and a line")
    out = capsys.readouterr().out
    assert all(number in out for number in numbers)
    assert out.endswith("and a line\n")


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_legend_is_as_wide_as_the_screen_and_breaks_between_words(width):
    console = Console(file=io.StringIO(), width=width)
    words = "mean: of all clients. emulator-loss: per-token, " * 4
    table = Table("a", "b", caption=words)
    table.add_row("1", "2")
    print_whole(console, table)
    lines = console.file.getvalue().splitlines()
    bottom = next(at for at, line in enumerate(lines) if line.startswith("└"))
    legend = lines[bottom + 1 :]
    assert " ".join(legend).split() == words.split()
    assert all(len(line) <= width for line in legend)

import pytest
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

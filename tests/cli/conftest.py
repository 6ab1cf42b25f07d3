import sys

import pytest
from cells import FULL_HEADER, FULL_ROWS, HEADER, ROWS

from trimwave.cli import app as cli


@pytest.fixture
def trimwave(monkeypatch, capsys, tmp_path):
    """Call the command line in this process: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    # What is refused is refused before anything is loaded, let alone fetched.
    monkeypatch.setitem(sys.modules, "trimwave.lm.workbench", None)

    def _trimwave(*arguments):
        monkeypatch.setattr(sys, "argv", ["trimwave", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code or 0, *capsys.readouterr()

    return _trimwave


@pytest.fixture
def refused(trimwave):
    """Call it, expect exit code 2 and one line of error, and return that line."""

    def _refused(*arguments):
        code, out, err = trimwave(*arguments)
        assert code == 2, out + err
        assert out == ""
        assert err.count("\n") == 1, err
        assert err.startswith("error: ")
        assert "Traceback" not in err
        return err

    return _refused


@pytest.fixture
def cell(tmp_path):
    """Write a cell of three clients, with one cell of the table replaced."""

    def _cell(line=0, column=0, value=None):
        rows = [row.strip().split(",") for row in ROWS]
        if value is not None:
            rows[line][column] = value
        path = tmp_path / "cell.csv"
        path.write_text(HEADER + "".join(",".join(row) + "\n" for row in rows))
        return path

    return _cell


@pytest.fixture
def full_cell(tmp_path):
    """Write a cell with all the optional columns."""
    path = tmp_path / "full.csv"
    path.write_text(FULL_HEADER + "".join(FULL_ROWS))
    return path

"""What lists what there is; and that --help shows it."""

import json
import subprocess
import sys

import pytest
import typer

from trimwave.cli.app import app

COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_80_columns_and_ends_with_an_example(name, trimwave, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    code, out, _ = trimwave(name, "--help")
    assert code == 0
    lines = [line.rstrip() for line in out.splitlines()]
    assert max(map(len, lines)) <= 80
    last = [line for line in lines if line][-1]
    assert last.strip().startswith("Example: trimwave ")
    help_ = COMMANDS[name].help.split("\n\n")[0]
    assert help_.endswith(".") and help_[0].isupper()


def test_settings_as_json(trimwave):
    code, out, _ = trimwave("settings", "radio", "--json")
    found = {one["key"]: one for one in json.loads(out)}
    assert code == 0 and found["radio.path_loss_db"]["unit"] == "dB"
    assert found["radio.max_spectral_efficiency"]["default"] is None


def test_lists(trimwave, refused):
    assert "letter/fig4" in trimwave("recipes")[1]
    assert "cell.num_clients = 8" in trimwave("settings", "cell")[1]
    assert "did you mean `cell`" in refused("settings", "cel")


def test_the_package_is_a_program():
    done = subprocess.run(
        [sys.executable, "-m", "trimwave", "--version"], capture_output=True, text=True
    )
    assert done.stdout.startswith("trimwave ") and done.returncode == 0

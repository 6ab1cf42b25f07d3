import json

import pytest
from tiny_run import bytes_of, make_config, python, write_toml

COMMAND = "from kills import main; main()"


@pytest.mark.slow
def test_fifty_kills_at_random_moments_end_in_the_unbroken_runs_bytes(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "cache"))
    recipe = write_toml(tmp_path / "tiny.toml", make_config(tmp_path / "inputs"))
    killer = python(COMMAND, recipe, tmp_path, 50)
    out, err = killer.communicate(timeout=550)
    assert killer.returncode == 0, err
    told = json.loads(out)
    assert told["kills"] >= 50
    whole = bytes_of(tmp_path / "whole")
    for number in range(told["runs"]):
        assert bytes_of(tmp_path / f"killed-{number}") == whole

"""What `trimwave states` says of a folder, and what it deletes."""

import pytest

from trimwave.lm.states.files import FOLDER, StateFolder

KEYS = "0" * 64, "1" * 64


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """A user's cache with two states and something else."""
    monkeypatch.setenv("TRIMWAVE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / FOLDER
    states = StateFolder(folder, 10**9)
    for key in KEYS:
        states.write(key, bytes(10**6))
    (folder / "mine").write_text("")
    return folder


def test_they_are_counted_and_deleted(trimwave, cache):
    said = trimwave("states")
    assert said == (0, f"{cache}: 2 states, 2.0 MB\n", "")
    assert (cache / KEYS[0]).exists()
    said = trimwave("states", "--delete")
    assert said == (0, f"{cache}: 2 states deleted, 2.0 MB\n", "")
    assert [path.name for path in cache.iterdir()] == ["mine"]
    assert trimwave("states")[1].endswith(": 0 states, 0.0 MB\n")


def test_the_folder_of_states_has_any_name(trimwave, cache, monkeypatch):
    moved = cache.rename(cache.with_name("old"))
    monkeypatch.chdir(moved)
    assert trimwave("states", ".", "--delete")[1] == ".: 2 states deleted, 2.0 MB\n"


@pytest.mark.parametrize("named", ["the cache", "its states"])
def test_another_folder_is_named(trimwave, cache, tmp_path, named):
    (tmp_path / "device").mkdir()
    code, out, _ = trimwave("states", tmp_path / "device", "--delete")
    assert code == 0 and ": 0 states deleted" in out
    assert (cache / KEYS[0]).exists()
    folder = cache if named == "its states" else cache.parent
    code, out, _ = trimwave("states", folder, "--delete")
    assert code == 0 and f"{cache}: 2 states deleted" in out


def test_a_folder_that_is_not_there_has_not_lost_its_states(refused, tmp_path):
    said = refused("states", tmp_path / "typo", "--delete")
    assert f"there is no folder {tmp_path / 'typo'}" in said

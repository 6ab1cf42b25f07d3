import re
from dataclasses import fields, is_dataclass

import pytest

from trimwave.base.errors import InputError
from trimwave.recipe.config import Config
from trimwave.recipe.recipe import known_recipes
from trimwave.report.setting_table import (
    recipe_lines,
    setting_lines,
    settings_of_recipes,
)


def of_config():
    for one in fields(Config):
        if is_dataclass(one.type):
            yield from (f"{one.name}.{inner.name}" for inner in fields(one.type))
        else:
            yield one.name


def test_every_setting_is_listed_once_with_its_meaning():
    settings = settings_of_recipes()
    assert [one.key for one in settings] == list(of_config())
    for one in settings:
        assert one.meaning and one.type and "<class" not in one.type, one.key
        assert len(one.meaning.split()) > 1, one.key


def test_defaults_are_those_of_a_config():
    tree = Config().to_dict()
    for one in settings_of_recipes():
        section, _, name = one.key.rpartition(".")
        expected = tree[section][name] if section else tree[name]
        assert one.default == expected


def test_what_has_a_unit_says_it():
    units = {one.key: one.unit for one in settings_of_recipes()}
    assert units["cell.total_bandwidth_hz"] == "Hz"
    assert units["cell.memory_bytes"] == "byte"
    assert units["radio.noise_psd_dbm_per_hz"] == "dBm/Hz"
    assert units["radio.client_power_w"] == "W"
    assert units["rounds"] is None
    for key, unit in units.items():
        if re.search(r"_(hz|w|db|bytes|s|bps|per_s)$", key):
            assert unit, key


def test_lines_fit_80_columns_without_word_breaks():
    settings = settings_of_recipes()
    lines = [*setting_lines(settings), *recipe_lines(known_recipes())]
    assert max(map(len, lines)) <= 80
    said = " ".join(lines).split()
    for one in settings:
        assert set(one.meaning.split()) <= set(said)


def test_a_section_or_a_setting():
    assert {one.key.split(".")[0] for one in settings_of_recipes("radio")} == {"radio"}
    assert [one.key for one in settings_of_recipes("rounds")] == ["rounds"]
    assert [one.key for one in settings_of_recipes("cell.num_clients")] == [
        "cell.num_clients"
    ]
    with pytest.raises(
        InputError, match="no section or setting `radi`; did you mean `rad"
    ):
        settings_of_recipes("radi")
    with pytest.raises(InputError, match="did you mean `cell.num_clients`"):
        settings_of_recipes("cell.num_client")


def test_recipes_say_what_they_are_for():
    lines = "\n".join(recipe_lines(known_recipes()))
    for name, path in known_recipes().items():
        assert name in lines
        assert path.read_text().startswith("#"), name

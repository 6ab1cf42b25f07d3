"""Paths in recipes are relative to the file that wrote them."""

import os
from pathlib import Path

import pytest

from trimwave.base.errors import InputError
from trimwave.recipe.config import Config
from trimwave.recipe.recipe import (
    config_from_dict,
    differences,
    load_config,
    merge_overrides,
)

TRACE = "round,client,gain_down_db,gain_up_db\n1,0,-60,-60\n"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Make a folder of recipes, one below it, and another to work in."""
    for name in ("recipes/deep", "work", "recipes/model"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    for name in ("gains.csv", "rows.jsonl"):
        (tmp_path / "recipes" / name).write_text(TRACE)
    return tmp_path


def recipe(folder, text, name="mine.toml"):
    (folder / name).write_text(text)
    return folder / name


def test_a_path_is_relative_to_the_recipe(folders):
    path = recipe(
        folders / "recipes",
        '[radio]\ntrace = "gains.csv"\n[model]\nname = "model"\n'
        '[data]\nsource = "./rows.jsonl"\npublic = "../work/later.jsonl"\n',
    )
    for given in (path, Path(os.path.relpath(path))):
        config = load_config(given)
        assert config.radio.trace == str(folders / "recipes/gains.csv")
        assert config.model.name == str(folders / "recipes/model")
        assert config.data.source == str(folders / "recipes/rows.jsonl")
        assert config.data.public == str(folders / "work/later.jsonl")


def test_in_a_recipe_that_is_extended_it_is_relative_to_that_one(folders):
    recipe(folders / "recipes", '[radio]\ntrace = "gains.csv"\n', "base.toml")
    top = '[data]\nsource = "../rows.jsonl"\n'
    path = recipe(folders / "recipes/deep", 'extends = "../base.toml"\n' + top)
    config = load_config(path)
    assert config.radio.trace == str(folders / "recipes/gains.csv")
    assert config.data.source == str(folders / "recipes/rows.jsonl")


def test_on_the_command_line_it_is_relative_to_the_working_directory(folders):
    (folders / "work/rows.jsonl").write_text("")
    path = recipe(folders / "recipes", '[data]\nsource = "rows.jsonl"\n')
    changed = ["data.source=rows.jsonl", "radio.trace=../recipes/gains.csv"]
    for config in (load_config(path, changed), merge_overrides(Config(), changed)):
        assert config.data.source == str(folders / "work/rows.jsonl")
        assert config.radio.trace == str(folders / "recipes/gains.csv")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("data.source", "gsm_symbolic"),
        ("data.source", "openai/gsm8k"),
        ("data.source", "alpaca"),
        ("data.public", "same"),
        ("model.name", "gpt2-medium"),
        ("model.name", "Qwen/Qwen2-0.5B"),
        ("radio.trace", ""),
    ],
)
def test_names_stay_names(folders, key, name):
    section, field = key.split(".")
    path = recipe(folders / "recipes", f'[{section}]\n{field} = "{name}"\n')
    config = load_config(path)
    assert getattr(getattr(config, section), field) == name
    config = merge_overrides(Config(), [f'{key}="{name}"'])
    assert getattr(getattr(config, section), field) == name


def test_a_known_model_is_itself_whatever_lies_beside_the_recipe(folders):
    (folders / "recipes/gpt2").mkdir()
    (folders / "work/gpt2").mkdir()
    path = recipe(folders / "recipes", '[model]\nname = "gpt2"\n')
    assert load_config(path).model.name == "gpt2"
    (folders / "recipes/alpaca").mkdir()  # a data set of the hub gives way, as before
    path = recipe(folders / "recipes", '[data]\nsource = "alpaca"\n')
    assert load_config(path).data.source == str(folders / "recipes/alpaca")


@pytest.mark.parametrize("name", ["mine.csv", "./mine.csv", "mine", "own/mine"])
def test_what_lies_in_the_working_directory_alone_is_refused(folders, name):
    there = folders / "work" / name
    there.parent.mkdir(exist_ok=True)
    there.write_text(TRACE)
    path = recipe(folders / "recipes", f'[data]\nsource = "{name}"\n')
    said = "`data.source` = .* is not beside the recipe but in the working directory"
    with pytest.raises(InputError, match=said) as refused:
        load_config(path)
    assert str(there) in str(refused.value)
    named = load_config(path, [f"data.source={name}"])
    assert named.data.source == str(there)


def test_a_path_that_is_nowhere_is_named_where_it_should_be(folders):
    path = recipe(folders / "recipes", '[radio]\ntrace = "none.csv"\n')
    assert load_config(path).radio.trace == str(folders / "recipes/none.csv")
    path = recipe(folders / "recipes", '[data]\nsource = "NONE.JSONL"\n')
    assert load_config(path).data.source == str(folders / "recipes/NONE.JSONL")


def test_home_is_home(folders, monkeypatch):
    monkeypatch.setenv("HOME", str(folders))
    path = recipe(folders / "recipes", '[data]\nsource = "~/work"\n')
    assert load_config(path).data.source == str(folders / "work")


def test_a_path_with_nul_is_refused(folders):
    path = recipe(folders / "recipes", '[data]\nsource = "a\\u0000b.csv"\n')
    with pytest.raises(InputError, match="`data.source` holds a NUL"):
        load_config(path)


def test_two_spellings_of_one_file_are_no_difference(folders):
    old = config_from_dict({"radio": {"trace": "../recipes/gains.csv"}}, "manifest")
    new = merge_overrides(Config(), ["radio.trace=../recipes/gains.csv"])
    assert old.radio.trace != new.radio.trace
    assert differences(old.to_dict(), new.to_dict()) == []
    other = merge_overrides(Config(), ["radio.trace=../recipes/rows.jsonl"])
    assert len(differences(old.to_dict(), other.to_dict())) == 1

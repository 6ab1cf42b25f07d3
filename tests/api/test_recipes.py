import numpy as np
import pytest

import trimwave as tw
from trimwave.api.recipes import read_recipe
from trimwave.recipe.config import Config
from trimwave.recipe.overrides import nested
from trimwave.recipe.recipe import find_recipe, load_config, merge_overrides

WANTED = merge_overrides(
    load_config(find_recipe("default")), ["rounds=3", "cell.num_clients=4"]
)


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("default", {"rounds": 3, "cell": {"num_clients": 4}}),
        ("default", {"rounds": 3, "cell.num_clients": 4}),
        (find_recipe("default"), {"rounds": 3, "cell.num_clients": 4}),
        ({"extends": "default", "rounds": 3, "cell": {"num_clients": 4}}, {}),
        ({"extends": "default", "cell.num_clients": 4}, {"rounds": 3}),
        (WANTED, {}),
    ],
)
def test_one_config_from_whatever_says_it(recipe, changes):
    assert read_recipe(recipe, changes).config == WANTED


def test_a_dict_holds_its_differences_from_the_defaults():
    assert read_recipe({}, {}).config == Config()
    assert read_recipe({"seed": 3}, {}).config == Config(seed=3)
    assert read_recipe("gpt2-medium", {"seed": 3}).config.seed == 3


def test_paths_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text("{}")
    config = read_recipe({"data": {"source": "rows.jsonl"}}, {}).config
    assert config.data.source == str(tmp_path / "rows.jsonl")


def test_dotted_keys_nest_and_quotes_keep_dots():
    assert nested({"a.b": 1, "a": {"c": 2}, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
    rule = nested({'options."a.b:Rule".rate': 0.5})
    assert rule == {"options": {"a.b:Rule": {"rate": 0.5}}}
    same = merge_overrides(Config(), ['options."a.b:Rule".rate=0.5'])
    assert same.options == rule["options"]


@pytest.mark.parametrize(
    ("recipe", "changes"),
    [
        ("default", {"data": {"source": "own.jsonl"}}),
        ("default", {"data.source": "own.jsonl"}),
        (find_recipe("default"), {"data.source": "own.jsonl"}),
        ({"extends": "default", "data": {"source": "own.jsonl"}}, {}),
    ],
)
def test_how_many_rows_our_recipe_takes_is_not_said_of_another_source(recipe, changes):
    data = read_recipe(recipe, changes).config.data
    assert (data.num_train, data.num_test, data.num_public) == (None,) * 3
    own = read_recipe(recipe, {**changes, "data.num_test": 7}).config.data
    assert (own.num_train, own.num_test) == (None, 7)


def test_numbers_of_a_users_own_recipe_stay():
    mine = {"data": {"num_train": 90, "source": "own.jsonl"}}
    assert read_recipe(mine, {"data.source": "other"}).config.data.num_train == 90


def test_numbers_of_numpy_are_numbers():
    changes = {
        "rounds": np.int64(3),
        "limits": {"beta_bar": np.float64(0.4)},
        "cell.speed_factor": np.array([1.0, 2.0]),
    }
    config = read_recipe({}, changes).config
    assert (config.rounds, config.limits.beta_bar) == (3, 0.4)
    assert type(config.rounds) is int
    assert config.cell.speed_factor == (1.0, 2.0)
    for pair in ([np.float32(0.5), np.int64(2)], (np.float32(0.5), np.int64(2))):
        config = read_recipe({"cell": {"speed_factor": pair}}, {}).config
        assert config.cell.speed_factor == (0.5, 2.0)


def test_what_is_given_stays_as_it_was():
    given = {"cell": {"num_clients": 3}, "cell.total_bandwidth_hz": 5e7}
    assert read_recipe(given, given).config.cell.num_clients == 3
    assert given == {"cell": {"num_clients": 3}, "cell.total_bandwidth_hz": 5e7}


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        ("defalt", {}, "no recipe `defalt`; did you mean `default`"),
        ("default", {"round": 3}, "the call: unknown key `round`; did you mean"),
        ("default", {"cell.num_client": 3}, "the call: unknown key `cell.num_client`"),
        ({"rounds": "three"}, {}, "the recipe: `rounds` must be a whole number"),
        ({"extends": "nobody"}, {}, "no recipe `nobody`"),
        (None, {}, "a recipe is a name, a path, a dict or a Config, got NoneType"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(recipe, changes, message):
    with pytest.raises(tw.InputError, match=message):
        read_recipe(recipe, changes)

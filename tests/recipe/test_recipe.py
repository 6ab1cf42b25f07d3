import ast
import json
import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from trimwave.base.errors import InputError
from trimwave.methods import Jcpba, parse_method
from trimwave.recipe import config as config_module
from trimwave.recipe import planning_sections, training_sections
from trimwave.recipe.config import Config
from trimwave.recipe.recipe import (
    config_from_dict,
    differences,
    find_recipe,
    load_config,
)
from trimwave.recipe.written import recipe_of
from trimwave.sweep.one_round import plan_cell

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def empty(tmp_path):
    path = tmp_path / "empty.toml"
    path.write_text("")
    return path


@pytest.mark.parametrize(
    "path", sorted(RECIPES.rglob("*.toml")), ids=lambda path: path.stem
)
def test_every_recipe_loads(path):
    config = load_config(path)
    assert parse_method(config.method, config.options).label
    name = str(path.relative_to(RECIPES).with_suffix(""))
    assert find_recipe(name).read_text() == path.read_text()
    # What a manifest stores reads back as the same config.
    stored = json.loads(json.dumps(without_none(config.to_dict())))
    assert config_from_dict(stored, "manifest") == config


def without_none(tree):
    return {
        key: without_none(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if value is not None
    }


def test_there_are_recipes():
    assert (RECIPES / "gpt2-medium.toml").exists()


def test_the_letters_recipe_is_the_letters_cell():
    config = load_config(RECIPES / "gpt2-medium.toml")
    assert config.cell.num_clients == 8
    assert config.cell.total_bandwidth_hz == 100e6
    assert config.radio.server_power_w == 10.0
    assert config.radio.client_power_w == 0.2
    assert config.radio.path_loss_db == 60.0
    assert config.model.adapter_blocks == 2


def test_what_is_wrong_with_an_override_is_not_said_of_the_recipe(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("rounds = 3")
    with pytest.raises(InputError, match="^--set: unknown key `round`"):
        load_config(recipe, ["round=3"])
    recipe.write_text("round = 3")
    with pytest.raises(InputError, match="mine.toml: unknown key `round`"):
        load_config(recipe, ["rounds=3"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (f"cell.num_clients={10**20}", "must be at most 2^53, got 1e"),
        ("limits.beta_bar=50", "must be in parts of one, got 50: .* write 0.5"),
        ("limits.beta_min=-0.1", "nothing is pruned by less than 0"),
        ("radio.noise_figure_db=-7", "takes no noise away; .* write 7"),
        ("radio.max_spectral_efficiency=1e-9", "no modem spreads a bit so far"),
        ("radio.trace=\udcff.csv", "holds bytes that are no UTF-8"),
    ],
)
def test_what_cannot_be_is_refused(empty, change, said):
    with pytest.raises(InputError, match=said.replace("^", "\\^")):
        load_config(empty, [change])


def test_an_empty_recipe_is_the_defaults(empty):
    assert load_config(empty) == Config()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"sed": 1}, "unknown key `sed`; did you mean `seed`"),
        ({"cell": {"num_client": 3}}, "`cell.num_client`; did you mean `num_clients`"),
        ({"cell": {"zzz": 3}}, "unknown key `cell.zzz`; known: .*num_clients"),
        ({"cell": 3}, "`cell` must be a table"),
        ({"rounds": "3"}, "`rounds` must be a whole number, got '3'"),
        ({"rounds": 3.0}, r"`rounds` must be a whole number, got 3\.0"),
        ({"rounds": True}, "`rounds` must be a whole number, got True"),
        ({"name": 3}, "`name` must be text, got 3"),
        ({"radio": {"path_loss_db": "60"}}, "`radio.path_loss_db` must be a number"),
        ({"radio": {"path_loss_db": float("nan")}}, "must be a number, got nan"),
        ({"limits": {"beta_bar": float("nan")}}, "must be a number, got nan"),
        ({"limits": {"beta_bar": "half"}}, "`limits.beta_bar` must be a number"),
        ({"radio": {"noise": "white"}}, "must be one of fixed, psd, got 'white'"),
        ({"model": {"bits_per_param": 8}}, "must be one of 16, 32, got 8"),
        ({"model": {"bits_per_param": 16.0}}, r"must be one of 16, 32, got 16\.0"),
        ({"model": {"head_passes": True}}, "must be one of 1, 2, got True"),
        ({"model": {"send_embeddings": 1}}, "must be true or false, got 1"),
        ({"cell": {"speed_factor": 1.0}}, "must be a list, got 1.0"),
        ({"cell": {"speed_factor": [1.0]}}, r"must have 2 values, got \[1.0\]"),
        ({"cell": {"speed_factor": [1.0, "2"]}}, "must be a number, got '2'"),
        ({"data": {"client_sizes": [1, 2.5]}}, "must be a whole number, got 2.5"),
        ({"train": {"adapter": "lora"}}, "unknown key `train.adapter`"),
        ({"options": 3}, "`options` must be a table of tables, got 3"),
        ({"options": {"jcpba": 3}}, "`options`: `jcpba` must be a table of options"),
        ({"options": {"jcpba": {"x": {}}}}, "`jcpba.x` must be a plain value or a"),
        ({"options": {"jcpba": {"x": [1]}}}, r"tables, each \[\[options.jcpba.x\]\]"),
    ],
)
def test_a_wrong_recipe_names_the_key(tree, message):
    with pytest.raises(InputError, match=message) as caught:
        config_from_dict(tree, "some.toml")
    assert str(caught.value).startswith("some.toml: ")


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"rounds": 0}, "`rounds` must be at least 1, got 0"),
        ({"seed": -1}, "`seed` must be at least 0, got -1"),
        ({"name": "a/b"}, "`name` must be a plain folder name, got 'a/b'"),
        ({"name": ""}, "`name` must be a plain folder name"),
        ({"name": ".."}, "`name` must be a plain folder name"),
        ({"cell": {"num_clients": 0}}, "`cell.num_clients` must be at least 1"),
        ({"cell": {"total_bandwidth_hz": 0}}, "`cell.total_bandwidth_hz` must be pos"),
        ({"cell": {"speed_factor": [2, 1]}}, r"low <= high, got \[2\.0, 1\.0\]"),
        ({"cell": {"memory_bytes": [0, 1]}}, "`cell.memory_bytes` must be a range"),
        ({"radio": {"client_power_w": -1}}, "`radio.client_power_w` must be positive"),
        ({"prune": {"round_to": 0}}, "`prune.round_to` must be at least 1"),
        ({"data": {"dirichlet_alpha": 0}}, "`data.dirichlet_alpha` must be positive"),
        (
            {"cell": {"server_speed_flops_per_s": 0}},
            "`cell.server_speed_flops_per_s` must be positive",
        ),
        (
            {"train": {"lora_learning_rate": 0}},
            "`train.lora_learning_rate` must be positive",
        ),
        ({"train": {"weight_decay": -0.1}}, "`train.weight_decay` must be at least 0"),
        ({"align": {"steps": 0}}, "`align.steps` must be at least 1"),
    ],
)
def test_an_impossible_value_is_refused(tree, message):
    with pytest.raises(InputError, match=message):
        config_from_dict(tree, "some.toml")


def test_integers_and_lists_pass_for_floats_and_tuples():
    config = config_from_dict({"cell": {"speed_factor": [1, 2]}}, "x")
    assert config.cell.speed_factor == (1.0, 2.0)
    assert isinstance(config.cell.speed_factor[0], float)
    sized = config_from_dict({"data": {"client_sizes": [3, 4, 5]}}, "x")
    assert sized.data.client_sizes == (3, 4, 5)


def test_overrides(empty, tmp_path):
    changes = (
        "seed=7",
        "cell.num_clients = 3",
        "cell.speed_factor=[1, 1.5]",
        "radio.noise=psd",
        "method=jcpba:solver=bcd",
        'name="quoted"',
        "limits.beta_bar=0.4",
        "model.send_embeddings=true",
    )
    config = load_config(empty, changes)
    assert config.seed == 7
    assert config.cell.num_clients == 3
    assert config.cell.speed_factor == (1.0, 1.5)
    assert config.radio.noise == "psd"
    assert config.method == "jcpba:solver=bcd"
    assert config.name == "quoted"
    assert config.limits.beta_bar == 0.4
    assert config.model.send_embeddings is True
    assert config.options == {}
    path = tmp_path / "given.toml"
    path.write_text("[cell]\nnum_clients = 5\nmemory_bytes = [1e9, 2e9]\n")
    changed = load_config(path, ("cell.num_clients=6", "cell.num_clients=7"))
    assert changed.cell.num_clients == 7
    assert changed.cell.memory_bytes == (1e9, 2e9)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set takes key=value, got 'seed'"),
        ("=3", "--set takes key=value, got '=3'"),
        ("cell.sed=3", "unknown key `cell.sed`"),
        ("seed.x=3", "`seed` must be a whole number"),
        ("cell=3", "`cell` must be a table"),
        ("seed=three", "`seed` must be a whole number, got 'three'"),
        ("limits.beta_bar=nan", "must be a number, got nan"),
    ],
)
def test_a_wrong_override_is_refused(empty, override, message):
    with pytest.raises(InputError, match=message):
        load_config(empty, (override,))


def test_options_of_methods(tmp_path):
    path = tmp_path / "options.toml"
    path.write_text(
        'method = "jcpba:solver=bcd"\n'
        '[options.jcpba]\nadapter = "lora"\nsolver = "exact"\n[options.ubfp]\n'
    )
    config = load_config(path)
    assert config.options == {
        "jcpba": {"adapter": "lora", "solver": "exact"},
        "ubfp": {},
    }
    assert parse_method(config.method, config.options) == Jcpba(
        solver="bcd", adapter="lora"
    )
    changed = load_config(path, ("options.jcpba.adapter=full", "options.ubfp.x=2.5"))
    assert changed.options == {
        "jcpba": {"adapter": "full", "solver": "exact"},
        "ubfp": {"x": 2.5},
    }
    stored = json.loads(json.dumps(config.to_dict()))
    assert stored["options"] == config.options
    assert differences(config.to_dict(), changed.to_dict()) == [
        "options.jcpba.adapter: 'lora' -> 'full'",
        "options.ubfp.x: None -> 2.5",
    ]


def test_wrong_options_stop_a_plan_whatever_method_it_is_for():
    for options, message in (
        ({"jcbpa": {"adapter": "lora"}}, "`options.jcbpa`: no method `jcbpa`"),
        ({"jcpba": {"adaptor": "lora"}}, "`jcpba` has no option `adaptor`"),
        ({"jcpba": {"adapter": "half"}}, "`adapter` of `jcpba` must be one of"),
    ):
        config = config_from_dict({"options": options}, "some.toml")
        with pytest.raises(InputError, match=message):
            plan_cell(config, "ubfp")


def test_files_that_are_no_recipe(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("seed = \n")
    with pytest.raises(InputError, match=r"broken\.toml is not TOML"):
        load_config(broken)
    broken.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"broken\.toml, line 1: .* is not UTF-16"):
        load_config(broken)
    with pytest.raises(InputError, match=r"none\.toml: cannot be read \(No such file"):
        load_config(find_recipe(str(tmp_path / "none.toml")))
    with pytest.raises(InputError, match="cannot be read; it is a folder"):
        load_config(find_recipe(str(tmp_path)))
    with pytest.raises(InputError, match="no recipe `gpt2-mediun`; did you mean `gpt2"):
        find_recipe("gpt2-mediun")


def test_differences_names_both_values():
    old = Config().to_dict()
    new = config_from_dict({"seed": 3, "cell": {"num_clients": 2}}, "x").to_dict()
    assert differences(old, old) == []
    assert differences(old, new) == ["cell.num_clients: 8 -> 2", "seed: 0 -> 3"]
    assert differences({"a": 1}, {"b": 2}) == ["a: 1 -> None", "b: None -> 2"]
    assert differences({"a": {"b": 1}}, {"a": 5}) == ["a: {'b': 1} -> 5"]


def test_every_field_of_the_config_says_what_it_is():
    modules = (config_module, planning_sections, training_sections)
    trees = [ast.parse(Path(one.__file__).read_text("utf-8")) for one in modules]
    body = [node for tree in trees for node in tree.body]
    classes = [node for node in body if isinstance(node, ast.ClassDef)]
    assert {node.name for node in classes} == {*config_module.__all__}
    silent = []
    for node in classes:
        assert ast.get_docstring(node)
        for item, after in zip(node.body, [*node.body[1:], None], strict=True):
            if not isinstance(item, ast.AnnAssign):
                continue
            assert item.value is not None, (
                f"{node.name}.{item.target.id} has no default"
            )
            explained = (
                isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
                and isinstance(after.value.value, str)
            )
            # In `Config` itself the tables say it in their own docstrings.
            if not explained and not is_table(node.name, item.target.id):
                silent.append(f"{node.name}.{item.target.id}")
    assert silent == []


def is_table(class_name, field_name):
    kinds = {
        item.name: item.type for item in fields(getattr(config_module, class_name))
    }
    return is_dataclass(kinds[field_name])


def test_a_recipe_holds_its_differences_from_another(tmp_path):
    base, top = tmp_path / "base.toml", tmp_path / "top.toml"
    base.write_text(
        'rounds = 7\n[cell]\nnum_clients = 3\n[options.ubfp]\nadapter = "lora"\n'
    )
    top.write_text(
        f'extends = "{base}"\nname = "top"\n[cell]\ntotal_bandwidth_hz = 2e6\n'
    )
    config = load_config(top, ["cell.base_speed_flops_per_s=1e9"])
    assert (config.name, config.rounds, config.cell.num_clients) == ("top", 7, 3)
    assert config.cell.total_bandwidth_hz == 2e6
    assert config.cell.base_speed_flops_per_s == 1e9
    assert config.options == {"ubfp": {"adapter": "lora"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('extends = "nothing"', "no recipe `nothing`"),
        ("extends = 3", "`extends` must name a recipe, got 3"),
        ('extends = "top.toml"', r"`extends` runs in a circle at top\.toml"),
        ('extends = "other.toml"', "`extends` runs in a circle"),
    ],
)
def test_a_wrong_base_is_named(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.toml").write_text('extends = "top.toml"')
    (tmp_path / "top.toml").write_text(text)
    with pytest.raises(InputError, match=message):
        load_config(Path("top.toml"))


def test_a_base_is_looked_for_beside_the_recipe_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "base.toml").write_text("rounds = 9")
    (tmp_path / "mine" / "top.toml").write_text('extends = "base.toml"')
    assert load_config(Path("mine/top.toml")).rounds == 9


def test_a_folder_named_as_a_recipe_is_no_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gpt2-medium").mkdir()  # a model that was downloaded
    assert load_config(find_recipe("gpt2-medium")).model.name == "gpt2-medium"


def test_a_recipe_that_is_written_is_read_back():
    """With tables in a list, which come inline."""
    config = load_config(find_recipe("best/staged"))
    text = recipe_of(config)
    again = config_from_dict(tomllib.loads(text), "the recipe")
    assert again == config
    assert "stages = [{rounds = 4}, {blocks = 12}]" in text

"""Whatever a recipe or an override holds: a config, or one line that says why not."""

from dataclasses import fields, is_dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimwave.base.errors import InputError
from trimwave.recipe.config import Config
from trimwave.recipe.limits import limits_of
from trimwave.recipe.recipe import find_recipe, load_config, merge_overrides
from trimwave.sweep.grid import parse_vary

QUICK = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
KEYS = ["extends", "cel", "cell.num_clients.x"]
for item in fields(Config):
    KEYS.append(item.name)
    if is_dataclass(item.type):
        KEYS += [f"{item.name}.{inner.name}" for inner in fields(item.type)]

ODD = st.sampled_from(
    [
        *("1979-05-27", "07:32:00", "1979-05-27T07:32:00Z", "1_000", "0x1F", "1e400"),
        *("inf", "-inf", "nan", "9" * 400, "9" * 5000, "-0.0", "true", "[]", "{}", ""),
        *("[1, 2]", "[[1]]", "{a = 1}", "{a = {b = 1}}", '""', '"\\u0000"', "'''\n'''"),
        *("1\nseed = 2", "1]\nx = [1", '"x"\n[cell]', "[" * 3000, "# no", "x" * 300),
        *(
            "'/'",
            "'~\\u0000'",
            "'.'",
            '"~nobody/x"',
            "'" + "y" * 300 + ".csv'",
            "\ud800",
        ),
    ]
)
VALUES = (
    ODD
    | st.integers().map(str)
    | st.floats().map(str)
    | st.text(max_size=8).map(lambda text: f"'{text}'")
    | st.text(max_size=8)
)


def outcome(read):
    """Return a config, or None where one line says what is wrong."""
    try:
        return read()
    except InputError as error:
        assert str(error)
        assert len(str(error).splitlines()) == 1
        return None


ANY_KEY = st.sampled_from(KEYS) | st.text(max_size=6)


@pytest.mark.filterwarnings("ignore:.*unusual")
@given(st.lists(st.tuples(ANY_KEY, VALUES), max_size=3))
@QUICK
def test_any_override_gives_a_config_or_one_line(pairs):
    changes = [f"{key}={value}" for key, value in pairs]
    config = outcome(lambda: merge_overrides(Config(), changes))
    assert config is None or isinstance(config, Config)
    outcome(lambda: parse_vary(changes))


@given(st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=4), st.booleans())
@QUICK
def test_any_toml_gives_a_config_or_one_line(tmp_path, pairs, cut):
    path = tmp_path / "any.toml"
    text = "\n".join(f"{key} = {value}" for key, value in pairs)
    data = text.encode("utf-8", "surrogatepass")
    path.write_bytes(data[: len(data) // 2] if cut else data)
    config = outcome(lambda: load_config(find_recipe(str(path))))
    assert config is None or isinstance(config, Config)


@given(st.binary(max_size=40))
@QUICK
def test_any_bytes_give_a_config_or_one_line(tmp_path, data):
    path = tmp_path / "any.toml"
    path.write_bytes(data)
    outcome(lambda: load_config(path))


@given(st.text(max_size=12) | st.sampled_from(["", ".", "/", "x" * 5000, "a\0b.toml"]))
@QUICK
def test_any_name_of_a_recipe_is_read_or_refused_in_one_line(name):
    outcome(lambda: load_config(find_recipe(name)))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed = 1\nseed = 2", "is not TOML: Cannot overwrite a value"),
        ("[cell]\n[cell]", "is not TOML: Cannot declare"),
        (
            "seed = 1979-05-27",
            "`seed` must be a whole number, got datetime.date(1979, 5, 27)",
        ),
        ("[limits]\nbeta_bar = inf", "must be in parts of one, got inf"),
        (
            "[train]\nweight_decay = inf",
            "`train.weight_decay` must be at least 0",
        ),
        ("[cell]\nbase_speed_flops_per_s = " + "9" * 400, "has too many digits"),
        ("seed = " + "9" * 5000, "is not TOML: Exceeds the limit"),
        ("x = " + "[" * 5000, "is nested too deep"),
        ("[cel]\nnum_clients = 3", "unknown key `cel`; did you mean `cell`?"),
        ("[[cell]]\nnum_clients = 3", "`cell` must be a table"),
        ('"a\\nb" = 3', "unknown key `a\\nb`"),
        ('name = "a\\u0000b"', "`name` must be a plain folder name"),
        ('extends = ""', "no recipe ``; known: best/lora"),
        ('extends = "any.toml"', "`extends` runs in a circle"),
        ('extends = "absent.toml"', "absent.toml: cannot be read"),
        ('extends = "a\\u0000b.toml"', "`extends` must name a recipe"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "any.toml").write_text(text)
    with pytest.raises(InputError) as refused:
        limits_of(load_config(find_recipe("any.toml")))
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_any_encoding_is_read_or_named(tmp_path):
    path = tmp_path / "mine.toml"
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text("rounds = 7\n", encoding=encoding)
        assert load_config(path).rounds == 7
    path.write_bytes(b"# caf\xe9\nrounds = 7\n")
    with pytest.raises(InputError, match="line 1: byte 6 .* is not UTF-8; save"):
        load_config(path)
    path.write_text("rounds = 1_000\n")
    assert load_config(path).rounds == 1000


def test_an_unreadable_recipe_is_named(tmp_path, monkeypatch):
    path = tmp_path / "mine.toml"
    path.write_text("")

    def denied(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    with pytest.raises(InputError, match="cannot be read .Permission denied"):
        load_config(path)


def test_an_override_is_one_value():
    with pytest.raises(
        InputError, match="`seed` must be a whole number, got .1.nrounds"
    ):
        merge_overrides(Config(), ["seed=1\nrounds = 3"])
    assert parse_vary(["seed=1]\nx = [2"]) == {"seed": ["1]\nx = [2"]}

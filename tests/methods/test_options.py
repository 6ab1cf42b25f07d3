from dataclasses import dataclass
from typing import Literal

import pytest
from helpers import make_situation

from trimwave.base.errors import InputError
from trimwave.methods import (
    ALL,
    METHODS,
    Jcpba,
    Ubfp,
    label_of,
    parse,
    parse_method,
    registry,
)
from trimwave.recipe.config import Config
from trimwave.recipe.recipe import merge_overrides
from trimwave.sweep.one_round import plan_cell


def test_methods_by_name():
    assert parse_method("jcpba") == Jcpba(solver="exact")
    assert parse_method(" jcpba:solver=bcd ") == Jcpba(solver="bcd")
    assert parse_method("jcpba:adapter=lora:solver=bcd") == Jcpba(
        solver="bcd", adapter="lora"
    )
    assert parse_method("ubfp") == Ubfp()
    assert parse_method("ubfp:adapter=lora") == Ubfp(adapter="lora")
    labels = [
        parse_method(text).label for text in ("jcpba", "jcpba:solver=bcd", "ubfp")
    ]
    assert labels == ["JCPBA*", "JCPBA", "UBFP"]
    for name in METHODS:
        assert parse_method(name).label


def test_all_means_every_method_and_both_solvers():
    assert {text.partition(":")[0] for text in ALL} == set(METHODS)
    assert len(set(ALL)) == len(ALL) == len(METHODS) + 1
    assert {"jcpba", "jcpba:solver=bcd"} <= set(ALL)
    labels = [label_of(text) for text in ALL]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("jcpba", "JCPBA*"),
        ("jcpba:solver=exact", "JCPBA*"),
        ("jcpba:solver=bcd", "JCPBA"),
        ("jcpba:solver=bcd:adapter=lora", "JCPBA lora"),
        ("ubfp:adapter=full", "UBFP full"),
    ],
)
def test_a_label_says_the_options_that_the_user_wrote(text, label):
    assert label_of(text) == label


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jcbpa", "no method `jcbpa`; did you mean `jcpba`"),
        ("", "no method ``; known: .*ubfp. A rule of your own is named module:Class"),
        ("jcpba:solvr=bcd", "no option `solvr`; did you mean `solver`"),
        ("jcpba:solver=newton", "must be one of exact, bcd, got 'newton'"),
        ("jcpba:solver", "must be one of exact, bcd, got ''"),
        ("jcpba:adapter=half", "`adapter` of `jcpba` must be one of full, lora"),
        ("ubfp:solver=bcd", "method `ubfp` has no option `solver`; known: adapter"),
        ("jcpba:solver=bcd:solver=exact", "`solver` of `jcpba` is given twice"),
    ],
)
def test_a_wrong_method_says_what_is_legal(text, message):
    for read in (parse_method, label_of):
        with pytest.raises(InputError, match=message):
            read(text)


def test_a_recipes_options_hold_unless_written_behind_the_name():
    options = {"jcpba": {"adapter": "lora", "solver": "bcd"}, "ubfp": {}}
    assert parse_method("jcpba", options) == Jcpba(solver="bcd", adapter="lora")
    assert parse_method("jcpba:adapter=full", options) == Jcpba(solver="bcd")
    assert parse_method("ubfp", options) == Ubfp()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jcbpa": {}}, "`options.jcbpa`: no method `jcbpa`; did you mean `jcpba`"),
        ({"jcpba": {"adaptr": "lora"}}, "`jcpba` has no option `adaptr`; did you mean"),
        ({"jcpba": {"adapter": 3}}, "`adapter` of `jcpba` must be one of .*, got 3"),
    ],
)
def test_wrong_options_are_named_whatever_method_runs(options, message):
    for text in ("jcpba", "ubfp"):
        with pytest.raises(InputError, match=message):
            parse_method(text, options)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fake:
    """A method with an option of every kind."""

    rounds: int = 3
    weight: float = 0.5
    budget_s: float | None = None
    depth: int | None = None
    mode: Literal["fast", "slow"] = "fast"
    bits: Literal[4, 8] = 4

    label = "fake"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bare:
    """A method without options."""

    label = "bare"


@pytest.fixture
def fake(monkeypatch):
    known = {**METHODS, "fake": Fake, "bare": Bare}
    for module in (parse, registry):
        monkeypatch.setattr(module, "METHODS", known)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fake", Fake()),
        ("fake:rounds=7", Fake(rounds=7)),
        ("fake:rounds=-7", Fake(rounds=-7)),
        ("fake:weight=2", Fake(weight=2.0)),
        ("fake:weight=1e-3:budget_s=12.5", Fake(weight=1e-3, budget_s=12.5)),
        ("fake:depth=0", Fake(depth=0)),
        ("fake:mode=slow:bits=8", Fake(mode="slow", bits=8)),
    ],
)
def test_options_become_what_their_types_say(fake, text, expected):
    method = parse_method(text)
    assert method == expected
    for name in Fake.__slots__:
        assert type(getattr(method, name)) is type(getattr(expected, name))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"rounds": 7, "weight": 2}, Fake(rounds=7, weight=2.0)),
        ({"rounds": 7.0}, Fake(rounds=7)),
        ({"budget_s": 3, "depth": 2}, Fake(budget_s=3.0, depth=2)),
        ({"mode": "slow", "bits": 8}, Fake(mode="slow", bits=8)),
    ],
)
def test_a_recipes_values_become_what_their_types_say(fake, values, expected):
    method = parse_method("fake", {"fake": values})
    assert method == expected
    for name in Fake.__slots__:
        assert type(getattr(method, name)) is type(getattr(expected, name))


WHOLE, FINITE = "must be a whole number, got ", "must be a finite number, got "


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("rounds", "7.5", f"`rounds` of `fake` {WHOLE}'7.5'"),
        ("rounds", "", f"{WHOLE}''"),
        ("rounds", 7.5, f"{WHOLE}7.5"),
        ("rounds", float("nan"), f"{WHOLE}nan"),
        ("rounds", float("inf"), f"{WHOLE}inf"),
        ("rounds", "1" + "0" * 400, f"{WHOLE}'10"),
        ("rounds", True, f"{WHOLE}True"),
        ("rounds", [7], rf"{WHOLE}\[7\]"),
        ("weight", "heavy", f"`weight` of `fake` {FINITE}'heavy'"),
        ("weight", "nan", f"{FINITE}'nan'"),
        ("weight", "1e999", f"{FINITE}'1e999'"),
        ("weight", float("-inf"), f"{FINITE}-inf"),
        ("weight", False, f"{FINITE}False"),
        ("budget_s", "None", f"`budget_s` of `fake` {FINITE}'None'"),
        ("depth", "deep", f"`depth` of `fake` {WHOLE}'deep'"),
        ("mode", "", "`mode` of `fake` must be one of fast, slow, got ''"),
        ("bits", "5", "`bits` of `fake` must be one of 4, 8, got '5'"),
        ("bits", 4.5, "`bits` of `fake` must be one of 4, 8, got 4.5"),
    ],
)
def test_a_wrong_value_is_named(fake, key, value, message):
    with pytest.raises(InputError, match=message):
        parse_method("fake", {"fake": {key: value}})
    if isinstance(value, str):
        for read in (parse_method, label_of):
            with pytest.raises(InputError, match=message):
                read(f"fake:{key}={value}")


def test_a_method_without_options_says_so(fake):
    with pytest.raises(InputError, match="`bare` has no option `x`; it has none"):
        parse_method("bare:x=1")


def test_labels_name_numbers_and_say_choices(fake):
    assert (
        label_of("fake:weight=2:mode=slow:rounds=4") == "fake weight=2.0 slow rounds=4"
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_step_size(name):
    situation = make_situation(0)
    plain, tuned = (parse_method(name + text) for text in ("", ":learning_rate=3e-4"))
    schemes = [one.scheme(situation.costs, situation.limits) for one in (plain, tuned)]
    assert [scheme.learning_rate for scheme in schemes] == [None, 3e-4]
    assert schemes[0].submodel == schemes[1].submodel
    with pytest.raises(InputError, match="option `learning_rate` .* got 0.0"):
        parse_method(f"{name}:learning_rate=0")


def test_a_recipes_options_are_checked_whatever_is_planned():
    with pytest.raises(InputError, match=r"option `drop` of `fedbiot` .* got 1\.5"):
        parse_method("ubfp", {"fedbiot": {"drop": 1.5}})


def test_a_share_of_memory_that_holds_no_base_is_refused():
    config = merge_overrides(Config(), ["model.name=gpt2", "cell.num_clients=2"])
    with pytest.raises(InputError, match="4 bits need .* raise it to 0.0") as refused:
        plan_cell(config, "fedqlora:memory_share=1e-6:bits=memory")
    enough = str(refused.value).split("raise it to ")[1].rstrip(".")
    with pytest.raises(InputError) as again:  # the other client's is another
        plan_cell(config, f"fedqlora:memory_share={float(enough) / 3}:bits=memory")
    assert "memory_share" in str(again.value)
    plan_cell(config, "fedqlora:memory_share=0.9:bits=memory")
    with pytest.warns(UserWarning, match="without effect with bits=mixed"):
        plan_cell(config, "fedqlora:memory_share=0.9:bits=mixed")

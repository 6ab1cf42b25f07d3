"""Rules of one's own: by module:Class, by entry point, and what is said of bad ones."""

import importlib.metadata
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from helpers import make_situation

import trimwave as tw
from trimwave.base.errors import InputError
from trimwave.methods import (
    METHODS,
    Jcpba,
    Ubfp,
    ask_plan,
    ask_scheme,
    facts_of_rule,
    installed,
    label_of,
    name_of,
    parse_method,
    registry,
    text_of,
)
from trimwave.recipe.config import Config
from trimwave.runs.comparison import method_texts, run_name

HEAD = """
from dataclasses import dataclass
from typing import Literal, Optional
import numpy as np
import trimwave as tw
"""
GOOD = (
    HEAD
    + """
@dataclass(frozen=True)
class Even(tw.PruningRule):
    rate: float = 0.5
    whole: bool = False
    best_s: Optional[float] = None
    mode: Literal["a", "b"] = "a"

    def decide(self, problem):
        K, band_hz = problem.cell.num_clients, problem.cell.total_bandwidth_hz
        return np.full(K, 1 - self.rate), np.full(K, band_hz / K)

class Holder:
    Inner = Even
"""
)


@pytest.fixture
def rule(tmp_path, monkeypatch, rules_forgotten):
    """Write a module into a new working directory, named as the test says."""
    monkeypatch.chdir(tmp_path)

    def _write(name, text):
        path = tmp_path / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return _write


@pytest.mark.parametrize("error", ["SystemExit(3)", "ValueError('no')"])
def test_a_fault_of_a_rule_is_one_line_with_its_place(error, rule):
    # A module of the user's beside it that is called like a folder of libraries.
    rule("site-packages-of-mine/mine", f"def decide():\n    raise {error}\n")
    text = RULE + "    label = 'x'\n    def decide(self, problem):\n"
    text += "        import sys; sys.path.insert(0, 'site-packages-of-mine')\n"
    rule("fails", text + "        import mine; mine.decide()\n")
    method = parse_method("fails:Rule")
    with pytest.raises(InputError, match=r"mine.py, line 2: (SystemExit|ValueError)"):
        ask_plan(method, make_situation(0))


def test_a_fault_in_a_library_is_where_the_rule_called_it(rule):
    text = "    def decide(self, problem):\n        import json; json.loads('{')\n"
    rule("reads", RULE + text)
    with pytest.raises(InputError, match=r"reads.py, line 9: JSONDecodeError"):
        ask_plan(parse_method("reads:Rule"), make_situation(0))


def test_a_rule_may_quit_nowhere(rule):
    text = RULE + "    def scheme(self, costs, limits): raise SystemExit(3)\n"
    rule("quits_scheme", text)
    method, situation = parse_method("quits_scheme:Rule"), make_situation(0)
    with pytest.raises(InputError, match="`scheme` at .*scheme.py, line 8: SystemExit"):
        ask_scheme(method, situation.costs, situation.limits)
    rule("quits_made", RULE + "    def __post_init__(self): raise SystemExit(3)\n")
    with pytest.raises(InputError, match="be made at .*made.py, line 8: SystemExit"):
        parse_method("quits_made:Rule")


def test_a_rule_of_one_that_is_none_says_what_is_missing(rule):
    rule("melts", RULE.replace("(frozen=True)", "") + "    rate: float = 0.5\n")
    with pytest.raises(InputError, match=r"; write @dataclass\(frozen=True\) above"):
        parse_method("melts:Rule")


def test_a_rule_of_the_working_directory_is_a_method(rule):
    rule("even_a", GOOD)
    method = parse_method("even_a:Even:rate=0.25:whole=true:mode=b")
    assert (method.rate, method.whole, method.best_s) == (0.25, True, None)
    assert label_of("even_a:Even:rate=0.25") == "Even rate=0.25"
    assert name_of(" even_a:Even:rate=0.25") == "even_a:Even"
    assert parse_method("even_a:Holder.Inner") == parse_method("even_a:Even")
    options = {"even_a:Even": {"rate": 0.3, "best_s": 2}}
    assert parse_method("even_a:Even", options).best_s == 2.0
    assert parse_method("even_a:Even:rate=0.4", options).rate == 0.4
    assert parse_method("ubfp", options) == Ubfp()


def test_a_rule_in_a_package_too(rule):
    rule("pkg_a/__init__", "")
    rule("pkg_a/rules", GOOD)
    assert parse_method("pkg_a.rules:Even").rate == 0.5
    assert run_name(Config(method="pkg_a.rules:Even:rate=0.5")) == (
        "pkg_a.rules-Even-rate-0.5-s0"
    )


def test_the_same_decision_is_the_same_plan(rule):
    # Everyone alike at beta_bar is UBFP, so the plans agree to the bit.
    rule("even_b", GOOD)
    situation = make_situation(0, beta_bar=0.5)
    method = parse_method("even_b:Even")
    ours, theirs = ask_plan(method, situation), Ubfp().plan(situation)
    for name in ("bandwidth_hz", "prune_rate", "total_s", "down_bits"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    costs, limits = situation.costs, situation.limits
    assert ask_scheme(method, costs, limits) == Ubfp().scheme(costs, limits)


RULE = HEAD + "@dataclass(frozen=True)\nclass Rule(tw.PruningRule):\n"
BAD = {
    "no_module": (None, "no module `no_module` in the working directory /"),
    "broken": ("x = 1\ny = x / 0\n", r"broken.py, line 2: ZeroDivisionError"),
    "syntax": ("def f(:\n", r"syntax.py, line 1: SyntaxError: "),
    "quits": ("import sys\nsys.exit(3)\n", r"quits.py, line 2: SystemExit: 3"),
    "lacks": ("import no_such_library_x\n", "line 1: ModuleNotFoundError: No module"),
    "empty": ("", r"empty.py has no `Rule`; its classes: none"),
    "function": ("def Rule(): pass\n", "is a function, not a class"),
    "plain": ("class Rule: pass\n", "is no dataclass; write @dataclass"),
    "undecorated": (
        HEAD + "class Rule(tw.PruningRule):\n    rate: float = 1.0\n",
        "is no dataclass; write @dataclass",
    ),
    "thawed": (
        HEAD + "@dataclass\nclass Rule:\n    label = 'x'\n",
        "can be changed; write @dataclass.frozen=True",
    ),
    "planless": (
        HEAD + "@dataclass(frozen=True)\nclass Rule:\n    label = 'x'\n",
        "it has no `scheme` .* and `plan` .who gets what",
    ),
    "typed": (RULE + "    rate: list = None\n", "option `rate` of `Rule` is of type"),
    "unread": (
        RULE.replace("\nfrom", "from __future__ import annotations\nfrom", 1)
        + "    rate: Nowhere = 1\n",
        "types of `Rule`'s options cannot be read: name 'Nowhere' is not defined",
    ),
    "needy": (
        HEAD + "@dataclass(frozen=True, kw_only=True)\n"
        "class Rule(tw.PruningRule):\n    rate: float\n",
        "option `rate` of `needy:Rule` has no default; .* needy:Rule:rate=",
    ),
    "choosy": (
        RULE + "    def __post_init__(self):\n        raise ValueError('no')\n",
        "choosy.py, line 9: ValueError: no. The fault is in the rule, not in trimwave",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_method_is_refused_in_a_line(rule, name):
    text, message = BAD[name]
    if text is not None:
        rule(name, text)
    with pytest.raises(InputError, match=message) as refused:
        parse_method(f"{name}:Rule")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("my_rule.py:Rule", "name a module, not a file: my_rule:Rule for my_rule.py"),
        ("folder/rule:Rule", "name a module, not a file"),
        ("a-b:Rule", "is no package.module:Class"),
        ("json:", "is no package.module:Class"),
        ("json:loads", "is a function, not a class"),
        ("my_rule", "A rule of your own is named module:Class"),
    ],
)
def test_what_is_no_name_of_a_rule(rule, text, message):
    with pytest.raises(InputError, match=message):
        parse_method(text)


def test_a_file_that_a_module_hides_is_named(rule):
    rule("json", GOOD)
    with pytest.raises(InputError, match="`json` is .*json/__init__.py, not json.py"):
        parse_method("json:Even")


DECISIONS = {
    "boom": ("1 / 0", r"failed in `plan` at .*boom.py, line 10: ZeroDivisionError"),
    "none": ("None", "must return kept and bandwidth_hz, two arrays, got NoneType"),
    "short": ("ones[1:], hz", r"got kept of shape \(7,\) for 8 clients"),
    "nan": ("ones * 0.5, hz * np.nan", "got nan as bandwidth_hz of client 0"),
    "greedy": ("ones * 0.5, hz * 2", "the decision of Rule breaks P1: C1: "),
    "lazy": ("ones * 0.3, hz", "breaks P1: C5: "),
    "tiny": ("ones * 0.01, hz", "breaks P1: C4: client 0: .* C4: client 1: "),
    "hand": ("problem.cell.num_samples.fill(1), hz", "line 10: ValueError: .*read-on"),
    "ours": ("problem.cell.take('x'), hz", r"rule_ours.py, line 10: IndexError"),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_a_bad_decision_is_the_rules_own_fault(rule, name):
    what, message = DECISIONS[name]
    text = RULE + (
        "    def decide(self, problem):\n        K = problem.cell.num_clients\n"
        f"        ones, hz = np.ones(K), np.ones(K) * 1e8 / K; return {what}\n"
    )
    rule(f"rule_{name}", text)
    situation = make_situation(0, num_clients=8, beta_bar=0.5)
    with pytest.raises(InputError, match=message) as refused:
        ask_plan(parse_method(f"rule_{name}:Rule"), situation)
    assert "\n" not in str(refused.value)


def test_a_plan_that_is_none_is_refused(rule):
    text = HEAD + (
        "@dataclass(frozen=True)\nclass Rule:\n    label = 'mine'\n"
        "    def scheme(self, costs, limits): return None\n"
        "    def plan(self, situation): return {}\n"
    )
    rule("bare_rule", text)
    method, situation = parse_method("bare_rule:Rule"), make_situation(0)
    with pytest.raises(InputError, match="method mine returned dict instead of a `Pl"):
        ask_plan(method, situation)
    with pytest.raises(InputError, match="scheme of method mine is NoneType instead"):
        ask_scheme(method, situation.costs, situation.limits)


def test_a_fault_of_ours_stays_one():
    class Broken(Jcpba):
        def plan(self, situation):
            raise IndexError("ours")

    Broken.__module__ = "trimwave.methods.jcpba"
    with pytest.raises(IndexError, match="ours"):
        ask_plan(Broken(), make_situation(0))


def test_types_may_be_written_as_text(rule):
    rule("later", "from __future__ import annotations\n" + GOOD)
    assert parse_method("later:Even:rate=0.25:mode=b:best_s=3").best_s == 3.0


def test_facts_say_which_rule_it_was(rule):
    path = rule("dated", GOOD)
    first = facts_of_rule("dated:Even:rate=0.1")["rule"]
    assert first["class"] == "dated:Even" and first["file"].startswith("sha256:")
    path.write_text(GOOD + "\n")  # what was loaded stays what it was
    assert facts_of_rule("dated:Even")["rule"] == first
    del sys.modules["dated"]
    assert facts_of_rule("dated:Even")["rule"]["file"] != first["file"]
    assert facts_of_rule("jcpba:solver=bcd") == {}


@dataclass(frozen=True)
class Here(tw.PruningRule):
    """A rule in a module that is loaded already."""

    rate: float = 0.5
    depth: int | None = None


def test_objects_are_written_as_names():
    assert text_of("ubfp:adapter=lora") == "ubfp:adapter=lora"
    assert text_of(Jcpba()) == text_of(Jcpba) == "jcpba"
    assert text_of(Jcpba(solver="bcd")) == "jcpba:solver=bcd"
    name = f"{__name__}:Here"
    assert text_of(Here) == text_of(Here()) == name
    for given in (Here(rate=0.1), Here(depth=3), Here(learning_rate=1e-7)):
        assert parse_method(text_of(given)) == given
    with pytest.raises(InputError, match="`rate` of .* a finite number, got 'much'"):
        text_of(Here(rate="much"))

    @dataclass(frozen=True)
    class Local(tw.PruningRule):
        """Nobody can import it."""

    with pytest.raises(InputError, match="made inside a function; define it at the"):
        text_of(Local())


def test_methods_of_one_label_are_told_apart(rule):
    rule("one", GOOD)
    rule("two", GOOD)
    assert method_texts("one:Even,two:Even:rate=0.2", {})
    with pytest.raises(InputError, match="one:Even as Even, two:Even as Even; give a"):
        method_texts("one:Even,two:Even", {})
    with pytest.raises(InputError, match="must name each method once, got"):
        method_texts("one:Even,one:Even:rate=0.5", {})


@pytest.fixture
def packages(rule, monkeypatch):
    """Make believe that packages with entry points are installed."""
    rule("good_pkg", GOOD)
    found = [
        importlib.metadata.EntryPoint(name, value, registry.GROUP)
        for name, value in (
            ("even", "good_pkg:Even"),
            ("gone", "gone_pkg:Rule"),
            ("jcpba", "good_pkg:Even"),
        )
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: found)


def test_entry_points_are_methods_and_a_broken_one_hides_no_other(packages):
    assert parse_method("even:rate=0.2").rate == 0.2
    assert parse_method("jcpba") == Jcpba()
    assert facts_of_rule("even")["rule"]["package"] == "an unnamed package"
    listed = {one.name: one for one in installed()}
    assert listed["even"].kind.__name__ == "Even" and not listed["even"].flaw
    assert "no module `gone_pkg`" in listed["gone"].flaw
    assert "trimwave has a method of that name itself" in listed["jcpba"].flaw
    with pytest.raises(InputError, match="no method `eve`; did you mean `even`"):
        parse_method("eve")


def test_nothing_is_registered_by_hand():
    with pytest.raises(TypeError):
        METHODS["mine"] = Here
    with pytest.raises(AttributeError, match=r"named module:Class, as docs/extend.md"):
        tw.METHODS  # noqa: B018

"""Every piece of Python in README and docs runs, and prints what stands behind it."""

import contextlib
import io
import itertools
import tomllib

import pytest
from commands import EXAMPLES
from pages import ALL_BLOCKS, PAGES, ROOT, blocks_of, name_of
from printed import assert_same

from trimwave.methods import parse_method
from trimwave.recipe.recipe import load_config

WITH_CODE = [
    page for page in PAGES if any(one.kind == "python" for one in blocks_of(page))
]


def test_the_pages_with_code_are_found():
    assert {"README.md", "docs/planner.md"} <= {name_of(page) for page in WITH_CODE}


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_code_prints_what_it_says(page, monkeypatch, rules_forgotten):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    names = {}
    for block, then in itertools.pairwise([*blocks_of(page), None]):
        if block.kind != "python":
            continue
        assert then and then.kind == "text", f"{block}: its output follows each code"
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(compile(block.text, str(block), "exec"), names)
        assert_same(then.text, out.getvalue())


def test_an_example_on_a_page_is_the_file():
    shown = [block for block in ALL_BLOCKS if block.kind == "python example"]
    assert [EXAMPLES.get(block.text, f"{block} differs") for block in shown] == [
        "proportional.py"
    ]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_output_follows_code(page):
    # A block of output that belongs to no code would be compared with nothing.
    for before, block in itertools.pairwise([None, *blocks_of(page)]):
        if block.kind == "text":
            assert before and before.kind == "python", block


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_recipes_load(page, tmp_path):
    for block in blocks_of(page):
        if block.kind == "toml":
            path = tmp_path / "my.toml"
            path.write_text(block.text)
            config = load_config(path)
            assert config.name == tomllib.loads(block.text)["name"]
            parse_method(config.method, config.options)

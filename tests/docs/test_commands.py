"""Every command of README and docs: run, or followed as far as is cheap."""

import json
import re

import pytest
import typer
from commands import files_of, way_of
from pages import (
    ALL_BLOCKS,
    ALL_COMMANDS,
    KINDS,
    PAGES,
    PROGRAMS,
    ROOT,
    Command,
    name_of,
    prose_of,
)
from printed import assert_same

from trimwave.cli.app import app
from trimwave.recipe.config import Config
from trimwave.report.summary import COLUMNS

SHOWN = [command for command in ALL_COMMANDS if command.shown is not None]
FOLLOWED = [command for command in ALL_COMMANDS if command.shown is None]
FOLLOWED = [
    command
    for number, command in enumerate(FOLLOWED)
    if command.words not in [before.words for before in FOLLOWED[:number]]
]
"""A command that several pages name is followed once."""


@pytest.fixture
def folder_of(tmp_path, monkeypatch, rules_forgotten):
    """Return a function that goes to a folder with the files of a page's commands."""

    def _go(command):
        monkeypatch.chdir(tmp_path)
        blocks = [block for block in ALL_BLOCKS if block.page == command.page]
        for name, content in files_of(blocks).items():
            (tmp_path / name).write_text(content)

    return _go


def needs(command):
    if command.words[:2] == ("trimwave", "sweep"):
        pytest.importorskip("pyarrow")


@pytest.mark.parametrize("command", FOLLOWED, ids=str)
def test_a_command_is_one(command, folder_of, monkeypatch):
    needs(command)
    folder_of(command)
    way_of(command)(command, monkeypatch)


@pytest.mark.parametrize("command", SHOWN, ids=str)
def test_a_command_prints_what_is_shown(command, folder_of, monkeypatch, capsys):
    needs(command)
    folder_of(command)
    options = {"whole": True} if command.program == "trimwave" else {}
    way_of(command)(command, monkeypatch, **options)
    out, err = capsys.readouterr()
    assert err == ""
    assert_same(command.shown, out)


@pytest.mark.parametrize(
    "line",
    [
        "trimwave runs",
        "trimwave run --round 3",
        "trimwave run no-such-recipe",
        "trimwave run --set cell.clients=3",
        "trimwave compare --methods jcpba,nobody",
        "trimwave compare --methods fedbiot:dropped=0.5",
        "trimwave sweep default --vary cell.path_loss_db=60,94",
        "trimwave models fetch gpt2",
        "trimwave export runs/default-jcpba-s0 --to model --adapter",
        "trimwave export runs/default-jcpba-s0 --to model --round 9",
        "trimwave export runs/default-jcpba-s0",
        "python examples/own_chat_to_model.py --chats 20",
        "make demos",
        "make lock UPGRADES=-U",
        "pip install .[ml]",
        "pytest tests/no_such_file.py",
        "python benchmarks/planner.py scale --limits 20",
        "python benchmarks/no_such_file.py",
        "git diff no_such_file.txt",
        "conda install trimwave",
    ],
)
def test_a_wrong_command_is_seen(line, folder_of, monkeypatch):
    # The checks above can fail: each of these is almost a command.
    command = Command("docs/cli.md", 0, tuple(line.split()))
    needs(command)
    folder_of(command)
    with pytest.raises((AssertionError, KeyError, OSError, SystemExit)):
        way_of(command)(command, monkeypatch)


def test_nothing_is_passed_over():
    for block in ALL_BLOCKS:
        assert block.kind in KINDS, f"{block}: say what `{block.kind}` is"
    for page in PAGES:
        fences = re.findall(r"^ *(?:```|~~~)", page.read_text("utf-8"), re.MULTILINE)
        of_page = [block for block in ALL_BLOCKS if block.page == name_of(page)]
        assert len(fences) == 2 * len(of_page), page
        for line in prose_of(page).splitlines():
            programs = "|".join(PROGRAMS)
            assert not re.match(rf"(?: {{4,}}|\t)(\$ )?({programs}) ", line), (
                f"{page}: put this command in a fence: {line}"
            )


def test_recorded_output_says_where_it_comes_from():
    recorded = [block for block in ALL_BLOCKS if block.kind == "text recorded"]
    assert len(recorded) >= 5
    for block in recorded:
        words = set(block.text.split())
        assert {word for title in COLUMNS.values() for word in title.split()} <= words
        page = (ROOT / block.page).read_text("utf-8")
        assert re.search(r"\b20\d\d-\d\d-\d\d\b", page), block
        assert "EPYC" in page, block
        assert any(
            one.line < block.line
            and one.page == block.page
            and one.words[:2] in (("make", "demo"), ("trimwave", "compare"))
            for one in ALL_COMMANDS
        ), block


def test_the_command_line_page_names_everything():
    text = (ROOT / "docs/cli.md").read_text("utf-8")
    commands = dict(typer.main.get_command(app).commands)
    for name, command in list(commands.items()):
        for inner, one in getattr(command, "commands", {}).items():
            commands[f"{name} {inner}"] = one
    for name, command in commands.items():
        assert f"`trimwave {name}`" in text, name
        for parameter in command.params:
            for option in parameter.opts:
                if option.startswith("--"):
                    assert re.search(rf"{option}\b", text), (name, option)


def test_config_keys_in_the_text_exist():
    tree = Config().to_dict()
    sections = {name for name, value in tree.items() if value and type(value) is dict}
    pattern = rf"`(?:--set )?({'|'.join(sections)})\.(\w+)(?:=[^`]*)?`"
    found = [
        (section, key)
        for page in PAGES
        for section, key in re.findall(pattern, prose_of(page))
        if key not in ("py", "csv")
    ]
    assert len(found) > 15
    for section, key in found:
        assert key in tree[section], f"{section}.{key}"
    text = (ROOT / "docs/cli.md").read_text("utf-8")
    assert all(f"| `{section}` |" in text for section in (*sections, "options"))


def test_exit_codes_are_those_of_the_page(folder_of, monkeypatch, capsys):
    text = (ROOT / "docs/cli.md").read_text("utf-8")
    _, _, table = text.partition("## Exit codes")
    listed = re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE)
    assert listed == ["0", "2", "130, 143, 129", "1", "70"]
    folder_of(Command("docs/cli.md", 0, ()))

    def code(*words):
        monkeypatch.setattr("sys.argv", ["trimwave", *words])
        with pytest.raises(SystemExit) as ended:
            from trimwave.cli import main

            main()
        return ended.value.code or 0

    monkeypatch.setattr("warnings.showwarning", None)
    assert code("plan", "cell.csv", "--json") == 0
    assert json.loads(capsys.readouterr().out)["status"] == "optimal"
    assert code("plan", "--no-such-option") == 2
    assert code("plan", "--set", "limits.beta_bar=0.01") == 2  # cannot be planned
    monkeypatch.setattr("trimwave.cli.arguments.load", interrupted)
    assert code("plan") == 130
    monkeypatch.setattr("trimwave.cli.arguments.load", mistaken)
    assert code("plan") == 70


def interrupted(*_):
    raise KeyboardInterrupt


def mistaken(*_):
    raise AssertionError("a mistake of ours")

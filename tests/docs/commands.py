"""How each command in the docs is checked: run, or followed as far as is cheap.

Commands of `trimwave` run on the real command line. Where training, a long sweep or a
download would begin they are stopped; by then recipe, options, methods, keys and values
have been read and checked by the code that a user's command is read by.
"""

import argparse
import ast
import runpy
import shutil
import sys
import tomllib
import types
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, SCRIPTS, Command

import trimwave.sweep.sweep as sweeping
from trimwave.api import training
from trimwave.cli import app as cli
from trimwave.cli import arguments
from trimwave.cli import measure as measuring
from trimwave.methods import parse_method
from trimwave.model.names import KNOWN_MODELS
from trimwave.net.keys import make_ca, make_client_key, make_server_certificate
from trimwave.runs.comparison import Comparison, run_name
from trimwave.runs.records import Run

STAND_INS = {"SOURCE": "default"}
"""Words of a command that the reader replaces."""

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
FETCH = "trimwave.lm.source.fetch"


EXPORT = "trimwave.lm.export"
LONG_EXAMPLES = ("before_and_after.py", "own_chat_to_model.py")
"""Examples that train or load a real model."""


class Stopped(BaseException):
    """Raised where the long part of a command would begin."""


def stop(*_: object, **__: object) -> None:
    """Stand in for the long part."""
    raise Stopped


NETWORK = ("serve", "emulate", "join", "profile")
"""Commands of a run over a network."""

NAMES = (["join"], ["keys"], ["export"], ["keys", "server"], ["keys", "client"])
"""Commands that need an argument, when a page only names them."""

WRITERS = dict.fromkeys(
    ("write_merged", "write_pruned", "write_adapter", "licence_on_hub"), stop
)
"""What stands in for `lm.export`."""


def call(function: Callable[[], object]) -> None:
    """Call what may stop, or exit as a program does that went well."""
    try:
        function()
    except Stopped:
        pass
    except SystemExit as end:
        assert not end.code


def run_trimwave(
    command: Command, patch: pytest.MonkeyPatch, *, whole: bool = False
) -> None:
    """Run on the real command line, up to where training would begin."""
    words = [STAND_INS.get(word, word) for word in command.words]
    patch.setattr(sys, "argv", words)
    patch.setattr(warnings, "showwarning", warnings.showwarning)  # `main` sets it
    patch.setenv("COLUMNS", "80")
    patch.setattr(training, "run_all", _stop_before_training)
    patch.setattr(training, "run_over_network", _stop_before_a_server)
    patch.setattr(measuring, "_measured", stop)
    if words[1] == "tune":
        patch.setattr("trimwave.lm.workbench.build_workbench", stop)
    if words[1] in NETWORK:
        _leave_keys(words)
        patch.setattr("trimwave.net.serving.require_free_port", lambda *_: None)
        patch.setattr("trimwave.net.serving.join_run", stop)
        patch.setattr("trimwave.net.profile.profile_here", stop)
    if not whole:
        patch.setattr(sweeping, "run_sweep", _stop_before_a_sweep)
    fetching = {"fetch": _stop_before_a_fetch, "cache_folder": lambda: Path("cache")}
    patch.setitem(sys.modules, FETCH, types.SimpleNamespace(**fetching))
    if words[1:] in NAMES:  # in a table
        words.append("--help")
        patch.setattr(sys, "argv", words)
    elif words[1] == "export":
        _leave_rounds(Path(words[2]))
        patch.setitem(sys.modules, EXPORT, types.SimpleNamespace(**WRITERS))
    if "--resume" in words:
        _begin(words[1], Path(words[words.index("--resume") + 1]))
    call(cli.main)


def _stop_before_training(runs: Any, *_: object, **__: object) -> None:
    for config in runs.values():
        parse_method(config.method, config.options)
    raise Stopped


def _stop_before_a_server(folder: Path, config: Any, *_: object) -> None:
    parse_method(config.method, config.options)
    raise Stopped


def _leave_keys(words: Sequence[str]) -> None:
    """Leave the keys and rows that a command names."""
    if "--keys" in words or "--ca" in words:
        folder = Path("keys")
        make_ca(folder)
        make_server_certificate(folder, ["fl.example.org"])
        make_client_key(folder, "ward-1")
    if "--data" in words:
        Path(words[words.index("--data") + 1]).write_text("")


def _stop_before_a_sweep(asked: Any, folder: Path, jobs: int, told: object) -> None:
    assert asked.points() and jobs >= 1
    raise Stopped


def _stop_before_a_fetch(name: str, console: object) -> None:
    assert KNOWN_MODELS[name].hub is None
    raise Stopped


def _begin(verb: str, folder: Path) -> None:
    """Leave in a folder what a command that was stopped leaves there."""
    if verb == "run":
        recipe, _, _ = folder.name.partition("-")
        config = arguments.load(recipe, ())
        assert folder.name == f"{config.name}-{run_name(config)}"
        if not folder.exists():
            Run.create(folder, config, {})
        return
    config = arguments.load(folder.name.removesuffix("-compare"), ())
    if not folder.exists():
        Comparison.of(config, None, None).create(folder)


def _leave_rounds(folder: Path) -> None:
    """Leave in a folder a run of a few rounds, of which every checkpoint is there."""
    if folder.exists():
        return
    recipe, method, _ = folder.name.split("-")
    config = arguments.load(recipe, [f'method="{method}"'])
    assert folder.name == f"{config.name}-{run_name(config)}"
    run = Run.create(folder, config, {})
    for number in range(5):
        record = {"round": number, "loss_full": 1.0}
        run.commit(record, lambda draft: (draft / "x").write_text(""), 0.0, None)


def run_python(command: Command, patch: pytest.MonkeyPatch) -> None:
    """Run the script; read a benchmark's options with its own parser."""
    first, *rest = command.words[1:]
    if first == "-m":
        assert rest[0] in {"trimwave", *sys.stdlib_module_names}
        return
    script = ROOT / first
    patch.setattr(sys, "argv", [str(script), *rest])
    if script.parent.name == "benchmarks" or script.name in LONG_EXAMPLES:
        patch.setattr(argparse.ArgumentParser, "parse_args", _parse_and_stop)
        _only_main(script)
    else:
        call(lambda: runpy.run_path(str(script), run_name="__main__"))


PARSE_ARGS = argparse.ArgumentParser.parse_args


def _parse_and_stop(self: argparse.ArgumentParser, *given: Any) -> None:
    PARSE_ARGS(self, *given)
    raise Stopped


def _only_main(script: Path) -> None:
    """Run a script's `main` without what the script imports, torch for one."""
    tree = ast.parse(script.read_text("utf-8"))
    names: dict[str, Any] = {"argparse": argparse, "Path": Path}
    names["__doc__"] = ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            try:
                names[ast.unparse(node.targets[0])] = ast.literal_eval(node.value)
            except ValueError:
                continue  # not of the command line
        if isinstance(node, ast.FunctionDef) and node.name == "main":
            node.returns = None
            for argument in node.args.args:
                argument.annotation = None
            module = ast.Module([node], [])
            exec(compile(module, str(script), "exec"), names)
    with pytest.raises(Stopped):
        names["main"]()


def find_make(command: Command, patch: pytest.MonkeyPatch) -> None:
    """Find targets and variables in the Makefile."""
    for word in command.words[1:]:
        name, is_variable, _ = word.partition("=")
        mark = " :=" if is_variable else ":"
        assert any(line.startswith(name + mark) for line in MAKEFILE.splitlines()), word
    assert shutil.which("make")


def find_pip(command: Command, patch: pytest.MonkeyPatch) -> None:
    """Find the extras in pyproject.toml."""
    verb, *rest = command.words[1:]
    assert verb == "install"
    for word in rest:
        if word == "-e":
            continue
        place, _, extras = word.partition("[")
        assert place == "."
        known = PROJECT["project"]["optional-dependencies"]
        assert {*filter(None, extras.rstrip("]").split(","))} <= {*known}


def find_pytest(command: Command, patch: pytest.MonkeyPatch) -> None:
    """Find the paths, and the markers in pyproject.toml."""
    words = list(command.words[1:])
    markers = PROJECT["tool"]["pytest"]["ini_options"]["markers"]
    if "-m" in words:
        at = words.index("-m")
        assert words[at + 1] in {marker.partition(":")[0] for marker in markers}
        del words[at : at + 2]
    assert all((ROOT / word).exists() for word in words)


def find_git(command: Command, patch: pytest.MonkeyPatch) -> None:
    """Find the files that `git diff` names; `git tag` names a version."""
    verb, *rest = command.words[1:]
    if verb == "tag":
        assert rest == ["-a", "vX.Y.Z", "-m", "X.Y.Z"]
        return
    assert verb == "diff"
    assert all((ROOT / word).is_file() for word in rest)


def find_source(command: Command, patch: pytest.MonkeyPatch) -> None:
    """Find the environment in the Makefile."""
    (script,) = command.words[1:]
    assert script.endswith("/bin/activate")
    assert f"VENV := {script.removesuffix('/bin/activate')}\n" in MAKEFILE


def find_script(command: Command, patch: pytest.MonkeyPatch) -> None:
    """Find the script, which can be executed."""
    assert len(command.words) == 1
    assert shutil.which(str(ROOT / command.words[0]))


Way = Callable[..., None]

WAYS: dict[str, Way] = {
    "trimwave": run_trimwave,
    "python": run_python,
    "python3": run_python,
    "make": find_make,
    "pip": find_pip,
    "pytest": find_pytest,
    "git": find_git,
    "source": find_source,
    **dict.fromkeys(SCRIPTS, find_script),
}
"""How a program's commands are checked; a program without a way fails."""


def way_of(command: Command) -> Way:
    """Return how a command is checked.

    Raises
    ------
    KeyError
        If nobody has said how.
    """
    return WAYS[command.program]


EXAMPLES = {path.read_text("utf-8"): path.name for path in ROOT.glob("examples/*.py")}
"""Names of the examples by what stands in them."""


def files_of(blocks: Sequence[Any]) -> dict[str, str]:
    """Return the files that a page's commands read: name to content."""
    names = {"csv": "cell.csv", "toml": "my.toml"}
    examples = [one.text for one in blocks if one.kind == "python example"]
    return {
        **{names[one.kind]: one.text for one in blocks if one.kind in names},
        **{EXAMPLES[text]: text for text in examples},
    }

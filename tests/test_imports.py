import ast
import subprocess
import sys

import pytest
from import_graph import (
    ORDER,
    SOURCE,
    TOP,
    arrows,
    folder_of,
    imported,
    modules,
    parts_of,
    runs_back,
)

HEAVY = ("datasets", "peft", "torch", "transformers")
MAY_BE_HEAVY = ("lm", "net")
"""Folders that stand for an extra."""

PLANNING = (
    "analysis",
    "methods",
    "recipe.environment",
    "recipe.recipe",
    "recipe.situation",
    "runs.rounds",
    "solvers",
    "sweep.one_round",
)
"""What an operator who only plans loads."""


def at_import_time(body):
    """Yield the statements that run when a module is imported."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        inner = [child for child in ast.iter_child_nodes(node) if child is not node]
        yield from at_import_time(inner)


def starts_with(name, prefixes):
    return any(name == one or name.startswith(one + ".") for one in prefixes)


def loaded_by(statement, names):
    """Return which of the names a fresh process has loaded after a statement."""
    code = f"import sys\n{statement}\nprint([n for n in {names} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return ast.literal_eval(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("module", ["", *(f".{name}" for name in PLANNING)])
def test_the_core_loads_nothing_heavy(module):
    heavy = (*HEAVY, "flwr", "matplotlib", "scipy")
    assert loaded_by(f"import trimwave{module}", heavy) == []


@pytest.mark.parametrize(
    ("words", "unloaded"),
    [("--help", (*HEAVY, "numpy", "matplotlib")), ("models", (*HEAVY, "matplotlib"))],
)
def test_a_command_loads_what_it_needs(words, unloaded):
    code = (
        f"from trimwave.cli import main\nsys.argv = ['trimwave', *{words.split()}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert loaded_by(code, unloaded) == []


def test_fetching_loads_no_torch_where_there_is_nothing_to_convert():
    pytest.importorskip("platformdirs")
    assert loaded_by("import trimwave.lm.source.fetch", HEAVY) == []


def test_only_the_extras_folders_import_their_libraries():
    forbidden, breaches = (*HEAVY, "trimwave.lm"), []
    for path in modules():
        if parts_of(path)[0] in MAY_BE_HEAVY:
            continue
        tree = ast.parse(path.read_text())
        # What runs may import inside its functions.
        lazy = parts_of(path)[0] in ("api", "cli")
        nodes = at_import_time(tree.body) if lazy else ast.walk(tree)
        for name in imported(nodes, path):
            if starts_with(name, forbidden):
                breaches.append(f"{'/'.join(parts_of(path))} imports {name}")
    assert breaches == []


def test_the_core_imports_numpy_alone():
    """What a method needs of SciPy is imported where it needs it."""
    free = (*MAY_BE_HEAVY, "api", "cli", "report")
    known = {*sys.stdlib_module_names, "numpy", "trimwave"}
    breaches = []
    for path in modules():
        if parts_of(path)[0] in free:
            continue
        nodes = at_import_time(ast.parse(path.read_text()).body)
        for name in imported(nodes, path):
            if name.partition(".")[0] not in known:
                breaches.append(f"{'/'.join(parts_of(path))} imports {name}")
    assert breaches == []


def test_no_folder_imports_a_higher_one():
    found = arrows()
    assert [found[arrow] for arrow in found if runs_back(arrow)] == []


def test_every_folder_has_its_place():
    folders = {
        ".".join(parts_of(path)[:-1]) for path in modules() if len(parts_of(path)) > 1
    }
    assert folders == set(ORDER)
    assert len([path for path in SOURCE.iterdir() if path.is_file()]) <= 3


def test_every_folder_says_its_job():
    for folder in ORDER:
        path = SOURCE.joinpath(*folder.split("."), "__init__.py")
        assert ast.get_docstring(ast.parse(path.read_text())), folder


def test_the_checks_see_what_they_forbid():
    code = (
        "import torch.nn\n"
        "try:\n    from trimwave import lm\nexcept ImportError:\n    pass\n"
        "from ..solvers import exact\n"
        "def f():\n    import peft\n"
    )
    tree, path = ast.parse(code), SOURCE / "problem" / "latency.py"
    early = list(imported(at_import_time(tree.body), path))
    assert early == ["torch.nn", "trimwave.lm", "trimwave.solvers.exact"]
    assert "peft" in list(imported(ast.walk(tree), path))
    assert starts_with("torch.nn", HEAVY)
    assert not starts_with("torchvision", HEAVY)
    assert folder_of(("lm", "wire", "package")) == "lm.wire"
    assert folder_of(("lm", "server")) == "lm" and folder_of(("errors",)) == TOP
    assert runs_back(("problem", "solvers")) and runs_back(("lm.wire", "lm"))
    assert runs_back(("problem", TOP)) and not runs_back(("lm", "lm.wire"))

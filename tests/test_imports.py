import ast
import subprocess
import sys
from pathlib import Path

import trimwave

SOURCE = Path(trimwave.__file__).parent
HEAVY = ("datasets", "peft", "torch", "transformers")
MAY_BE_HEAVY = ("lm", "flower")
"""Folders that stand for an extra."""

LAYERS = (
    ("constraints", "errors", "provenance", "streams", "submodel", "units"),
    ("channel", "piecewise", "roots", "shapes"),
    ("cell", "config", "limits", "pieces"),
    ("latency", "recipe", "workload"),
    ("costs", "problem", "records"),
    ("solution",),
    ("solvers",),
    ("planner",),
    ("plan",),
    ("pricing",),
    ("methods",),
    ("environment",),
    ("comparison", "planning", "rounds"),
    ("draws", "grid"),
    ("sweep",),
)
"""Lowest first; a part imports itself and lower layers only."""


def parts_of(path):
    """Return a module's place in the package: ("solvers", "exact")."""
    return path.relative_to(SOURCE).with_suffix("").parts


def imported(nodes, path):
    """Yield the full dotted name of everything that import statements bind."""
    package = ("trimwave", *parts_of(path)[:-1])
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *([node.module] if node.module else [])))
            yield from (f"{stem}.{alias.name}" for alias in node.names)


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


def test_the_core_loads_nothing_heavy():
    heavy = (*HEAVY, "flwr", "matplotlib", "scipy")
    code = (
        "import sys, trimwave, trimwave.methods, trimwave.solvers, "
        "trimwave.environment, trimwave.planning, trimwave.recipe, trimwave.rounds\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_only_the_extras_folders_import_their_libraries():
    forbidden, breaches = (*HEAVY, "trimwave.lm"), []
    for path in SOURCE.rglob("*.py"):
        if parts_of(path)[0] in MAY_BE_HEAVY:
            continue
        tree = ast.parse(path.read_text())
        # The command line may import inside its commands.
        lazy = parts_of(path) == ("cli",)
        nodes = at_import_time(tree.body) if lazy else ast.walk(tree)
        for name in imported(nodes, path):
            if starts_with(name, forbidden):
                breaches.append(f"{'/'.join(parts_of(path))} imports {name}")
    assert breaches == []


def test_the_core_imports_numpy_alone():
    """What a method needs of SciPy is imported where it needs it."""
    free = (*MAY_BE_HEAVY, "cli", "report")
    known = {*sys.stdlib_module_names, "numpy", "trimwave"}
    breaches = []
    for path in SOURCE.rglob("*.py"):
        if parts_of(path)[0] in free:
            continue
        nodes = at_import_time(ast.parse(path.read_text()).body)
        for name in imported(nodes, path):
            if name.partition(".")[0] not in known:
                breaches.append(f"{'/'.join(parts_of(path))} imports {name}")
    assert breaches == []


def test_no_part_imports_a_higher_layer():
    height = {part: index for index, layer in enumerate(LAYERS) for part in layer}
    seen, breaches = set(), []
    for path in SOURCE.rglob("*.py"):
        part = parts_of(path)[0]
        if part not in height:
            continue
        seen.add(part)
        for name in imported(at_import_time(ast.parse(path.read_text()).body), path):
            package, _, rest = name.partition(".")
            target = rest.partition(".")[0]
            if package != "trimwave" or target == part:
                continue
            if height.get(target, len(LAYERS)) >= height[part]:
                breaches.append(f"{'/'.join(parts_of(path))} imports {name}")
    assert breaches == []
    assert seen == set(height)


def test_the_checks_see_what_they_forbid():
    code = (
        "import torch.nn\n"
        "try:\n    from trimwave import lm\nexcept ImportError:\n    pass\n"
        "from .solvers import exact\n"
        "def f():\n    import peft\n"
    )
    tree, path = ast.parse(code), SOURCE / "problem.py"
    early = list(imported(at_import_time(tree.body), path))
    assert early == ["torch.nn", "trimwave.lm", "trimwave.solvers.exact"]
    assert "peft" in list(imported(ast.walk(tree), path))
    assert starts_with("torch.nn", HEAVY)
    assert not starts_with("torchvision", HEAVY)

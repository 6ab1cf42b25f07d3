import ast
import doctest
import importlib
from pathlib import Path

import pytest

import trimwave

SOURCE = Path(trimwave.__file__).parent


def exported(path):
    """Return a module's `__all__` as written, or None."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign):
            names = [one.id for one in node.targets if isinstance(one, ast.Name)]
            if "__all__" in names:
                return ast.literal_eval(node.value)
    return None


def dotted(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


WITH_ALL = [path for path in sorted(SOURCE.rglob("*.py")) if exported(path) is not None]
EXTRAS = {"lm": "torch", "flower": "flwr", "report": "matplotlib"}


def test_the_packages_say_what_they_export():
    assert {"trimwave.methods", "trimwave.solvers"} <= {dotted(one) for one in WITH_ALL}


@pytest.mark.parametrize("path", WITH_ALL, ids=dotted)
def test_every_exported_name_exists(path):
    folder = path.relative_to(SOURCE).parts[0]
    if folder in EXTRAS:
        pytest.importorskip(EXTRAS[folder])
    module = importlib.import_module(dotted(path))
    assert [name for name in exported(path) if not hasattr(module, name)] == []


@pytest.mark.parametrize("path", WITH_ALL, ids=dotted)
def test_exports_are_sorted_constants_then_classes_then_functions(path):
    names = exported(path)
    assert len(set(names)) == len(names)

    def key(name):
        kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
        return kind, name

    assert names == sorted(names, key=key)


def test_the_example_in_the_docstring_is_true():
    assert doctest.testmod(trimwave).failed == 0

"""The folders of the package and what they import of one another.

``python tests/import_graph.py`` prints them in the order of the data's way, with the
arrows between them, those that run back, and the files that lie in no folder.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "trimwave"

ORDER = (
    "base",
    "cell",
    "model",
    "problem",
    "solvers",
    "analysis",
    "decision",
    "methods",
    "recipe",
    "runs",
    "sweep",
    "lm.surgery",
    "lm.source",
    "lm.data",
    "lm.wire",
    "lm.states",
    "lm.train",
    "lm",
    "net.links",
    "net.blobs",
    "net",
    "report",
    "api",
    "cli",
)
"""Lowest first; a folder imports itself and lower ones only."""

TOP = "(top)"
"""Stands for files that lie in no folder; they may import anything."""

Arrow = tuple[str, str]


def parts_of(path: Path) -> tuple[str, ...]:
    """Return a module's place in the package: ("solvers", "exact")."""
    return path.relative_to(SOURCE).with_suffix("").parts


def folder_of(parts: tuple[str, ...]) -> str:
    """Return the folder that a module's place is in: "solvers", "lm.wire"."""
    dotted = ".".join(parts[:2])
    if dotted in ORDER:
        return dotted
    return parts[0] if parts and parts[0] in ORDER else TOP


def imported(nodes: Iterable[ast.AST], path: Path) -> Iterator[str]:
    """Yield the full dotted name of everything that import statements bind."""
    package = ("trimwave", *parts_of(path)[:-1])
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *([node.module] if node.module else [])))
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def modules() -> list[Path]:
    """Return every file of the package."""
    return sorted(SOURCE.rglob("*.py"))


def arrows() -> dict[Arrow, list[str]]:
    """Return who imports what: (importing folder, imported folder) to examples.

    Imports inside functions count too.
    """
    found: dict[Arrow, list[str]] = {}
    for path in modules():
        here = folder_of(parts_of(path)[:-1])
        for name in imported(ast.walk(ast.parse(path.read_text())), path):
            package, *rest = name.split(".")
            there = folder_of(tuple(rest))
            if package == "trimwave" and there != here:
                line = f"{'/'.join(parts_of(path))} imports {name}"
                found.setdefault((here, there), []).append(line)
    return found


def runs_back(arrow: Arrow) -> bool:
    """Whether a folder imports one that is not lower."""
    here, there = arrow
    if here == TOP:
        return False
    return there == TOP or ORDER.index(there) >= ORDER.index(here)


def main() -> None:
    """Print the graph."""
    found = arrows()
    for folder in ORDER:
        lower = [there for here, there in found if here == folder]
        print(f"{folder:12} {', '.join(sorted(lower, key=ORDER.index)) or '-'}")
    back = [arrow for arrow in found if runs_back(arrow)]
    between = [arrow for arrow in found if TOP not in arrow]
    top = [path.name for path in SOURCE.iterdir() if path.is_file()]
    print(
        f"{len(ORDER)} folders, {len(between)} arrows, {len(back)} back; "
        f"{len(top)} files in no folder: {', '.join(sorted(top))}"
    )


if __name__ == "__main__":
    main()

"""Where the names of 0.3.0 went: importing one from its old place says so.

For one release; 0.5.0 drops it.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from typing import Any, NoReturn

MODULES = {
    "arguments": "cli.arguments",
    "channel": "cell.link, cell.fading and base.table",
    "comparison": "runs.comparison",
    "config": "recipe.config",
    "constraints": "problem.violation",
    "costs": "model.costs",
    "draws": "sweep.draws",
    "environment": "recipe.environment",
    "errors": "base.errors",
    "grid": "sweep.grid",
    "latency": "problem.latency",
    "limits": "problem.limits",
    "lm.air": "lm.train.air",
    "lm.align": "lm.train.align",
    "lm.blocks": "lm.surgery.blocks",
    "lm.client": "lm.train.client",
    "lm.encode": "lm.data.encode",
    "lm.evaluate": "lm.train.evaluate",
    "lm.fetch": "lm.source.fetch",
    "lm.files": "lm.data.files",
    "lm.importance": "lm.surgery.importance",
    "lm.models": "lm.source.models",
    "lm.package": "lm.wire.package, lm.wire.receive and lm.wire.ledger",
    "lm.proximal": "lm.train.proximal",
    "lm.prune": "lm.surgery.prune and lm.surgery.ranking",
    "lm.pruned_model": "lm.surgery.pruned_model",
    "lm.quantise": "lm.train.quantise",
    "lm.rows": "lm.data.rows",
    "lm.split": "lm.surgery.split",
    "lm.tasks": "lm.data.tasks",
    "lm.tensor_files": "lm.wire.tensor_files",
    "lm.tune": "lm.train.tune and lm.wire.ledger",
    "partition": "cell.partition",
    "pieces": "problem.pieces",
    "piecewise": "base.curve",
    "plan": "decision",
    "planning": "recipe.situation and sweep.one_round",
    "planner": "analysis",
    "pricing": "decision.predict",
    "provenance": "base.provenance",
    "records": "runs.records",
    "roots": "base.roots",
    "rounds": "runs.rounds",
    "shapes": "model.shape",
    "solution": "problem.solution",
    "streams": "base.streams",
    "submodel": "model.submodel",
    "units": "base.units",
    "workload": "model.workload and model.workload_of",
    "zoo": "model.names",
}
"""Old module to new, both inside ``trimwave``."""


class _Signpost(MetaPathFinder):
    """Asked after all other finders, so that it hides no module that exists."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        package, _, old = fullname.partition(".")
        if package == "trimwave" and old in MODULES:
            _has_moved(fullname, MODULES[old])


def show_moves() -> None:
    """Have the import of an old module say where it went."""
    if not any(isinstance(finder, _Signpost) for finder in sys.meta_path):
        sys.meta_path.append(_Signpost())


def signpost(package: str, module: str, names: Sequence[str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a folder whose name was a module's with names."""

    def find(name: str) -> Any:
        if name in names:
            _has_moved(f"{package}.{name}", f"{module}.{name}")
        raise AttributeError(f"module `{package}` has no attribute `{name}`")

    return find


def _has_moved(old: str, new: str) -> NoReturn:
    places = new.replace(", ", ", trimwave.").replace(" and ", " and trimwave.")
    raise ImportError(f"`{old}` has moved to trimwave.{places}.", name=old)

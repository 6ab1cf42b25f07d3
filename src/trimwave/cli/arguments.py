"""From what stands on the command line to configs, methods and folders."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from trimwave.base.errors import InputError, nearest
from trimwave.methods import parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.idle import Command, warn_of_keys
from trimwave.recipe.recipe import (
    find_recipe,
    load_config,
    merge_overrides,
    written_keys,
)
from trimwave.runs.records import check_continues

SOLVERS = {"exact": "jcpba:solver=exact", "bcd": "jcpba:solver=bcd", "uniform": "ubfp"}
"""What `plan --solver` is short for."""


def overrides(
    base: Sequence[str] | None, shorthands: Mapping[str, object]
) -> list[str]:
    """Turn shorthand options into `--set` form; a shorthand wins."""
    given = ((key, value) for key, value in shorthands.items() if value is not None)
    return [
        *(base or ()),
        *(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given),
    ]


def load(recipe: str, changes: Sequence[str]) -> Config:
    """Read a recipe by name or path, with overrides.

    Raises
    ------
    InputError
        If anything is wrong with it.
    """
    return load_config(find_recipe(recipe), changes)


def resumed_folder(resume: Path, out: Path | None) -> Path:
    """Return the folder to go on in.

    Raises
    ------
    InputError
        If another one is named beside it.
    """
    if out is not None:
        raise InputError("--resume writes into the folder it names; drop --out.")
    return resume


def continued(
    folder: Path, begun: Config, recipe: str, changes: Sequence[str]
) -> Config:
    """Return what a folder was begun with, and what the command line adds on top.

    Raises
    ------
    InputError
        If that is more than further rounds.
    """
    config = begun if recipe == "default" else load(recipe, ())
    config = merge_overrides(config, changes)
    check_continues(folder, begun, config)
    return config


def planned_method(method: str | None, solver: str | None, recipe: str) -> str:
    """Return the method that `plan` plans with; the recipe's if none is named.

    Raises
    ------
    InputError
        If both are given, or there is no such solver.
    """
    if solver is None:
        return recipe if method is None else method
    if method is not None:
        raise InputError("--solver is short for a --method; give one of them.")
    if solver not in SOLVERS:
        raise InputError(f"no solver `{solver}`; {nearest(solver, SOLVERS)}")
    return SOLVERS[solver]


def check_pareto(method: str | None, solver: str | None) -> None:
    """Refuse a solver on the command line that the trade-off is not solved with.

    Raises
    ------
    InputError
        If one is named and it is not the exact one.
    """
    named = f"--solver {solver}" if solver else f"the solver of `{method}`"
    own = getattr(parse_method(method or "jcpba"), "solver", "exact")
    if (solver or own) != "exact":
        raise InputError(f"--pareto is solved exactly; drop {named}, or drop --pareto.")


def warn_of_idle(
    command: Command,
    recipe: str,
    changes: Sequence[str],
    config: Config,
    also: Sequence[str] = (),
) -> None:
    """Warn of written keys that have no effect on the command.

    `also` is what the command line names besides `changes`: keys that vary, options.
    """
    named, own = written_keys(find_recipe(recipe), changes)
    warn_of_keys(command, config, [*named, *also], own)

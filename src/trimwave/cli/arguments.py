"""From what stands on the command line to configs, methods and folders."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from trimwave.base.errors import InputError, nearest
from trimwave.base.table import TABLE_SUFFIXES, is_table_name
from trimwave.methods import parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.idle import Command, keys_of, warn_of_keys
from trimwave.recipe.overrides import parse_overrides
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


def with_defaults(
    recipe: str, changes: Sequence[str], defaults: Mapping[str, object]
) -> list[str]:
    """Return overrides with what a command has where the user says nothing.

    Raises
    ------
    InputError
        As `load`.
    """
    named, own = written_keys(find_recipe(recipe), changes)
    free = {key: one for key, one in defaults.items() if key not in {*named, *own}}
    return [*overrides((), free), *changes]


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


def planned_cell(
    source: str, cell: Path | None, set_: Sequence[str] | None = None
) -> tuple[str, str | None]:
    """Return the recipe of a plan and the table of its cell, if there is one.

    Raises
    ------
    InputError
        If two tables are named, or one that is none by its name.
    """
    written = {one: keys_of(parse_overrides([one])) for one in set_ or ()}
    named = [one for one, keys in written.items() if "cell.clients" in keys]
    if named and (cell is not None or is_table_name(source)):
        raise InputError(
            f"{cell or source} gives the clients, and so does --set {named[0]}; name "
            "one table."
        )
    if not is_table_name(source):
        if cell is not None and not is_table_name(cell.name):
            raise InputError(
                f"--cell takes a table, {', '.join(TABLE_SUFFIXES)}, got {cell}; a "
                "recipe is named without --cell."
            )
        return source, None if cell is None else str(cell)
    if cell is not None:
        raise InputError(
            f"{source} is a table and so is --cell {cell}; name a recipe, or one table."
        )
    return "default", source


def check_question(
    pareto: bool, deadline_s: float | None, drop: int | None, every: bool
) -> str | None:
    """Return the option that asks for more than a plan, if there is one.

    Raises
    ------
    InputError
        If two of them do, or one cannot be.
    """
    given = {
        "--pareto": pareto,
        "--deadline": deadline_s is not None,
        "--drop": drop is not None,
    }
    asked = [option for option, is_given in given.items() if is_given]
    if len(asked) > 1:
        raise InputError(f"{' and '.join(asked)} ask for different things; drop one.")
    if pareto and every:
        raise InputError("--all is of a plan's table; drop it, or drop --pareto.")
    if deadline_s is not None and not 0 < deadline_s < float("inf"):
        raise InputError(f"--deadline must be positive, in s, got {deadline_s:g}.")
    return asked[0] if asked else None


def check_exact(asked: str, method: str | None, solver: str | None) -> None:
    """Refuse a solver on the command line that a question is not solved with.

    Raises
    ------
    InputError
        If one is named and it is not the exact one.
    """
    named = f"--solver {solver}" if solver else f"the solver of `{method}`"
    own = getattr(parse_method(method or "jcpba"), "solver", "exact")
    if (solver or own) != "exact":
        raise InputError(f"{asked} is solved exactly; drop {named}, or drop {asked}.")


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

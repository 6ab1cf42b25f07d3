"""`tw.run`, `tw.compare` and `tw.plan`: the commands of that name, from Python."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from trimwave.api.recipes import Recipe, read_recipe
from trimwave.api.results import Comparison, Planned, Run
from trimwave.api.training import (
    new_comparison,
    new_run,
    resume_comparison,
    resume_run,
)
from trimwave.api.watch import Watch
from trimwave.base.errors import InputError
from trimwave.base.table import is_table_name
from trimwave.cell.cell import Cell
from trimwave.decision.plan import Situation
from trimwave.methods import Method, ask_plan, label_of, parse_method, text_of
from trimwave.recipe.config import Config
from trimwave.recipe.idle import keys_of
from trimwave.recipe.limits import limits_of
from trimwave.recipe.overrides import nested
from trimwave.recipe.recipe import with_changes
from trimwave.recipe.situation import costs_from, shape_named
from trimwave.report.console import plain_console
from trimwave.runs import comparison as runs
from trimwave.runs.records import check_continues
from trimwave.sweep.one_round import plan_cell

Rule = str | Method | type[Any]
"""A method's name with options, or an object or class of it."""

Folder = str | PathLike[str]


def run(
    recipe: Recipe = "default",
    *,
    method: Rule | None = None,
    out: Folder | None = None,
    resume: Folder | None = None,
    on_round: Callable[[dict[str, Any]], None] | None = None,
    progress: bool = False,
    **changes: Any,
) -> Run:
    """Fine-tune with one method; what `trimwave run` does, and leaves on disk.

    Parameters
    ----------
    recipe : str, path, mapping or Config
        A recipe's name or TOML file, or a dict of what stands in one.
    method : str, Method or class, optional
        In place of the recipe's: ``"jcpba:solver=bcd"``, ``"my_rule:Rule"``, or an
        object of a rule's class.
    out : path, optional
        The folder to write; a fresh one under ``runs/`` otherwise.
    resume : path, optional
        A run's folder to go on in; of `changes` only `rounds` may grow.
    on_round : callable, optional
        Called with the record of each round, 0 before training first.
    progress : bool
        Print what the command prints.
    **changes
        Keys of the recipe: ``rounds=3, cell={"num_clients": 4}``.

    Raises
    ------
    InputError
        If anything asked for is wrong: what, and what to do.
    MissingExtraError
        If the extra `lm` is not installed.
    """
    heard = on_round or (lambda record: None)
    watch = _watch(progress, lambda label, record: heard(record))
    asked = changes if method is None else {**changes, "method": text_of(method)}
    if resume is not None:
        folder = _resumed(resume, out, recipe)
        done = resume_run(folder, lambda begun: _further(folder, begun, asked), watch)
    else:
        read = read_recipe(recipe, asked)
        read.warn_of_idle("run", read.config)
        done = new_run(read.config, _path(out), watch)
    return Run(results=done.results, folder=done.folder, config=done.config)


def compare(
    recipe: Recipe = "default",
    *,
    methods: str | Sequence[Rule] | None = None,
    seeds: int | None = None,
    out: Folder | None = None,
    resume: Folder | None = None,
    on_round: Callable[[str, dict[str, Any]], None] | None = None,
    progress: bool = False,
    **changes: Any,
) -> Comparison:
    """Run several methods on the same channels, batches and seeds.

    Parameters
    ----------
    recipe, out, progress, changes
        As of `run`.
    methods : str or sequence, optional
        ``"all"``, names between commas, or a list as `run` takes one; left out, the
        recipe's own, jcpba and ubfp.
    seeds : int, optional
        Seeds per method, from the recipe's `seed` on; 1.
    resume : path, optional
        A comparison's folder to go on in.
    on_round : callable, optional
        Called with a method's label and the record of each of its rounds.

    Raises
    ------
    InputError
        If anything asked for is wrong: what, and what to do.
    MissingExtraError
        If the extra `lm` is not installed.
    """
    watch = _watch(progress, on_round or (lambda label, record: None))
    texts: str | list[str] | None = None
    if isinstance(methods, str):
        texts = methods
    elif methods is not None:
        texts = [text_of(one) for one in methods]
    if resume is not None:
        folder = _resumed(resume, out, recipe)

        def further(begun: runs.Comparison) -> runs.Comparison:
            config = _further(folder, begun.config, changes)
            return begun.continued(folder, config, texts, seeds)

        done = resume_comparison(folder, further, watch)
    else:
        read = read_recipe(recipe, changes)
        read.warn_of_idle("compare", read.config, [] if texts is None else ["methods"])
        asked = runs.Comparison.of(read.config, texts, seeds)
        done = new_comparison(asked, _path(out), watch)
    return Comparison(results=done.results, folder=done.folder, config=done.config)


def plan(
    source: Recipe | Cell = "default",
    *,
    method: Rule | None = None,
    round_: int = 1,
    time_s: float | None = None,
    **changes: Any,
) -> Planned:
    """Plan one round without training; what `trimwave plan` does.

    Parameters
    ----------
    source : recipe, table or Cell
        A recipe as of `run`; or a cell, a table of clients or a `Cell`, on the
        recipe default.
    method : str, Method or class, optional
        As of `run`.
    round_ : int
        Which round's fading, from 1.
    time_s : float, optional
        Which second of a trace in seconds.
    **changes
        Keys of the recipe, as of `run`. Beside a `Cell`, which has clients, links and
        band, those of `model`, `train`, `limits` and `options` alone.

    Raises
    ------
    InputError
        If anything asked for is wrong, or the method has no plan for it.
    """
    named = {} if method is None else {"method": text_of(method)}
    recipe: Recipe = "default"
    if isinstance(source, str | PathLike) and is_table_name(str(source)):
        if "cell.clients" in keys_of(nested(changes)):
            raise InputError(f"{source} gives the clients; leave `cell.clients` out.")
        named["cell.clients"] = str(source)
    elif not isinstance(source, Cell):
        recipe = source
    read = read_recipe(recipe, {**changes, **named})
    text, options = read.config.method, read.config.options
    also = [] if round_ == 1 else ["--round"]
    also += [] if time_s is None else ["--time"]
    if isinstance(source, Cell):
        _check_beside_cell([*read.named, *also])
        read.warn_of_idle("plan", read.config)
        situation = _situation(source, read.config)
        found = ask_plan(parse_method(text, options), situation)
    else:
        read.warn_of_idle("plan", read.config, also)
        situation, found = plan_cell(read.config, text, round_=round_, time_s=time_s)
    return Planned(label=label_of(text, options), situation=situation, plan=found)


OF_A_CELL = ("cell.", "radio.", "data.", "seed", "--")
"""Beginnings of what a `Cell` says already."""


def _check_beside_cell(named: Sequence[str]) -> None:
    """Refuse what would have no effect on a cell that was made in Python."""
    idle = [key for key in named if key.startswith(OF_A_CELL)]
    if idle:
        words = {"--round": "round_", "--time": "time_s"}
        said = ", ".join(f"`{words.get(key, key)}`" for key in idle)
        raise InputError(
            f"{said}: a `Cell` has its own clients, links and band; set them there "
            "(`dataclasses.replace`), or plan for a recipe or a table."
        )


def _situation(cell: Cell, config: Config) -> Situation:
    """Return what a method sees of a cell that was made in Python."""
    counted = replace(config.cell, num_clients=cell.num_clients)
    return Situation(
        cell=cell,
        costs=costs_from(config, shape_named(config.model.name)),
        limits=limits_of(replace(config, cell=counted)),
    )


def _watch(progress: bool, on_round: Callable[[str, dict[str, Any]], None]) -> Watch:
    console = plain_console()
    console.quiet = not progress
    return Watch(console=console, on_round=on_round)


def _path(folder: Folder | None) -> Path | None:
    return None if folder is None else Path(folder)


def _resumed(resume: Folder, out: Folder | None, recipe: Recipe) -> Path:
    if out is not None or recipe != "default":
        raise InputError(
            "`resume` goes on with the recipe of the folder it names, and writes "
            "there; leave `recipe` and `out` out."
        )
    return Path(resume)


def _further(folder: Path, begun: Config, changes: dict[str, Any]) -> Config:
    """Return what a folder was begun with, with changes that it can go on with."""
    config = with_changes(begun, nested(changes), "the call")
    check_continues(folder, begun, config)
    return config

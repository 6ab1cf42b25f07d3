"""Recipes: TOML files and `key=value` overrides into a `Config`, checked key by key."""

import os
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from trimwave.base.decode import read_text
from trimwave.base.errors import InputError, nearest, printable
from trimwave.base.table import is_table_name
from trimwave.recipe.config import Config
from trimwave.recipe.fleet import counted
from trimwave.recipe.idle import keys_of
from trimwave.recipe.layers import lay_over, leave_out_counts
from trimwave.recipe.overrides import parse_override, parse_overrides
from trimwave.recipe.owned import with_owners
from trimwave.recipe.paths import absolute_paths, check_paths
from trimwave.recipe.typed import build

PACKAGE_FOLDER = Path(__file__).parents[1]
FOLDERS = (PACKAGE_FOLDER / "recipes", PACKAGE_FOLDER.parents[1] / "recipes")
"""Where a recipe is looked up by name: the installed wheel, or the checkout."""


def find_recipe(name: str) -> Path:
    """Turn a recipe's name or path into a path.

    Raises
    ------
    InputError
        If there is no such file; names the nearest recipe.
    """
    path = Path(name)
    if path.suffix.lower() == ".toml" or is_table_name(name) or os.path.isfile(name):
        return path
    known = known_recipes()
    if name not in known:
        if os.path.exists(name):
            return path
        raise InputError(f"no recipe `{printable(name)}`; {nearest(name, known)}")
    return known[name]


def known_recipes() -> dict[str, Path]:
    """Return the recipes of this package by name."""
    return {
        recipe.relative_to(folder).with_suffix("").as_posix(): recipe
        for folder in FOLDERS
        for recipe in folder.rglob("*.toml")
    }


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a recipe and apply ``a.b=value`` overrides.

    A recipe with ``extends = "another"`` holds its differences from that one. A path in
    a recipe is relative to it, a path in an override to the working directory; the
    config holds absolute ones.

    Raises
    ------
    InputError
        If the file is missing or malformed, or a key or value is wrong: which and what
        is legal.
    """
    tree: dict[str, Any] = {}
    ours = True
    for recipe, written in _chain(path, ()):
        if ours and not (ours := is_ours(recipe)):
            leave_out_counts(tree, written)
        lay_over(tree, written)
    changed = deepcopy(tree)
    named = parse_overrides(overrides)
    if ours:
        leave_out_counts(changed, named)
    lay_over(changed, named)
    check_paths(changed, str(path))
    try:
        return config_from_dict(changed, str(path))
    except InputError:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            config_from_dict(tree, str(path))  # so the recipe is in order by itself
    return config_from_dict(changed, "--set")


def written_keys(path: Path, overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the keys that overrides name, and those that the user's recipes do.

    The recipes of this package are not the user's.

    Raises
    ------
    InputError
        As `load_config`.
    """
    named = [key for text in overrides for key in keys_of(parse_override(text))]
    own = [
        key
        for recipe, tree in _chain(path, ())
        if not is_ours(recipe)
        for key in keys_of(tree)
    ]
    return named, own


def is_ours(recipe: Path) -> bool:
    """Whether a recipe is one of this package's."""
    return any(folder in recipe.absolute().parents for folder in FOLDERS)


def _chain(path: Path, readers: tuple[Path, ...]) -> list[tuple[Path, dict[str, Any]]]:
    """Read a recipe and those that it extends, the first one last.

    `readers` are those that extend this one.
    """
    tree = absolute_paths(_read_toml(path), path.parent)
    base = tree.pop("extends", None)
    if base is None:
        return [(path, tree)]
    if not isinstance(base, str) or "\0" in base:
        raise InputError(f"{path}: `extends` must name a recipe, got {base!r}.")
    beside = path.parent / base
    extended = beside if os.path.isfile(beside) else find_recipe(base)
    here = Path(os.path.realpath(path))
    if Path(os.path.realpath(extended)) in (here, *readers):
        raise InputError(f"{path}: `extends` runs in a circle at {extended}.")
    return [*_chain(extended, (here, *readers)), (path, tree)]


def _read_toml(path: Path) -> dict[str, Any]:
    if is_table_name(path.name):
        raise InputError(
            f"{path} is a table by its name, no recipe in TOML; `trimwave plan` takes "
            "one of clients, `radio.trace` one of gains, `data.source` one of rows."
        )
    text = read_text(path)
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise InputError(f"recipe {path} is nested too deep.") from None
    except ValueError as error:  # a TOMLDecodeError, or a number of too many digits
        hint = "; a table's name ends in .csv, .tsv or .txt"
        raise InputError(
            f"recipe {path} is not TOML: {error}"
            f"{'' if path.suffix.lower() == '.toml' else hint}."
        ) from None


def merge_overrides(config: Config, overrides: Sequence[str]) -> Config:
    """Apply ``a.b=value`` overrides to a config that is built already.

    Raises
    ------
    InputError
        If a key or value is wrong.
    """
    return with_changes(config, parse_overrides(overrides), "--set")


def with_changes(
    config: Config, changes: Mapping[str, Any], where: str, *, ours: bool = False
) -> Config:
    """Apply a nested dict of changes to a config that is built already.

    `ours` says that the config is a recipe of this package as it stands: how many rows
    it takes is then not said of another source.

    Raises
    ------
    InputError
        If a key or value is wrong; `where` names the source.
    """
    tree = config.to_dict()
    if ours:
        leave_out_counts(tree, changes)
    lay_over(tree, changes)
    return config_from_dict(tree, where)


def config_from_dict(tree: Mapping[str, Any], where: str) -> Config:
    """Build a config from a nested dict; `where` names the source in errors."""
    config: Config = build(Config, tree, where)
    is_written = "num_clients" in tree.get("cell", {})
    return with_owners(counted(config, is_written, where), is_written, where)


def _same_file(before: Any, after: Any) -> bool:
    """Whether two strings are spellings of one path."""
    if not (isinstance(before, str) and isinstance(after, str)):
        return False
    try:
        return os.path.samefile(before, after)
    except (OSError, ValueError):  # one of them is no path
        return False


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Name the keys in which two config dicts differ, with both values."""
    found = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += [f"{key}.{line}" for line in differences(before, after)]
        elif before != after and not _same_file(before, after):
            found.append(f"{key}: {before!r} -> {after!r}")
    return found

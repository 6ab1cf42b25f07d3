"""From what a user has as a recipe, a name, path, dict or config, to a config."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

from trimwave.base.errors import InputError
from trimwave.recipe.config import Config
from trimwave.recipe.idle import Command, keys_of, warn_of_keys
from trimwave.recipe.overrides import nested
from trimwave.recipe.recipe import (
    find_recipe,
    is_ours,
    load_config,
    with_changes,
    written_keys,
)

Recipe = str | PathLike[str] | Mapping[str, Any] | Config
"""A recipe's name, a TOML file, a dict of it, or a config that is built already."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """A config, and which of its keys the user wrote."""

    config: Config
    named: Sequence[str]
    """Keys of this call."""
    own: Sequence[str]
    """Keys of the user's recipe."""

    def warn_of_idle(
        self, command: Command, config: Config, also: Sequence[str] = ()
    ) -> None:
        """Warn of written keys that have no effect on what was asked for."""
        warn_of_keys(command, config, [*self.named, *also], self.own, stacklevel=4)


def read_recipe(recipe: Recipe, changes: Mapping[str, Any]) -> Asked:
    """Read a recipe, and change keys of it.

    Parameters
    ----------
    recipe : str, path, mapping or Config
        A mapping is what stands in a TOML file, its keys dotted or nested; it may have
        ``extends``, and without that holds its differences from the defaults.
    changes : mapping
        Keys to change, dotted or nested.

    Raises
    ------
    InputError
        If a key or value is wrong, or there is no such recipe.
    """
    own: Sequence[str] = ()
    if isinstance(recipe, Config):
        config = recipe
    elif isinstance(recipe, Mapping):
        given = dict(recipe)
        base = given.pop("extends", None)
        tree = nested(given)
        extended = Config() if base is None else read_recipe(base, {}).config
        config = with_changes(extended, tree, "the recipe", ours=_is_ours(base))
        own = keys_of(tree)
    elif isinstance(recipe, str | PathLike):
        path = find_recipe(str(recipe))
        config, (_, own) = load_config(path), written_keys(path, ())
    else:
        raise InputError(
            "a recipe is a name, a path, a dict or a Config, got "
            f"{type(recipe).__name__}."
        )
    tree = nested(changes)
    if tree:
        config = with_changes(config, tree, "the call", ours=_is_ours(recipe))
    return Asked(config=config, named=keys_of(tree), own=own)


def _is_ours(recipe: Recipe | None) -> bool:
    """Whether a recipe is one of this package's as it stands."""
    named = isinstance(recipe, str | PathLike)
    return named and is_ours(find_recipe(str(recipe)))

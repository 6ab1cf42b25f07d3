"""What is written later over what was written before: recipes, then overrides."""

from collections.abc import Mapping
from typing import Any

OWNERS = ("source", "partition", "client_column")
"""Keys of `data` that say whose rows are whose."""


def leave_out_counts(tree: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Leave out how many rows a recipe of the package takes of a source not used.

    A user's source has as many as it has; numbers that a user wrote stay.
    """
    own, data = tree.get("data"), changes.get("data")
    if not (isinstance(own, dict) and isinstance(data, Mapping) and "source" in data):
        return
    if data["source"] != own.get("source"):
        for name in ("num_train", "num_test", "num_public"):
            own.pop(name, None)


def lay_over(tree: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Merge what says more later: other clients, of a table or of rows, are as many."""
    cell, below = changes.get("cell"), tree.get("cell")
    others = isinstance(cell, Mapping) and "clients" in cell
    if (others or _names_owners(tree, changes)) and isinstance(below, dict):
        below.pop("num_clients", None)
    merge(tree, changes)


def _names_owners(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Whether changes say whose rows are whose, or name other such rows."""
    data, below = changes.get("data"), tree.get("data")
    if not isinstance(data, Mapping):
        return False
    after = {**below, **data} if isinstance(below, Mapping) else data
    owned = after.get("partition") == "files" or bool(after.get("client_column"))
    return owned and not data.keys().isdisjoint(OWNERS)


def merge(tree: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Write keys over those of a tree; tables are merged."""
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(tree.get(key), dict):
            merge(tree[key], value)
        else:
            tree[key] = value

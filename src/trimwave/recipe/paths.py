"""Paths in recipes: relative to the file that wrote them, on the command line to here.

A config holds absolute paths, so that a run goes on from any working directory.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError
from trimwave.model.names import KNOWN_MODELS

SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet", ".gz")
"""What names a file of rows or gains, whether it is there or not."""

NAMES: dict[tuple[str, str], frozenset[str]] = {
    ("cell", "clients"): frozenset({""}),
    ("radio", "trace"): frozenset({""}),
    ("cell", "emulator_time"): frozenset({""}),
    ("limits", "damage"): frozenset({""}),
    ("data", "source"): frozenset({"gsm_symbolic"}),
    ("data", "public"): frozenset({"same", "gsm_symbolic"}),
    ("model", "name"): frozenset(KNOWN_MODELS),
}
"""Keys whose values may be paths, and the values that never are."""


def absolute_paths(tree: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a parsed recipe with its paths absolute; names stay as they are.

    A value is a path if it begins with ``/``, ``~`` or ``.``, has the suffix of a
    table, or is there. One that lies in the working directory instead stays as it is,
    for `check_paths` to refuse.

    Parameters
    ----------
    tree : mapping
        As TOML gives it; nothing in it has been checked.
    folder : Path
        What relative paths are relative to.

    Raises
    ------
    InputError
        If a path holds a NUL character.
    """
    changed = {
        key: dict(value) if isinstance(value, Mapping) else value
        for key, value in tree.items()
    }
    for (section, key), names in NAMES.items():
        table = changed.get(section)
        if not isinstance(table, dict):
            continue
        value = table.get(key)
        if isinstance(value, str) and value not in names:
            table[key] = _absolute(value, folder, f"{section}.{key}")
    return changed


def _absolute(value: str, folder: Path, key: str) -> str:
    if "\0" in value:
        raise InputError(f"`{key}` holds a NUL character, got {value!r}.")
    at = os.path.abspath(os.path.join(folder, os.path.expanduser(value)))
    if os.path.exists(at):
        return at
    looks_it = value[0] in "/~." or value.lower().endswith(SUFFIXES)
    looks_it = looks_it or key in ("radio.trace", "cell.clients")
    return at if looks_it and not os.path.exists(value) else value


def check_paths(tree: Mapping[str, Any], where: str) -> None:
    """Refuse a recipe's path that is not beside it but in the working directory.

    Raises
    ------
    InputError
        Naming the key and what to write.
    """
    for (section, key), names in NAMES.items():
        table = tree.get(section)
        value = table.get(key) if isinstance(table, Mapping) else None
        if not isinstance(value, str) or value in names or os.path.isabs(value):
            continue
        if os.path.exists(value):
            raise InputError(
                f"{where}: `{section}.{key}` = {value!r} is not beside the recipe but "
                "in the working directory; paths in a recipe are relative to it: write "
                f"{os.path.abspath(value)!r}, or name it by --set {section}.{key}=..., "
                "where they are relative to the working directory."
            )

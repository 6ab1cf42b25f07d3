"""Dotted keys, of `--set` or of a call from Python, as a tree of plain values."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from trimwave.base.errors import InputError, printable
from trimwave.recipe.layers import merge
from trimwave.recipe.paths import absolute_paths


def parse_value(text: str) -> Any:
    """Read a TOML value; a bare word is a string, so that shells need no quotes."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return ``a.b=value`` overrides as one tree.

    Raises
    ------
    InputError
        If one is no key with a value.
    """
    tree: dict[str, Any] = {}
    for override in overrides:
        merge(tree, parse_override(override))
    return tree


def parse_override(text: str) -> dict[str, Any]:
    """Return one ``a.b=value`` as a tree.

    Raises
    ------
    InputError
        If it is no key with a value.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set takes key=value, got {text!r}.")
    if not text.isascii() and text != text.encode(errors="replace").decode():
        raise InputError(f"--set {printable(text)}: holds bytes that are no UTF-8.")
    parsed = parse_value(value)
    return nested({key.strip(): parsed})


def nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dict of dotted keys as a nested one, its paths made absolute.

    A part that holds dots itself stands in quotes: ``options."a.b:Rule".rate``. Paths
    are relative to the working directory.
    """
    tree: dict[str, Any] = {}
    for key, value in changes.items():
        value = _plain(value)
        for part in reversed(re.findall(r'"[^"]*"|[^.]+|(?<=\.)(?=\.|$)', key)):
            value = {part.strip('"'): value}
        merge(tree, value)
    return absolute_paths(tree, Path())


def _plain(value: Any) -> Any:
    """Return numbers and arrays of NumPy as Python's, also in dicts and lists."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value

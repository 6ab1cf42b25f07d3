"""A config as the recipe that makes it, in TOML."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trimwave.recipe.config import Config


def recipe_of(config: Config) -> str:
    """Return a config's differences from the defaults as TOML.

    Of a path on this machine the name alone is written: a recipe that is given away
    says nothing of folders.
    """
    default = Config().to_dict()
    return "\n".join(_table(config.to_dict(), default, "")) + "\n"


def _table(tree: Mapping[str, Any], default: Mapping[str, Any], at: str) -> list[str]:
    lines = [*_assignments(tree, default)]
    for key, value in tree.items():
        if isinstance(value, Mapping):
            path = f"{at}{key}"
            below = _table(value, default.get(key, {}), f"{path}.")
            lines += [f"\n[{path}]", *below] if below else []
    return lines


def _assignments(tree: Mapping[str, Any], default: Mapping[str, Any]) -> Iterator[str]:
    for key, value in tree.items():
        if value is None or isinstance(value, Mapping) or value == default.get(key):
            continue
        if isinstance(value, str) and Path(value).is_absolute():
            value = Path(value).name
        yield f"{key} = {_value(value)}"


def _value(value: Any) -> str:
    """Return a value in TOML; tables in a list come inline."""
    if isinstance(value, Mapping):
        given = [f"{k} = {_value(one)}" for k, one in value.items() if one is not None]
        return f"{{{', '.join(given)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("Infinity", "inf")

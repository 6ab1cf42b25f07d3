"""What a sweep asks for: config keys that vary, the grid they span, its points."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimwave.base.errors import InputError, printable
from trimwave.methods import parse_method
from trimwave.recipe.config import Config
from trimwave.recipe.overrides import parse_value
from trimwave.recipe.recipe import merge_overrides
from trimwave.recipe.situation import shape_named

OTHERWISE = {"method": "--methods", "rounds": "--rounds", "seed": "--seed and --draws"}
"""Keys that are varied by other options."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of the grid."""

    config: Config
    varied: Mapping[str, Any]
    """Its values of the varied keys, as columns hold them."""
    file: str
    """Its part: place in the grid, and digest of all that its rows follow from."""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What to plan: every method at every point of a grid, over draws and rounds."""

    config: Config
    """What the points have in common; its seed is the first draw's."""
    vary: Mapping[str, Sequence[Any]]
    """Config key to values; several keys span a grid, the last one fastest."""
    methods: tuple[str, ...]
    """As `parse_method` reads them."""
    draws: int = 20
    """Seeds: other clients and other fading, the same for all methods and points."""
    rounds: int = 1
    """Rounds per draw; what a method carries over begins anew with each draw."""

    def __post_init__(self) -> None:
        for name in ("draws", "rounds"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"--{name} must be at least 1, got {getattr(self, name)}."
                )
        for key in self.vary:
            if key in OTHERWISE:
                raise InputError(f"`{key}` is varied by {OTHERWISE[key]}, not --vary.")

    def points(self) -> list[Point]:
        """Return the grid.

        Raises
        ------
        InputError
            If a key, a value, a model or a method's option is wrong, or two points are
            the same.
        """
        configs = [self._config(*one) for one in itertools.product(*self.vary.values())]
        columns = {
            key: _column([_value_at(one.to_dict(), key) for one in configs])
            for key in self.vary
        }
        digests = [self._digest(config) for config in configs]
        if len(set(digests)) < len(digests):
            raise InputError("--vary gives a value twice; name each once.")
        return [
            Point(
                config=config,
                varied={key: column[number] for key, column in columns.items()},
                file=f"point-{number:05d}-{digests[number]}.parquet",
            )
            for number, config in enumerate(configs)
        ]

    def _config(self, *values: Any) -> Config:
        """Return the config with these values of the varied keys."""
        changes = [
            f"{key}={json.dumps(value, ensure_ascii=False, default=str)}"
            for key, value in zip(self.vary, values, strict=True)
        ]
        config = merge_overrides(self.config, changes)
        shape_named(config.model.name)
        for text in self.methods:
            parse_method(text, config.options)
        return config

    def _digest(self, config: Config) -> str:
        asked = [config.to_dict(), self.methods, self.draws, self.rounds]
        text = json.dumps(asked, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON gives them back."""
        plain = {
            "config": self.config.to_dict(),
            "vary": dict(self.vary),
            "methods": self.methods,
            "draws": self.draws,
            "rounds": self.rounds,
        }
        read_back: dict[str, Any] = json.loads(json.dumps(plain, default=str))
        return read_back


def parse_vary(texts: Sequence[str]) -> dict[str, list[Any]]:
    """Read ``key=1,2`` or ``key=[[1, 2], [3, 4]]``, each value as `--set` reads it.

    Raises
    ------
    InputError
        If a text has no key or no values, or a key comes twice.
    """
    vary: dict[str, list[Any]] = {}
    for text in texts:
        key, _, listed = (part.strip() for part in text.partition("="))
        values = _values(listed)
        if not key or not values:
            raise InputError(f"--vary takes key=value,value,..., got {text!r}.")
        if key in vary:
            raise InputError(
                f"--vary names `{printable(key)}` twice; list all its values once."
            )
        vary[key] = values
    return vary


def _values(listed: str) -> list[Any]:
    """Read a TOML array of values, or values between commas."""
    values = parse_value(f"[{listed}]")
    if not isinstance(values, list):
        return [parse_value(part.strip()) for part in listed.split(",")]
    if len(values) == 1 and isinstance(values[0], list):
        return values[0]
    return values


def _value_at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree


def _column(values: list[Any]) -> list[Any]:
    """Bring a key's values to one type that a column can have; lists become JSON."""
    kinds = {type(value) for value in values}
    if kinds == {int, float}:
        return [float(value) for value in values]
    if len(kinds) == 1 and kinds <= {bool, int, float, str}:
        return values
    return [json.dumps(value) for value in values]

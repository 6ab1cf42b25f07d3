"""Every setting of a recipe: type, default, unit, meaning; the recipes by name."""

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from trimwave.base.errors import InputError, nearest
from trimwave.recipe.config import Config
from trimwave.report.name_tables import legal_values, option_meanings

UNIT = re.compile(r"\[([A-Za-z][\w/]*)\]")
"""How a meaning says its unit."""

SUFFIXES = {"_dbm_per_hz": "dBm/Hz", "_db": "dB", "_hz": "Hz", "_bytes": "byte"}
SUFFIXES |= {"_flops_per_s": "FLOP/s", "_bps": "bit/s", "_s": "s", "_w": "W"}
"""Units by the end of a name, the longer ends first."""

SENTENCE = re.compile(r"(?<!Sec)(?<!Fig)\.(?=\s|$)")
"""Where the first sentence of a comment ends."""

WIDTH = 80


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """A setting of a recipe."""

    key: str
    """Dotted, as `--set` takes it."""
    type: str
    """What it may be."""
    default: Any
    """None if it is left out."""
    unit: str | None
    meaning: str


def settings_of_recipes(section: str | None = None) -> list[Setting]:
    """Return every setting in the order of config.py, or those of a section.

    Parameters
    ----------
    section : str, optional
        A section, or a single setting.

    Raises
    ------
    InputError
        If there is no such section or setting.
    """
    found = list(_settings(Config, ""))
    if section is None:
        return found
    chosen = [one for one in found if section in (one.key, one.key.partition(".")[0])]
    if not chosen:
        sections = {one.key.partition(".")[0] for one in found}
        known = sections | {one.key for one in found} if "." in section else sections
        raise InputError(
            f"no section or setting `{section}`; {nearest(section, known)}"
        )
    return chosen


def _settings(kind: type[Any], prefix: str) -> Iterator[Setting]:
    meanings = option_meanings(kind)
    for one in fields(kind):
        if isinstance(one.type, type) and is_dataclass(one.type):
            yield from _settings(one.type, f"{prefix}{one.name}.")
            continue
        meaning = meanings[one.name].replace("# assumed", "Assumed").replace("``", "`")
        yield Setting(
            key=prefix + one.name,
            type=legal_values(one.type),
            default=_default(one),
            unit=_unit(one.name, meaning),
            meaning=meaning,
        )


def _default(one: "Field[Any]") -> Any:
    if one.default is not MISSING:
        return list(one.default) if isinstance(one.default, tuple) else one.default
    assert one.default_factory is not MISSING
    return one.default_factory()


def _unit(name: str, meaning: str) -> str | None:
    if said := UNIT.search(meaning):
        return said[1]
    return next((unit for end, unit in SUFFIXES.items() if name.endswith(end)), None)


def setting_lines(settings: list[Setting]) -> Iterator[str]:
    """Yield settings as lines of at most 80 characters: the key, then what it means."""
    for one in settings:
        default = "left out" if one.default is None else _toml(one.default)
        unit = f" [{one.unit}]" if one.unit else ""
        yield from _wrapped(f"{one.key} = {default}{unit}", "", "    ")
        yield from _wrapped(f"({one.type}) {one.meaning}", "    ", "    ")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float):
        return (
            f"{value:g}" if abs(value) >= 1e6 or 0 < abs(value) < 1e-3 else f"{value}"
        )
    if isinstance(value, list):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return str(value)


def recipe_lines(recipes: Mapping[str, Path]) -> Iterator[str]:
    """Yield recipes by name, each with what its first comment says."""
    wide = max(len(name) for name in recipes) + 2
    for name, path in sorted(recipes.items()):
        yield from _wrapped(_about(path), f"{name:<{wide}}", " " * wide)


def _about(path: Path) -> str:
    """Return the first sentence of a recipe's first comment."""
    words = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        words.append(line.lstrip("# ").strip())
    text = " ".join(words)
    return text[: end.start()] + "." if (end := SENTENCE.search(text)) else text


def _wrapped(text: str, first: str, rest: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )

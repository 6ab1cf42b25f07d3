"""Names that a user can write: methods with their options, models."""

from collections.abc import Mapping
from dataclasses import Field, fields
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from rich.table import Table

from trimwave.shapes import SHAPES
from trimwave.zoo import KNOWN_MODELS


def method_table(kinds: Mapping[str, type[Any]]) -> Table:
    """List methods by name, their options under each as the command line takes them.

    Parameters
    ----------
    kinds : mapping
        Name to dataclass, whose fields are the options.
    """
    shown = Table(box=None, padding=(0, 2, 0, 0))
    shown.add_column("name", no_wrap=True)
    shown.add_column("shown as", no_wrap=True)
    shown.add_column("what it is; its options with their defaults")
    for name, kind in kinds.items():
        summary = (kind.__doc__ or "").splitlines()[0]
        shown.add_row(name, kind().label, summary)
        for option in fields(kind):
            shown.add_row("", "", option_line(option))
    return shown


def option_line(option: "Field[Any]") -> str:
    """Say an option's name, default and legal values."""
    kind, optional = option.type, isinstance(option.type, UnionType)
    if optional:
        kind = get_args(kind)[0]
    legal = (
        ", ".join(str(value) for value in get_args(kind))
        if get_origin(kind) is Literal
        else {int: "a whole number", float: "a number"}[kind]  # type: ignore[index]
    )
    if optional:
        legal += ", or left out"
    default = "..." if option.default is None else option.default
    return f"  :{option.name}={default}  ({legal})"


def model_table() -> Table:
    """List the models known by name."""
    shown = Table(box=None)
    for title in ("name", "blocks", "what it is", "comes from"):
        shown.add_column(title)
    for name, known in KNOWN_MODELS.items():
        blocks = str(SHAPES[name].num_blocks)
        shown.add_row(name, blocks, known.description, known.source)
    return shown

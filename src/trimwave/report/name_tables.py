"""Names that a user can write: methods with their options, models."""

import ast
import inspect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from rich.table import Table

from trimwave.methods.common import CommonOptions
from trimwave.model.names import KNOWN_MODELS
from trimwave.model.shape import SHAPES


def method_table(kinds: Mapping[str, type[Any]]) -> Table:
    """List methods by name, their options under each as the command line takes them.

    Parameters
    ----------
    kinds : mapping
        Name to dataclass, whose fields are the options.
    """
    shown = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    shown.add_column(no_wrap=True)
    shown.add_column()
    common = {option.name for option in fields(CommonOptions)}
    for name, kind in kinds.items():
        summary = (kind.__doc__ or "").splitlines()[0]
        shown.add_row(name, f"{kind().label}: {summary}")
        _add_options(shown, kind, [o for o in fields(kind) if o.name not in common])
    shown.add_row("every method", "")
    _add_options(shown, CommonOptions, list(fields(CommonOptions)))
    return shown


def _add_options(
    shown: Table, kind: type[Any], options: "Sequence[Field[Any]]"
) -> None:
    meanings = option_meanings(kind)
    for option in options:
        name, _, legal = option_line(option).partition("  (")
        meaning = meanings[option.name].replace("``", "`")
        shown.add_row(f"  {name}", f"({legal} {meaning}")


def option_meanings(kind: type[Any]) -> dict[str, str]:
    """Read what stands under the fields of a dataclass and of those below it."""
    meanings: dict[str, str] = {}
    for one in reversed([k for k in kind.__mro__ if is_dataclass(k)]):
        body = ast.parse(inspect.getsource(one)).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in itertools.pairwise(body.body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                assert isinstance(field.target, ast.Name)
                text = ast.literal_eval(below.value)
                meanings[field.target.id] = " ".join(text.split())
    return meanings


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
    return f":{option.name}={default}  ({legal})"


def model_table() -> Table:
    """List the models known by name."""
    shown = Table(box=None)
    for title in ("name", "blocks", "what it is", "comes from"):
        shown.add_column(title)
    for name, known in KNOWN_MODELS.items():
        blocks = str(SHAPES[name].num_blocks)
        shown.add_row(name, blocks, known.description, known.source)
    return shown

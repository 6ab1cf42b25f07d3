"""Names that a user can write: methods with their options, models."""

import ast
import inspect
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from rich.table import Table

from trimwave.methods.common import CommonOptions
from trimwave.methods.options import KINDS
from trimwave.methods.registry import Installed
from trimwave.model.names import KNOWN_MODELS
from trimwave.model.shape import SHAPES

NAMES = {**KINDS, str: "text"}
"""What types are called."""


def method_table(
    kinds: Mapping[str, type[Any]], others: Sequence[Installed] = ()
) -> Table:
    """List methods by name, their options under each as the command line takes them.

    Parameters
    ----------
    kinds : mapping
        Name to dataclass, whose fields are the options.
    others : sequence of Installed
        What other packages bring; one that is broken says why.
    """
    shown = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    shown.add_column(no_wrap=True)
    shown.add_column()
    for name, kind in kinds.items():
        _add_method(shown, name, kind)
    shown.add_row("every method", "")
    _add_options(shown, CommonOptions, list(fields(CommonOptions)))
    for other in others:
        if other.kind is None:
            shown.add_row(other.name, f"cannot be used: {other.flaw}")
        else:
            _add_method(shown, other.name, other.kind)
        shown.add_row("", f"from the package {other.origin}")
    return shown


def _add_method(shown: Table, name: str, kind: type[Any]) -> None:
    summary = ((kind.__doc__ or "").strip().splitlines() or [""])[0]
    label = getattr(kind, "label", "")
    try:
        label = kind().label
    except Exception:  # an option without a default, a class of others
        label = label if isinstance(label, str) else kind.__name__
    shown.add_row(name, f"{label}: {summary}")
    common = () if not issubclass(kind, CommonOptions) else fields(CommonOptions)
    left = {option.name for option in common}
    _add_options(shown, kind, [one for one in fields(kind) if one.name not in left])


def _add_options(
    shown: Table, kind: type[Any], options: "Sequence[Field[Any]]"
) -> None:
    meanings = option_meanings(kind)
    for option in options:
        name, _, legal = option_line(option).partition("  (")
        meaning = meanings.get(option.name, "").replace("``", "`")
        shown.add_row(f"  {name}", f"({legal} {meaning}".rstrip())


def option_meanings(kind: type[Any]) -> dict[str, str]:
    """Read what stands under the fields of a dataclass and of those below it."""
    meanings: dict[str, str] = {}
    for one in reversed([k for k in kind.__mro__ if is_dataclass(k)]):
        try:
            body = ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]
        except (OSError, TypeError):  # a class of a notebook
            continue
        assert isinstance(body, ast.ClassDef)
        for field, below in itertools.pairwise(body.body):
            if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                assert isinstance(field.target, ast.Name)
                text = ast.literal_eval(below.value)
                meanings[field.target.id] = " ".join(text.split())
    return meanings


def option_line(option: "Field[Any]") -> str:
    """Say an option's name, default and legal values."""
    default = "..." if option.default in (None, MISSING) else option.default
    return f":{option.name}={default}  ({legal_values(option.type)})"


def legal_values(kind: Any) -> str:
    """Say what a field of a type may be."""
    if get_origin(kind) in (Union, UnionType):
        return f"{legal_values(get_args(kind)[0])}, or left out"
    if get_origin(kind) is Literal:
        return ", ".join(str(value) for value in get_args(kind))
    if get_origin(kind) is tuple:
        first, *rest = get_args(kind)
        if is_dataclass(first):
            return "tables"
        several = "a list" if rest == [...] else f"a list of {len(rest) + 1}"
        return f"{several}, each {legal_values(first)}"
    if get_origin(kind) is dict:
        return "tables"
    return NAMES.get(kind, str(kind))


def model_table() -> Table:
    """List the models known by name."""
    shown = Table(box=None)
    for title in ("name", "blocks", "what it is", "comes from"):
        shown.add_column(title)
    for name, known in KNOWN_MODELS.items():
        blocks = str(SHAPES[name].num_blocks)
        shown.add_row(name, blocks, known.description, known.source)
    return shown

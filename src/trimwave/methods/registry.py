"""Methods by name: those of this package, and the entry points of installed ones."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from trimwave.base.errors import InputError, nearest, printable
from trimwave.methods.deft import Deft
from trimwave.methods.fedbiot import FedBiot
from trimwave.methods.fedqlora import FedQlora
from trimwave.methods.jcpba import Jcpba
from trimwave.methods.latency_budget import LatencyBudget
from trimwave.methods.lora import Lora
from trimwave.methods.own import load_rule
from trimwave.methods.partial import Partial
from trimwave.methods.personalised import Personalised
from trimwave.methods.split_lora import SplitLora
from trimwave.methods.staged import Staged
from trimwave.methods.ubfp import Ubfp

METHODS: Mapping[str, type[Any]] = MappingProxyType(
    {
        "jcpba": Jcpba,
        "ubfp": Ubfp,
        "fedbiot": FedBiot,
        "deft": Deft,
        "split_lora": SplitLora,
        "lora": Lora,
        "staged": Staged,
        "fedqlora": FedQlora,
        "latency_budget": LatencyBudget,
        "personalised": Personalised,
        "partial": Partial,
    }
)
"""This package's own; others come by ``module:Class`` or by an entry point."""

ALL = tuple(
    variant
    for name in METHODS
    for variant in ((name, "jcpba:solver=bcd") if name == "jcpba" else (name,))
)
"""What `--methods all` means: every method, and JCPBA with both solvers."""

GROUP = "trimwave.methods"
"""Entry points that name a method: ``name = "package.module:Class"``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Installed:
    """A method that an installed package brings."""

    name: str
    origin: str
    """The package that brings it, with its version."""
    kind: type[Any] | None
    """Its class, if it can be loaded."""
    flaw: str = ""
    """Why it cannot be used."""


def kind_of(name: str) -> type[Any]:
    """Return the class of a method.

    Parameters
    ----------
    name : str
        One of `METHODS`, ``module:Class``, or an entry point's name.

    Raises
    ------
    InputError
        If there is none, or it cannot be used: why.
    """
    if name in METHODS:
        return METHODS[name]
    if ":" in name:
        return load_rule(name)
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name in points:
        return load_rule(points[name].value.replace(" ", ""))
    hint = nearest(name, [*METHODS, *points])
    raise InputError(
        f"no method `{printable(name)}`; {hint}{'' if hint.endswith('?') else '.'} A "
        "rule of your own is named module:Class."
    )


def origin_of(name: str) -> str | None:
    """Return the package and version that brings an entry point; None if none does."""
    if name in METHODS or ":" in name:
        return None
    points = {point.name: point for point in entry_points(group=GROUP)}
    return _origin(points[name]) if name in points else None


def installed() -> Iterator[Installed]:
    """Yield the methods of other packages; one that is broken hides no other."""
    for point in sorted(entry_points(group=GROUP), key=lambda one: one.name):
        kind, flaw = None, ""
        try:
            if point.name in METHODS:
                raise InputError("trimwave has a method of that name itself.")
            if not point.name.isidentifier():
                raise InputError("its name must be a word of letters, digits and _.")
            kind = load_rule(point.value.replace(" ", ""))
        except InputError as error:
            flaw = str(error)
        yield Installed(name=point.name, origin=_origin(point), kind=kind, flaw=flaw)


def _origin(point: EntryPoint) -> str:
    found = point.dist
    return f"{found.name} {found.version}" if found else "an unnamed package"

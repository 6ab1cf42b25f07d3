"""Methods: each a pure function from a situation to a `Plan`, by name and options.

``parse_method("jcpba:solver=bcd")`` reads a name with options; the options are the
fields of the method's dataclass, and their types say the legal values.
"""

from collections.abc import Mapping
from dataclasses import fields
from math import isfinite
from types import UnionType
from typing import Any, Literal, Protocol, get_args, get_origin, runtime_checkable

from trimwave.base.errors import InputError, nearest
from trimwave.base.quantity import LARGEST_WHOLE
from trimwave.base.units import IntArray
from trimwave.methods.deft import Deft
from trimwave.methods.fedbiot import FedBiot
from trimwave.methods.fedqlora import FedQlora
from trimwave.methods.jcpba import Jcpba
from trimwave.methods.latency_budget import LatencyBudget
from trimwave.methods.lora import Lora
from trimwave.methods.partial import Partial
from trimwave.methods.personalised import Personalised
from trimwave.methods.split_lora import SplitLora
from trimwave.methods.ubfp import Ubfp
from trimwave.model.costs import Costs
from trimwave.plan.plan import Plan, Scheme, Situation
from trimwave.problem.limits import Limits
from trimwave.problem.problem import Problem
from trimwave.problem.solution import Solution


class Method(Protocol):
    """A rule that plans a round."""

    @property
    def label(self) -> str:
        """What tables and pictures call it."""

    def scheme(self, costs: Costs, limits: Limits) -> Scheme:
        """Say what stays fixed over a run.

        Raises
        ------
        InputError
            If an option does not fit the model.
        """

    def plan(self, situation: Situation) -> Plan:
        """Decide a round.

        Raises
        ------
        InfeasibleError
            If the situation has no solution.
        InputError
            If the method cannot serve it: what to change.
        """


@runtime_checkable
class SolvesP1(Protocol):
    """A method whose plan is an answer to P1, eq. (10)."""

    def problem(self, situation: Situation) -> Problem:
        """Return P1 of a round, as the method solves it."""

    def plan_for(
        self,
        situation: Situation,
        problem: Problem,
        solution: Solution,
        clients: IntArray | None = None,
    ) -> Plan:
        """Return the plan of an answer to P1 of some clients, or of all."""


METHODS: dict[str, type[Any]] = {
    "jcpba": Jcpba,
    "ubfp": Ubfp,
    "fedbiot": FedBiot,
    "deft": Deft,
    "split_lora": SplitLora,
    "lora": Lora,
    "fedqlora": FedQlora,
    "latency_budget": LatencyBudget,
    "personalised": Personalised,
    "partial": Partial,
}

ALL = tuple(
    variant
    for name in METHODS
    for variant in ((name, "jcpba:solver=bcd") if name == "jcpba" else (name,))
)
"""What `--methods all` means: every method, and JCPBA with both solvers."""

Options = Mapping[str, Mapping[str, Any]]
"""A recipe's `[options.NAME]` tables."""


def parse_method(text: str, options: Options | None = None) -> Method:
    """Read ``name`` or ``name:option=value[:option=value]``.

    Parameters
    ----------
    text : str
        What the user wrote; wins over `options`.
    options : mapping, optional
        A recipe's options, by name of the method.

    Raises
    ------
    InputError
        If the name, an option or its value is unknown; lists the legal ones.
    """
    name, chosen = _split(text)
    for other, table in (options or {}).items():
        if other not in METHODS:
            raise InputError(
                f"`options.{other}`: no method `{other}`; {nearest(other, METHODS)}"
            )
        METHODS[other](**_convert_all(other, table))  # its range checks too
    values = {**(options or {}).get(name, {}), **chosen}
    method: Method = METHODS[name](**_convert_all(name, values))
    return method


def label_of(text: str, options: Options | None = None) -> str:
    """Return what tables call a method with the options that the user wrote."""
    name, chosen = _split(text)
    kinds = {field.name: field.type for field in fields(METHODS[name])}
    values = _convert_all(name, chosen)
    label = parse_method(text, options).label
    for key, value in values.items():
        if key == "solver":  # in the label already
            continue
        label += f" {value}" if get_origin(kinds[key]) is Literal else f" {key}={value}"
    return label


def _split(text: str) -> tuple[str, dict[str, str]]:
    name, *assignments = text.strip().split(":")
    if name not in METHODS:
        raise InputError(f"no method `{name}`; {nearest(name, METHODS)}")
    chosen: dict[str, str] = {}
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        if key in chosen:
            raise InputError(f"option `{key}` of `{name}` is given twice.")
        chosen[key] = value
    return name, chosen


def _convert_all(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    kinds = {field.name: field.type for field in fields(METHODS[name])}
    converted = {}
    for key, value in values.items():
        if key not in kinds:
            hint = nearest(key, kinds) if kinds else "it has none"
            raise InputError(f"method `{name}` has no option `{key}`; {hint}")
        converted[key] = _convert(kinds[key], value, f"option `{key}` of `{name}`")
    return converted


def _convert(kind: Any, value: Any, what: str) -> Any:
    """Read one option's value, from text or from a recipe."""
    if isinstance(kind, UnionType):
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        for legal in get_args(kind):
            if str(value) == str(legal):
                return legal
        legal = ", ".join(str(one) for one in get_args(kind))
        raise InputError(f"{what} must be one of {legal}, got {value!r}.")
    try:
        number = kind(value)
        cut = isinstance(value, float) and number != value
        if isinstance(value, bool) or cut or not isfinite(number):
            raise ValueError
    except (OverflowError, TypeError, ValueError):
        kinds = {int: "a whole number", float: "a finite number"}
        raise InputError(f"{what} must be {kinds[kind]}, got {value!r}.") from None
    if kind is int and abs(number) > LARGEST_WHOLE:
        raise InputError(f"{what} must be at most 2^53, got {number:.3g}.")
    return number


__all__ = [
    "ALL",
    "METHODS",
    "Deft",
    "FedBiot",
    "FedQlora",
    "Jcpba",
    "LatencyBudget",
    "Lora",
    "Method",
    "Partial",
    "Personalised",
    "SolvesP1",
    "SplitLora",
    "Ubfp",
    "label_of",
    "parse_method",
]

"""Methods: each a pure function from a problem to a `Plan`, by name and options.

``parse_method("jcpba:solver=bcd")`` reads a name with options; the options are the
fields of the method's dataclass, and their types say the legal values.
"""

from dataclasses import fields
from typing import Any, Protocol, get_args, get_origin

from trimwave.errors import InputError, nearest
from trimwave.methods.jcpba import Jcpba
from trimwave.methods.ubfp import Ubfp
from trimwave.problem import Problem
from trimwave.solution import Plan


class Method(Protocol):
    """A rule that plans a round."""

    @property
    def label(self) -> str:
        """What tables and pictures call it."""

    def plan(self, problem: Problem) -> Plan:
        """Decide a round.

        Raises
        ------
        InfeasibleError
            If the problem has no solution.
        """


METHODS: dict[str, type[Any]] = {"jcpba": Jcpba, "ubfp": Ubfp}


def parse_method(text: str) -> Method:
    """Read ``name`` or ``name:option=value[:option=value]``.

    Raises
    ------
    InputError
        If the name, an option or its value is unknown; lists the legal ones.
    """
    name, *assignments = text.strip().split(":")
    if name not in METHODS:
        raise InputError(f"no method `{name}`; {nearest(name, METHODS)}")
    options = {field.name: field.type for field in fields(METHODS[name])}
    chosen = {}
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        if key not in options:
            hint = nearest(key, options) if options else "it has none"
            raise InputError(f"method `{name}` has no option `{key}`; {hint}")
        if key in chosen:
            raise InputError(f"option `{key}` of `{name}` is given twice.")
        legal = get_args(options[key]) if get_origin(options[key]) else ()
        if value not in legal:
            raise InputError(
                f"option `{key}` of `{name}` must be one of {', '.join(legal)}, "
                f"got {value!r}."
            )
        chosen[key] = value
    method: Method = METHODS[name](**chosen)
    return method


__all__ = ["METHODS", "Jcpba", "Method", "Ubfp", "parse_method"]

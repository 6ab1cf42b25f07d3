"""From what a user writes to a method: ``name:option=value``, ``module:Class``."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, get_origin

from trimwave.base.errors import InputError
from trimwave.methods.method import Method
from trimwave.methods.options import convert_all, kinds_of, require_all
from trimwave.methods.own import digest_of_rule, fault, file_of_rule, is_own
from trimwave.methods.registry import METHODS, kind_of, origin_of

Options = Mapping[str, Mapping[str, Any]]
"""A recipe's `[options.NAME]` tables."""


def parse_method(text: str, options: Options | None = None) -> Method:
    """Read ``name`` or ``name:option=value[:option=value]``.

    Parameters
    ----------
    text : str
        What the user wrote; wins over `options`. The name is one of `trimwave
        methods`, or ``module:Class``.
    options : mapping, optional
        A recipe's options, by name of the method.

    Raises
    ------
    InputError
        If the name, an option or its value is unknown; lists the legal ones.
    """
    name, chosen = _split(text)
    for other, table in (options or {}).items():
        if other != name:
            try:
                kind = kind_of(other)
            except InputError as error:
                raise InputError(f"`options.{other}`: {error}") from error
            _made(other, kind, table)  # its range checks too
    kind, table = kind_of(name), (options or {}).get(name, {})
    _made(name, kind, table, partly=True)
    return _made(name, kind, {**table, **chosen})


def _made(
    name: str, kind: type[Any], table: Mapping[str, Any], *, partly: bool = False
) -> Method:
    """Make a method of options."""
    values = convert_all(name, kind, table)
    if not partly:
        require_all(name, kind, values)
    elif not table:
        return kind  # type: ignore[return-value]
    try:
        method: Method = kind(**values)
        method.label  # noqa: B018 - a property of the user's
    except InputError:
        raise
    except (Exception, SystemExit) as error:
        if is_own(kind):
            raise fault(error, kind, "cannot be made") from error
        raise
    return method


def label_of(text: str, options: Options | None = None) -> str:
    """Return what tables call a method with the options that the user wrote."""
    name, chosen = _split(text)
    kind = kind_of(name)
    kinds, values = kinds_of(kind), convert_all(name, kind, chosen)
    label = str(parse_method(text, options).label)
    for key, value in values.items():
        if key == "solver":  # in the label already
            continue
        label += f" {value}" if get_origin(kinds[key]) is Literal else f" {key}={value}"
    return label


def name_of(text: str) -> str:
    """Return the name of a method without its options; nothing is imported."""
    return _split(text)[0]


def text_of(method: str | Method | type[Any]) -> str:
    """Return what `parse_method` reads as a method: of a text, a class or an object.

    Raises
    ------
    InputError
        If the class cannot be found by its module's name, or a field has a value that
        no text can say.
    """
    if isinstance(method, str):
        return method
    kind = method if isinstance(method, type) else type(method)
    known = {one: name for name, one in METHODS.items()}
    text = known.get(kind, f"{kind.__module__}:{kind.__qualname__}")
    if "<locals>" in text:
        raise InputError(
            f"the class `{kind.__qualname__}` is made inside a function; define it at "
            "the top of a module or notebook, so that a run can find it again."
        )
    if isinstance(method, type):
        return text
    kind_of(text)  # a class that is no method says so first
    for field in fields(method):  # type: ignore[arg-type]
        value = getattr(method, field.name)
        if value != field.default:
            text += f":{field.name}={value}"
    if parse_method(text) != method:
        raise InputError(f"{method!r} cannot be written as a method's name, {text!r}.")
    return text


def facts_of_rule(text: str) -> dict[str, Any]:
    """Return what a manifest says of a rule of the user's own: class and content."""
    name = name_of(text)
    if name in METHODS:
        return {}
    kind = kind_of(name)
    facts = {
        "class": f"{kind.__module__}:{kind.__qualname__}",
        "file": digest_of_rule(kind),
    }
    origin = origin_of(name)
    return {"rule": facts | ({"package": origin} if origin else {})}


def inputs_of_rules(texts: tuple[str, ...]) -> dict[str, str]:
    """Return the files that rules of the user's own were loaded from, by digest."""
    found = {}
    for text in texts:
        if (name := name_of(text)) not in METHODS:
            kind = kind_of(name)
            place = file_of_rule(kind) or kind.__module__
            found[str(place)] = digest_of_rule(kind) or "unknown"
    return found


def _split(text: str) -> tuple[str, dict[str, str]]:
    name, *assignments = text.strip().split(":")
    if name not in METHODS and assignments and "=" not in assignments[0]:
        name = f"{name}:{assignments.pop(0)}"
    chosen: dict[str, str] = {}
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        if key in chosen:
            raise InputError(f"option `{key}` of `{name}` is given twice.")
        chosen[key] = value
    return name, chosen

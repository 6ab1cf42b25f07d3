"""Options of a method: its dataclass's fields, whose types say the legal values."""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from math import isfinite
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from trimwave.base.errors import InputError, nearest
from trimwave.base.quantity import LARGEST_WHOLE

KINDS = {int: "a whole number", float: "a number", bool: "true or false"}
"""What an option may be beside one of several words or numbers (`Literal`)."""


def kinds_of(kind: type[Any]) -> dict[str, Any]:
    """Return the options of a method with their types; ``T | None`` is T.

    Raises
    ------
    InputError
        If an option is of a type that no text can be read as.
    """
    try:
        hints = get_type_hints(kind)
    except Exception as error:  # names that only a type checker knows
        raise InputError(
            f"the types of `{kind.__name__}`'s options cannot be read: {error}."
        ) from error
    kinds = {}
    for field in fields(kind):
        one = hints[field.name]
        if get_origin(one) in (UnionType, Union):
            one = get_args(one)[0]
        if one not in KINDS and get_origin(one) is not Literal and not _table(one):
            raise InputError(
                f"option `{field.name}` of `{kind.__name__}` is of type {one}; options "
                "are int, float, bool or Literal[...], or one of these with | None, or "
                "tuple[T, ...] of a dataclass of such."
            )
        kinds[field.name] = one
    return kinds


def convert_all(
    name: str, kind: type[Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Read options of a method, from text or from a recipe.

    Raises
    ------
    InputError
        If there is no such option, its value is wrong, or one without a default is
        missing.
    """
    return _converted(f"method `{name}`", f"`{name}`", kind, values)


def _converted(
    owner: str, name: str, kind: type[Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    """Read options; messages call who has them `owner`, or `name` after "of"."""
    kinds, converted = kinds_of(kind), {}
    for key, value in values.items():
        if key not in kinds:
            hint = nearest(key, kinds) if kinds else "it has none"
            raise InputError(f"{owner} has no option `{key}`; {hint}")
        converted[key] = _convert(kinds[key], value, f"option `{key}` of {name}")
    return converted


def require_all(name: str, kind: type[Any], values: Mapping[str, Any]) -> None:
    """Refuse options that leave one out that has no default.

    Raises
    ------
    InputError
        Naming the option.
    """
    for field in fields(kind):
        bare = field.default is MISSING and field.default_factory is MISSING
        if bare and field.name not in values:
            raise InputError(
                f"option `{field.name}` of `{name}` has no default; give it one in the "
                f"class, or write {name}:{field.name}=..."
            )


def _table(kind: Any) -> type[Any] | None:
    """Return the dataclass that an option is a sequence of, if it is one."""
    inner = get_args(kind)[:1]
    if get_origin(kind) is tuple and inner and is_dataclass(inner[0]):
        return inner[0]  # type: ignore[return-value]
    return None


def _entry(name: str, table: type[Any], values: Any) -> Any:
    """Read one table of a list of them."""
    if not isinstance(values, Mapping):
        raise InputError(f"{name} is no table, got {values!r}.")
    given = _converted(name, name, table, values)
    try:
        return table(**given)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _convert(kind: Any, value: Any, what: str) -> Any:
    if table := _table(kind):
        if not isinstance(value, list | tuple):
            raise InputError(
                f"{what} is a list of tables, written in a recipe as [[options.NAME."
                f"OPTION]], got {value!r}."
            )
        if not value:
            raise InputError(f"{what} is a list without a table; leave it out.")
        return tuple(
            _entry(f"entry {at} of {what}", table, one) for at, one in enumerate(value)
        )
    if get_origin(kind) is Literal:
        for legal in get_args(kind):
            if str(value) == str(legal):
                return legal
        legal = ", ".join(str(one) for one in get_args(kind))
        raise InputError(f"{what} must be one of {legal}, got {value!r}.")
    if kind is bool:
        known = {"true": True, "false": False}
        if str(value).lower() not in known:
            raise InputError(f"{what} must be true or false, got {value!r}.")
        return known[str(value).lower()]
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

"""A tree of plain values as dataclasses, each checked against the type of its field."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from trimwave.base.errors import InputError, nearest, printable
from trimwave.base.quantity import LARGEST_WHOLE

KINDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
"""How types are called in messages."""


def build(cls: type[Any], tree: Mapping[str, Any], where: str, prefix: str = "") -> Any:
    """Build a dataclass, and those in its fields, from a nested dict.

    Parameters
    ----------
    cls : type
        The dataclass; its fields hold types of `KINDS`, literals, tuples, unions with
        None, dicts of tables, and further dataclasses.
    where : str
        The source, as errors name it.
    prefix : str
        Of the keys in errors, such as ``data.``.

    Raises
    ------
    InputError
        If a key is unknown or a value is of another type: which, and what is legal.
    """
    known = {item.name: item for item in fields(cls)}
    values = {}
    for key, value in tree.items():
        if key not in known:
            raise InputError(
                f"{where}: unknown key `{prefix}{printable(key)}`; "
                f"{nearest(key, known)}"
            )
        kind = known[key].type
        if is_dataclass(kind):
            if not isinstance(value, Mapping):
                first = fields(kind)[0].name
                raise InputError(
                    f"{where}: `{prefix}{key}` must be a table, got {value!r}; name "
                    f"its key, as `{prefix}{key}.{first}`."
                )
            values[key] = build(kind, value, where, f"{prefix}{key}.")  # type: ignore[arg-type]
        elif get_origin(kind) is dict:
            values[key] = _tables(value, f"{where}: `{prefix}{key}`")
        else:
            values[key] = _convert(kind, value, f"{where}: `{prefix}{key}`")
    return cls(**values)


def _is_option(value: Any) -> bool:
    """Whether an option may be this: a plain value, or a list of tables of such."""
    if not isinstance(value, list):
        return not isinstance(value, Mapping)
    return bool(value) and all(
        isinstance(one, Mapping)
        and not any(isinstance(item, Mapping | list) for item in one.values())
        for one in value
    )


def _tables(value: Any, where: str) -> dict[str, dict[str, Any]]:
    """Check tables of plain values, or of lists of such tables.

    The methods know what the keys may be.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{where} must be a table of tables, got {value!r}.")
    for name, table in value.items():
        if not isinstance(table, Mapping):
            raise InputError(
                f"{where}: `{name}` must be a table of options, got {table!r}."
            )
        for key, option in table.items():
            if not _is_option(option):
                raise InputError(
                    f"{where}: `{name}.{key}` must be a plain value or a list of "
                    f"tables, each [[options.{name}.{key}]], got {option!r}."
                )
    return {name: dict(table) for name, table in value.items()}


def _convert(kind: Any, value: Any, where: str) -> Any:
    """Check one value against its field's type; integers pass for floats."""
    if get_origin(kind) is Literal:
        if not any(value == one and type(value) is type(one) for one in get_args(kind)):
            legal = ", ".join(str(item) for item in get_args(kind))
            raise InputError(f"{where} must be one of {legal}, got {value!r}.")
        return value
    if get_origin(kind) is tuple:
        return _convert_tuple(kind, value, where)
    if isinstance(kind, UnionType):
        return None if value is None else _convert(get_args(kind)[0], value, where)
    if kind is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise InputError(f"{where} has too many digits for a number.") from None
    if type(value) is int and kind is int and abs(value) > LARGEST_WHOLE:
        raise InputError(f"{where} must be at most 2^53, got {value:.3g}.")
    if type(value) is not kind:
        raise InputError(f"{where} must be {KINDS[kind]}, got {value!r}.")
    if kind is float and value != value:
        raise InputError(f"{where} must be a number, got nan.")
    return value


def _convert_tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    items = get_args(kind)
    if not isinstance(value, list | tuple):
        raise InputError(f"{where} must be a list, got {value!r}.")
    if items[-1] is Ellipsis:
        return tuple(_convert(items[0], item, where) for item in value)
    if len(value) != len(items):
        raise InputError(f"{where} must have {len(items)} values, got {value!r}.")
    return tuple(
        _convert(item, one, where) for item, one in zip(items, value, strict=True)
    )

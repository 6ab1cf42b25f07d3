"""Rules of others: a class by ``module:Class``, and whose fault a failure is."""

import importlib
import inspect
import os
import sys
import sysconfig
import traceback
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from trimwave.base.errors import InputError, one_line, printable
from trimwave.base.receipt import file_sha256

PACKAGE = Path(__file__).parents[1]
LIBRARIES = tuple(
    sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
"""Where Python and what is installed lie."""

NEEDED = {
    "label": "what tables call it",
    "scheme": "what stays fixed over a run",
    "plan": "who gets what in a round",
}
"""What a rule has, and what that says."""

_digests: WeakKeyDictionary[ModuleType, str | None] = WeakKeyDictionary()
"""Of the files that rules were loaded from, as they were then."""


def is_own(kind: type[Any]) -> bool:
    """Whether a method is none of this package's."""
    return kind.__module__.partition(".")[0] != "trimwave"


def load_rule(name: str) -> type[Any]:
    """Import a rule's class, from the working directory too.

    Parameters
    ----------
    name : str
        ``package.module:Class``.

    Raises
    ------
    InputError
        If there is none, its module cannot be imported, or it is no method: where in
        whose file.
    """
    module_name, _, path = name.partition(":")
    said = f"method `{printable(name)}`"
    if module_name.endswith(".py") or "/" in module_name:
        raise InputError(
            f"{said}: name a module, not a file: my_rule:{path or 'Rule'} for "
            "my_rule.py in the working directory."
        )
    parts = [*module_name.split("."), *path.split(".")]
    if not all(part.isidentifier() for part in parts):
        raise InputError(f"{said} is no package.module:Class.")
    module = _module(module_name, said)
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            classes = [
                key
                for key, one in vars(module).items()
                if isinstance(one, type) and one.__module__ == module_name
            ]
            raise InputError(
                f"{said}: {_place(module)} has no `{part}`; its classes: "
                f"{', '.join(classes) or 'none'}."
            )
        found = getattr(found, part)
    _check_kind(found, said)
    return found


def _module(name: str, said: str) -> ModuleType:
    """Import a module of a user's; remember what its file held."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)  # last, so that no file there hides a library
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            raise InputError(
                f"{said}: no module `{error.name}` in the working directory {here}, on "
                "PYTHONPATH or among the installed packages."
            ) from None
        raise InputError(f"{said} {_failed('cannot be imported', error)}") from error
    except (Exception, SystemExit) as error:
        raise InputError(f"{said} {_failed('cannot be imported', error)}") from error
    _check_not_hidden(name, said)
    if module not in _digests:
        _digests[module] = _digest(module)
    return module


def _check_not_hidden(name: str, said: str) -> None:
    """Refuse a module that hides the file of its name in the working directory."""
    top = name.partition(".")[0]
    found = getattr(sys.modules[top], "__file__", None)
    for own in (Path(f"{top}.py"), Path(top, "__init__.py")):
        if found and own.is_file() and not os.path.samefile(own, found):
            raise InputError(
                f"{said}: the module `{top}` is {found}, not {own} of the working "
                "directory; give yours another name."
            )


def _check_kind(kind: object, said: str) -> None:
    if not isinstance(kind, type):
        raise InputError(f"{said} is a {type(kind).__name__}, not a class.")
    if not is_dataclass(kind) or "__dataclass_fields__" not in vars(kind):
        raise InputError(
            f"{said} is no dataclass; write @dataclass(frozen=True) above the class: "
            "its fields are the rule's options."
        )
    if not kind.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise InputError(
            f"{said} can be changed; write @dataclass(frozen=True): a rule decides "
            "from the situation alone, and `Plan.carry` is what it keeps."
        )
    missing = [name for name in NEEDED if not hasattr(kind, name)]
    if missing:
        needs = " and ".join(f"`{name}` ({NEEDED[name]})" for name in missing)
        raise InputError(
            f"{said} is no method: it has no {needs}; `trimwave.PruningRule` has all "
            "but `decide`."
        )


def fault(error: BaseException, kind: type[Any], doing: str) -> InputError:
    """Return an error that says where a rule failed, and that it is the rule's."""
    name = f"{kind.__module__}:{kind.__qualname__}"
    return InputError(f"method `{name}` {_failed(doing, error)}")


def _failed(doing: str, error: BaseException) -> str:
    """Say what failed, where in the user's file, and how."""
    what = one_line(f"{type(error).__name__}: {error}".rstrip(": "))
    if "non-frozen dataclass from a frozen" in what:
        what += "; write @dataclass(frozen=True) above the class"
    where = ""
    if isinstance(error, SyntaxError) and error.filename:
        where = f" at {error.filename}, line {error.lineno}"
        what = one_line(f"{type(error).__name__}: {error.msg}")
    else:
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith(("<frozen", str(PACKAGE)))
        ]
        own = [one for one in frames if not one.filename.startswith(LIBRARIES)]
        own = own or frames
        if own:
            where = f" at {own[-1].filename}, line {own[-1].lineno}"
    return f"{doing}{where}: {what}. The fault is in the rule, not in trimwave."


def digest_of_rule(kind: type[Any]) -> str | None:
    """Return the SHA-256 of the file that a rule was loaded from; None if none."""
    module = sys.modules[kind.__module__]
    if module not in _digests:
        _digests[module] = _digest(module)
    return _digests[module]


def file_of_rule(kind: type[Any]) -> Path | None:
    """Return the file that a rule was loaded from; None in a notebook."""
    try:
        return Path(inspect.getfile(kind))
    except (OSError, TypeError):
        return None


def _digest(module: ModuleType) -> str | None:
    try:
        return f"sha256:{file_sha256(Path(str(module.__file__)))}"
    except (AttributeError, OSError):
        return None


def _place(module: ModuleType) -> str:
    return str(getattr(module, "__file__", None) or module.__name__)

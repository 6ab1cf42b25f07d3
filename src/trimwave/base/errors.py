"""What a user can do wrong, as exceptions.

::

    ValueError
    └── InputError             a value the user gave; the command line prints it bare
        ├── InfeasibleError    P1 has no solution; carries the violations
        └── RunError           a run folder that cannot be resumed or written
            ├── DamagedError   a file of ours that is not as it was written
            └── DivergedError  a round whose losses or updates are not finite
    ImportError
    └── MissingExtraError      an optional dependency is absent; says the pip command
"""

from collections.abc import Iterable


class InputError(ValueError):
    """A value the user gave is wrong: says which, where, and what to do."""


class InfeasibleError(InputError):
    """P1 has no solution.

    Attributes
    ----------
    violations : tuple of str
        One sentence per violated constraint: constraint, client, shortfall, remedy.
    """

    def __init__(self, violations: Iterable[object]) -> None:
        self.violations = tuple(str(violation) for violation in violations)
        super().__init__("infeasible: " + " ".join(self.violations))


class RunError(InputError):
    """A run folder cannot be resumed, read or written."""


class DivergedError(RunError):
    """A round's losses or updates are not finite: the step size is too large."""


class DamagedError(RunError):
    """A file that this package wrote is not as it was written."""


class MissingExtraError(ImportError):
    """An optional dependency is not installed."""

    def __init__(self, extra: str, missing: str) -> None:
        super().__init__(
            f"`{missing}` is not installed; run: pip install 'trimwave[{extra}]'"
        )


def one_line(text: object, longest: int = 160) -> str:
    """Return a text of others, such as an exception's, on one line and not too long."""
    line = " ".join(str(text).split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


def printable(text: str) -> str:
    """Return a text whose line ends and control characters are written as escapes."""
    return "".join(
        one if one.isprintable() or one == "\u00a0" else ascii(one)[1:-1]
        for one in text
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint naming the nearest known name, or the list of them."""
    import difflib

    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean `{close[0]}`?"
    return "known: " + ", ".join(known)

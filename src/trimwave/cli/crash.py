"""A fault of ours: one line for the terminal, all of it in a file to be reported."""

import platform
import sys
import tempfile
import traceback
from importlib.metadata import version


def report_of(error: Exception) -> str:
    """Write the full report of an unforeseen error and say in a line where it is.

    Parameters
    ----------
    error : Exception
        What nobody handled.

    Returns
    -------
    str
        What happened, and the file; without one, if none can be written.
    """
    first = (str(error).strip().splitlines() or [""])[0][:200]
    what = f"a fault of trimwave's own, {type(error).__name__}: {first}".rstrip(" :")
    facts = (
        f"trimwave {version('trimwave')}, Python {platform.python_version()}, "
        f"{platform.platform()}\n{' '.join(sys.argv)}\n\n"
    )
    text = facts + "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            prefix="trimwave-report-",
            suffix=".txt",
            delete=False,
            encoding="utf-8",
            errors="backslashreplace",
        ) as file:
            file.write(text)
    except OSError:
        return f"{what} (no room for a report)."
    return f"{what}. Please report it with the file {file.name}."

"""What no command foresaw: one line for the terminal, a fault of ours in a file too."""

import platform
import sys
import tempfile
import traceback
from importlib.metadata import version


def outside(error: Exception) -> str:
    """Say in a line what the machine refused; nothing, where the fault is ours."""
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}."
    # torch has an error of this name for a GPU, and words for a CPU.
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(
        error
    ):
        error = MemoryError()
    if isinstance(error, MemoryError):
        return (
            "memory ran out; lower `cell.num_clients`, `train.batch_size` or "
            "`data.max_tokens`, or take a smaller model."
        )
    return ""


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

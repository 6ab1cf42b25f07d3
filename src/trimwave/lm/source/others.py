"""Other libraries: any failure on a user's files is one line, and none chats."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

from trimwave.base.errors import InputError, one_line


@contextlib.contextmanager
def loading(
    what: str, remedy: str = "check that its files are whole and of one model"
) -> Iterator[None]:
    """Say in one line what could not be loaded and what to do, quietly.

    Raises
    ------
    InputError
        In place of whatever the libraries raise: their classes are many, and a broken
        file shows as any of them.
    """
    try:
        with quiet_transformers():
            yield
    except InputError:
        raise
    except BaseException as error:
        # The tokenizers library panics with a class that is no Exception.
        panic = type(error).__name__ == "PanicException"
        if not (isinstance(error, Exception) or panic):
            raise
        raise InputError(
            f"could not load {what} ({type(error).__name__}: {one_line(error)}); "
            f"{remedy}."
        ) from error


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' progress bars and advice off the screen."""
    from transformers.utils import logging as theirs

    bars: Any = theirs.is_progress_bar_enabled()
    verbosity = theirs.get_verbosity()
    theirs.set_verbosity_error()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        theirs.set_verbosity(verbosity)
        if bars:
            theirs.enable_progress_bar()


@contextlib.contextmanager
def quiet_bitsandbytes() -> Iterator[None]:
    """Keep its warnings of kernels that nothing here needs off the screen.

    For its first import, which peft's is too; on a processor with AVX-512 it looks for
    a kernel on the hub.
    """
    theirs = logging.getLogger("bitsandbytes")
    level = theirs.level
    theirs.setLevel(logging.ERROR)
    try:
        yield
    finally:
        theirs.setLevel(level)

"""Signals that ask a process to stop: Ctrl-C, `kill`, a closed terminal."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(SystemExit):
    """A signal other than Ctrl-C asked this process to stop; the exit status tells."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


def stop_alike() -> None:
    """Have `kill` and a closed terminal stop this process as Ctrl-C does.

    A signal that the process was started to ignore, as under ``nohup``, stays ignored,
    and so is each that comes after the first: what it would break off is the stopping.
    """
    global _stopping
    _stopping = False
    for number in STOP_SIGNALS:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, _stop)


_stopping = False


def _stop(number: int, frame: FrameType | None) -> None:
    global _stopping
    if not _stopping:
        _stopping = True
        raise KeyboardInterrupt if number == signal.SIGINT else Stopped(number)


@contextmanager
def deferred_stop() -> Iterator[None]:
    """Hold stop signals back until the block ends, then deliver them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []

    def hold(number: int, frame: FrameType | None) -> None:
        held.append(number)

    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    for number, handler in before.items():
        if handler not in (signal.SIG_IGN, None):
            signal.signal(number, hold)
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
    if held:
        signal.raise_signal(held[0])

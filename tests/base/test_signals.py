import os
import signal

import pytest

from trimwave.base.signals import STOP_SIGNALS, Stopped, deferred_stop, stop_alike


@pytest.fixture(autouse=True)
def handlers():
    """Put the handlers back that the tests change."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield before
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_stop_is_not_held_for_longer_than_the_block():
    # Whatever an earlier test's command line left: it takes one stop and no second.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt), deferred_stop():
        os.kill(os.getpid(), signal.SIGINT)
        reached = True
    assert reached
    with deferred_stop():
        pass
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        signal.pause()


@pytest.mark.parametrize("number", STOP_SIGNALS[1:])
def test_other_signals_stop_alike(number):
    signal.signal(number, signal.SIG_DFL)
    stop_alike()
    with pytest.raises(Stopped) as caught, deferred_stop():
        os.kill(os.getpid(), number)
        reached = True
    assert reached
    assert caught.value.code == 128 + number


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_alike()
    with deferred_stop():
        os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize("first", STOP_SIGNALS)
def test_a_second_signal_does_not_break_off_the_stopping(first):
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    stop_alike()
    told = []
    with pytest.raises((KeyboardInterrupt, Stopped)) as caught:
        try:
            signal.raise_signal(first)
        finally:
            for number in STOP_SIGNALS:
                signal.raise_signal(number)
            told.append("how to go on")
    assert told == ["how to go on"]
    assert getattr(caught.value, "code", 130) == 128 + first
    stop_alike()  # another command in the same process can be stopped again
    with pytest.raises((KeyboardInterrupt, Stopped)):
        signal.raise_signal(first)

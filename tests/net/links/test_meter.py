import pytest

from trimwave.net.links.meter import Meter

MB = 10**6


class Counted:
    """Links of one client whose counts are as they are set."""

    def __init__(self):
        self.now = (0, 0)

    def counts(self):
        return [self.now]


@pytest.fixture
def meter(monkeypatch):
    """Have read at 0, 1, ..., 9 s: 100 MB a second go down from 2 to 5 s, and 1 MB a
    second else; 50 go up from 7 to 8 s."""
    links = Counted()
    meter = Meter(links)
    down = [0, 1, 2, 102, 202, 302, 303, 304, 305, 306]
    for second, passed in enumerate(down):
        links.now = (passed * MB, 50 * MB if second >= 8 else 0)
        monkeypatch.setattr("time.monotonic", lambda second=second: float(second))
        meter._read()
    return meter


def test_seconds_that_carried_bytes(meter):
    assert meter.passed(0, 0, 0.0, 9.0, 800.0 * MB) == (3.0, 306.0 * MB)
    assert meter.passed(0, 1, 6.0, 9.0, 400.0 * MB) == (1.0, 50.0 * MB)
    assert meter.started_s == 0.0


def test_a_link_without_a_limit_is_busy_with_any_byte(meter):
    assert meter.passed(0, 0, 0.0, 9.0, float("inf")) == (9.0, 306.0 * MB)


def test_the_step_that_a_time_falls_into_counts(meter):
    assert meter.passed(0, 0, 3.5, 4.5, 800.0 * MB)[0] == 2.0
    assert meter.passed(0, 0, 20.0, 30.0, 800.0 * MB) == (0.0, 0.0)


def test_it_reads_by_itself(monkeypatch):
    monkeypatch.setattr("trimwave.net.links.meter.SAMPLE_S", 0.002)
    links = Counted()
    with Meter(links) as meter:
        links.now = (10, 20)
        while meter.passed(0, 1, 0.0, float("inf"), float("inf"))[1] < 20:
            pass
    assert meter.passed(0, 0, 0.0, float("inf"), float("inf"))[1] == 10


def test_a_slow_link_is_not_idle_between_two_pieces(monkeypatch):
    links = Counted()
    meter = Meter(links)
    for step in range(101):  # a KiB every other reading, 10 KiB a second
        links.now = (1024 * (step // 2), 0)
        monkeypatch.setattr("time.monotonic", lambda step=step: 0.05 * step)
        meter._read()
    busy_s, moved = meter.passed(0, 0, 0.0, 5.0, 8 * 10240)
    assert moved == 1024 * 50
    assert busy_s == pytest.approx(5.0)

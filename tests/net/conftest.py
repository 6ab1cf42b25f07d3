import pytest


@pytest.fixture
def soon(monkeypatch):
    """Look for nodes and answers all the time."""
    monkeypatch.setattr("trimwave.net.roll.WATCH_S", 0.02)
    monkeypatch.setattr("trimwave.net.backend.POLL_S", 0.01)

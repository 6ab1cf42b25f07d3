import tempfile
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep reports of faults, which these tests make, out of the system's folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

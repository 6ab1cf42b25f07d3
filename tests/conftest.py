import os
import signal
import sys

import pytest
from hypothesis import settings

# One thread a process: the matrices here are tiny, and `pytest -n auto` has as many
# processes as there are cores. Read when NumPy and torch are loaded, here and in what
# the tests start.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# The same examples at every run; others with --hypothesis-profile=default.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers():
    """As many as this process may use; each spends 15 s on loading torch."""
    return min(len(os.sched_getaffinity(0)), 8)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard():
    """A shell that starts the tests in the background has SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rules_forgotten():
    """Forget afterwards what was imported from outside the package, and its paths."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if name in ("notebook", "proportional") or "pytest-of-" in file:
            del sys.modules[name]

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


SAMPLED = {
    "test_a_client_computes_with_the_servers_rounded_weights": ("llama",),
    "test_a_draw_without_a_solution_leaves_the_others_alone": ("all", "base"),
    "test_a_package_has_the_planned_bits": ("llama",),
    "test_both_verbs_against_all_subsets": ("0-",),
    "test_each_variant_is_certified": ("all", "base"),
    "test_names_are_printed_as_they_are": ("bold",),
    "test_one_seed_gives_one_update": ("jcpba", "deft"),
    "test_one_thing_extreme": ("fixed",),
    "test_prices_are_slopes_of_the_latency": ("all", "base"),
    "test_real_points_are_real_and_feasible": ("-all", "-base"),
    "test_real_sizes_against_brute_force": ("all", "base"),
    "test_real_sizes_keep_every_constraint": ("jcpba", "deft"),
    "test_the_folder_is_the_split_model": ("llama", "gpt2]"),
    "test_the_price_of_memory_is_a_slope": ("all", "base"),
    "test_training_lowers_the_loss": ("llama",),
    "test_uploads_take_turns_after_the_last_download": ("all", "base"),
    "test_what_travels_is_what_was_planned": ("llama",),
}
"""Costly tests of many cases, by what the names of those have that are no slow ones."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave most cases of costly tests to the slow ones."""
    for item in items:
        kept = SAMPLED.get(getattr(item, "originalname", item.name))
        _, _, case = item.name.partition("[")
        if kept and not any(part in case for part in kept):
            item.add_marker(pytest.mark.slow)


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

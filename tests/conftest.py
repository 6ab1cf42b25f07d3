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


FEW_METHODS = "llama-jcpba]", "llama-deft", "llama-split_lora", "llama-fedbiot"

SAMPLED = {
    "test_a_client_computes_with_the_servers_rounded_weights": ("llama",),
    "test_a_device_is_held_to_the_speed_it_is_planned_with": ("llama",),
    "test_a_draw_without_a_solution_leaves_the_others_alone": ("all", "base"),
    "test_a_package_has_the_planned_bits": ("llama",),
    "test_both_verbs_against_all_subsets": ("0-base", "0-all"),
    "test_each_variant_is_certified": ("all", "base"),
    "test_names_are_printed_as_they_are": ("bold",),
    "test_one_seed_gives_one_update": ("jcpba]", "deft"),
    "test_one_thing_extreme": ("fixed",),
    "test_prices_are_slopes_of_the_latency": ("all", "base"),
    "test_real_points_are_real_and_feasible": ("-all", "-base"),
    "test_real_sizes_against_brute_force": ("all", "base"),
    "test_real_sizes_keep_every_constraint": ("jcpba]", "deft"),
    "test_the_folder_is_the_split_model": ("llama", "gpt2]"),
    "test_the_price_of_memory_is_a_slope": ("all", "base"),
    "test_training_lowers_the_loss": FEW_METHODS,
    "test_uploads_take_turns_after_the_last_download": ("all", "base"),
    "test_what_travels_is_what_was_planned": FEW_METHODS,
    "test_the_shared_workbench_stays_as_it_was": FEW_METHODS,
    "test_in_fp32_too": ("jcpba]", "deft"),
    "test_every_method_of_ours_passes": ("jcpba]", "deft", "split_lora"),
    "test_corners_of_the_limits": ("fixed",),
    "test_without_any_band_the_optimum_is_known": ("base", "all"),
    "test_the_general_model_under_fdd": (),
    "test_a_batch_is_its_draws": (),
    "test_no_split_within_the_bounds_is_sooner": (),
    "test_the_enclosed_minimum_is_that_of_a_fine_grid": (),
    "test_a_table_that_is_not_convex_against_brute_force": (),
    "test_no_proof_is_claimed_where_the_problem_is_not_quasi_convex": (),
    "test_joint_is_optimal_by_brute_force": (),
    "test_joint_is_optimal_under_noise_density": (),
    "test_scheduling_equals_brute_force_with_a_noise_density": (),
    "test_brute_force_over_two_clients": ("fixed", "all"),
    "test_generation_with_the_cache_is_greedy_decoding": ("llama",),
    "test_alignment_comes_nearer_and_reaches_the_clients": ("llama",),
    "test_the_test_loss_follows_the_aligned_emulator": ("llama",),
    "test_split_training_is_lora_on_all_blocks_and_the_head": ("llama",),
    "test_each_client_has_the_rows_that_it_was_dealt": (),
    "test_check_agrees_with_a_linear_program": (),
    "test_a_merged_model_has_the_recorded_loss": ("llama",),
    "test_peft_loads_the_adapter": ("llama",),
    "test_methods_on_one_bench_do_not_meet": (),
    "test_a_disk_that_fails_at_any_moment_loses_nothing": ("True-28",),
    "test_a_mutated_folder_loads_as_it_was_or_is_one_line": ("True",),
    "test_a_noise_power": (),
    "test_a_relative_model_is_the_working_directorys": (),
    "test_a_share_at_a_modems_cap_counts_as_stationary": ("100-3",),
    "test_a_spoilt_run_goes_on_alike_or_says_why_not": (),
    "test_any_array_of_the_cell_may_be_drawn": ("fading0",),
    "test_any_config_beside_weights_runs_or_is_one_line": ("gpt2",),
    "test_batches_of_any_length_answer_as_each_prompt_alone": ("llama", "gpt2"),
    "test_counts_are_exact_whatever_keys_are_given": ("llama", "gpt2"),
    "test_every_round_that_is_there_can_be_taken": ("2]",),
    "test_features_and_gradients_are_counted": ("llama",),
    "test_how_fast_it_falls_with_s_is_its_difference": ("all", "base"),
    "test_it_is_the_dual_of_p1": ("0.6-full",),
    "test_its_slope_is_the_difference_in_the_deadline": ("all", "base"),
    "test_later_alignment_travels_too": ("llama",),
    "test_make_lock_comes_back_with_what_is_committed": (),
    "test_many_draws_are_solved_as_one_by_one": ("all", "base"),
    "test_numbering_the_clients_otherwise_renames_the_chosen": ("base",),
    "test_only_the_adapter_is_uploaded": ("llama",),
    "test_only_the_adapter_moves": ("llama", "gpt2"),
    "test_the_head_learns_and_its_weight_does_not": ("llama",),
    "test_the_least_band_of_two_clients_is_that_of_a_grid": ("all", "base"),
    "test_the_long_run_keeps_the_target": (),
    "test_the_loss_falls": ("llama", "gpt2"),
    "test_the_most_within_a_band_and_the_least_band_are_duals": ("all", "base"),
    "test_zeros_are_as_good_as_cuts": ("llama", "gpt2"),
    "test_variants_with_a_noise_density": (),
    "test_letters_give_the_same_run": ("llama-jcpba]", "gpt2-lora"),
    "test_what_is_held_is_not_sent_again": ("gpt2-a",),
    "test_a_server_begun_anew_knows_what_is_held": (),
    "test_nothing_is_kept_where_the_recipe_says_so": (),
    "test_a_wrong_answer_does_not_count": ("another round", "nan", "NaN", "norm"),
    "test_who_joins_with_nonsense_is_left_out": ("300",),
    "test_what_a_client_says_of_itself_breaks_nothing": ("0]",),
    "test_two_devices_of_one_name_take_no_turns": (),
}
"""Costly tests, by what the names of those cases have that are no slow ones."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave most cases of costly tests to the slow ones."""
    for item in items:
        kept = SAMPLED.get(getattr(item, "originalname", item.name))
        _, _, case = item.name.partition("[")
        if kept is not None and not any(part in case for part in kept):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_is_heard():
    """A shell that starts the tests in the background has SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def bench_kind():
    """Which kind of model `bench` has; a module may have another, or several."""
    return "llama"


@pytest.fixture(scope="module")
def bench(tmp_path_factory, bench_kind):
    """Make the workbench of a miniature run, with a cache of its own, for a module."""
    from tiny_run import make_bench  # loads torch

    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(folder / "cache"))
        yield make_bench(folder, bench_kind)


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

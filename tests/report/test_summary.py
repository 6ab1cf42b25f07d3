import io
import json

import numpy as np
import pytest
from made_up import FAST, cells_of, full_set, run, run_with
from rich.console import Console

from trimwave.report.summary import (
    _shown,
    numbers_of,
    summarise,
    summary_json,
    table,
)
from trimwave.report.target import choose_target


def printed(results, width=80):
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False)
    target = choose_target(results)
    console.print(table(numbers_of(results, target), target))
    return console.file.getvalue()


def test_a_run_in_numbers():
    assert summarise(run()) == pytest.approx(
        {
            "rounds": 2.0,
            "virtual_s": 6.0,
            "loss_emulator_start": 3.0,
            "loss_full_start": 2.5,
            "loss_emulator": 1.5,
            "loss_full": 1.25,
            "best_round": 2.0,
            "loss_full_best": 1.25,
            "round_s": 3.0,  # of 2 and 4
            "install_s": 7.5,
            "prune_rate": 0.3,  # of 0.1, 0.3, 0.2, 0.6
            "down_mib": 6.0,  # 8 + 16, two clients, two rounds
            "up_mib": 1.5,
            "gflops": 4.5,
            "memory_gb": 2.0,  # client 0 in round 2
        }
    )


def test_who_is_not_scheduled_does_not_count():
    records = run()
    records[1]["client_train_loss"] = [None, 1.0]
    records[1]["plan"] |= {
        "scheduled": [False, True],
        "prune_rate": [None, 0.3],
        "memory_bytes": [0, 3 * 10**9],
    }
    summary = summarise(records)
    assert summary["down_mib"] == 8.0  # 8 + 16 over one and two clients
    assert summary["up_mib"] == 2.0
    assert summary["gflops"] == 6.0
    assert summary["memory_gb"] == 3.0
    assert summary["prune_rate"] == pytest.approx((0.3 + 0.2 + 0.6) / 3)


def test_a_run_without_a_round_in_numbers():
    summary = summarise(run()[:1])
    assert summary["rounds"] == 0
    assert summary["virtual_s"] == 0.0
    assert summary["loss_full"] == summary["loss_full_start"] == 2.5
    assert "round_s" not in summary


def test_the_table_of_one_seed():
    rows = cells_of({"JCPBA*": [run()], "UBFP": [run(0.25)]})
    assert list(rows) == ["untrained", "JCPBA*", "UBFP"]
    assert rows["JCPBA*"] == {
        "targetround": "2",
        "targets": "6.00",
        "sperround": "3.00",
        "set-ups": "7.50",
        "downMiB": "6.00",
        "upMiB": "1.50",
        "GFLOPs": "4.50",
        "peakGB": "2.00",
        "loss,emul.": "1.500",
        "loss,full": "1.250",
    }
    assert rows["UBFP"] == rows["JCPBA*"] | {"loss,emul.": "1.750"}
    assert rows["untrained"] == dict.fromkeys(rows["UBFP"], "") | {
        "loss,emul.": "3.000",
        "loss,full": "2.500",
    }


def test_an_untrained_loss_on_which_methods_differ_is_not_shown():
    results = {
        "UBFP": [run_with(FAST)],
        "FedBiOT": [run_with(FAST, emulator_shift=2.0)],
    }
    untrained = cells_of(results)["untrained"]
    assert untrained["loss,emul."] == ""
    assert untrained["loss,full"] == "2.500"


def test_the_table_of_several_seeds():
    rows = cells_of({"JCPBA*": [run(), run(0.1), run(0.5)]})
    deviation = np.std([1.5, 1.6, 2.0], ddof=1)
    assert rows["JCPBA*"]["loss,emul."] == f"1.700+-{deviation:.3f}"
    assert rows["JCPBA*"]["loss,full"] == "1.250"  # the seeds agree
    assert rows["JCPBA*"]["meanbeta"] == "0.30"


def test_the_table_of_a_run_that_has_just_begun():
    row = cells_of({"UBFP": [run()[:1]]})["UBFP"]
    shown = {title: cell for title, cell in row.items() if cell}
    assert shown == {"virtuals": "0", "loss,emul.": "3.000", "loss,full": "2.500"}


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_the_full_set_fits_a_narrow_terminal(num_seeds):
    results = full_set(num_seeds)
    text = printed(results)
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text and "\u2026" not in text
    for label, row in cells_of(results).items():
        assert f"\n{label} " in text  # not folded
        # A number that is broken over two lines cannot be read.
        numbers = {part for cell in row.values() for part in cell.split("+-") if part}
        assert numbers <= set(text.replace("+-", " ").split())


def test_a_long_label_is_folded_rather_than_a_number():
    text = printed({"UBFP": [run()], "JCPBA* beta_min=0.1 beta_max=0.9": [run()]})
    assert max(map(len, text.splitlines())) <= 80
    assert text.split().count("1.500") == 2


def test_the_json_holds_the_numbers_of_the_table():
    results = full_set(3) | {"stuck": [run_with([9.0] * 20)] * 3}
    target = choose_target(results)
    numbers = numbers_of(results, target)
    said = json.loads(
        json.dumps(summary_json(numbers, target, "title"), allow_nan=False)
    )
    assert said["title"] == "title"
    assert said["target"]["loss_full"] == list(target.loss_full)
    assert said["target"]["mean_loss_full"] == target.mean_loss_full
    assert said["target"]["left_out"] == ["stuck"]
    rows = cells_of(results)
    assert [*said["methods"]] == [*rows][1:] == [*results]
    titles = {
        "target_s": "targets",
        "round_s": "sperround",
        "install_s": "set-ups",
        "down_mib": "downMiB",
        "up_mib": "upMiB",
        "gflops": "GFLOPs",
        "memory_gb": "peakGB",
        "loss_emulator": "loss,emul.",
        "loss_full": "loss,full",
    }
    for label, measures in said["methods"].items():
        for name, title in titles.items():
            mean, *deviation = rows[label][title].split("+-")
            assert mean.startswith(">") == measures[name]["is_exceeded"]
            close = {"rel": 5e-3, "abs": 5e-4}
            assert float(mean.strip(">")) == pytest.approx(
                measures[name]["mean"], **close
            )
            if deviation:
                assert float(deviation[0]) == pytest.approx(
                    measures[name]["deviation"], **close
                )
        losses = [records[-1]["loss_full"] for records in results[label]]
        assert measures["loss_full"]["per_seed"] == losses
        assert measures["loss_full"]["mean"] == pytest.approx(np.mean(losses))
    assert said["methods"]["stuck"]["target_s"]["per_seed"] == [None] * 3


def test_the_json_of_a_single_method_has_no_target():
    numbers = numbers_of({"UBFP": [run()]}, None)
    said = summary_json(numbers, None, "title")
    assert said["target"] is None
    assert "target_s" not in said["methods"]["UBFP"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (0.0012, "1.2e-3"),
        (0.5, "0.50"),
        (99999.0, "99999"),
        (123456.0, "1.2e5"),
        (1.5e12, "1.5e12"),
    ],
)
def test_numbers_out_of_the_ordinary_stay_narrow(value, shown):
    assert _shown("gflops", value) == shown

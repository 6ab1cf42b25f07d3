import io

from made_up import run
from rich.console import Console

from trimwave.report.console import print_whole
from trimwave.report.summary import numbers_of, summarise
from trimwave.report.task_metrics import task_numbers, task_table, task_words


def share(correct, total=64):
    return {"value": correct / total, "correct": correct, "total": total}


def measured(before=(0, 9), after=(3, 60), last=2, own=True):
    """A run with both kinds of metrics, before and after its last round."""
    records = run()
    for place, (exact, labels) in ((0, before), (last, after)):
        records[place]["metrics"] = {
            "exact_match": share(exact),
            "accuracy": share(labels),
            "f1": {"value": labels / 64, "total": 64},
        }
    for place in range(3) if own else ():
        records[place]["client_test_loss"] = [2.0 - place / 2, None, 3.0 - place / 2]
    return records


def printed(results):
    console = Console(file=io.StringIO(), width=80, markup=False, emoji=False)
    print_whole(console, task_table(numbers_of(results, None)))
    return console.file.getvalue()


def rows_of(text):
    """Return a table's rows below its two lines of titles."""
    lines = [line.split("  ") for line in text.splitlines()[2:]]
    return {line[0]: [one.strip() for one in line[1:] if one.strip()] for line in lines}


def test_a_run_in_numbers():
    assert task_numbers(run()) == {}
    found = task_numbers(measured())
    assert found["exact_match"] == 3 / 64 and found["exact_match_start"] == 0
    assert (found["accuracy_correct"], found["accuracy_total"]) == (60, 64)
    assert (found["metrics_round_start"], found["metrics_round"]) == (0, 2)
    assert (found["own_loss_mean_start"], found["own_loss_worst_start"]) == (2.5, 3.0)
    assert (found["own_loss_mean"], found["own_loss_worst"]) == (1.5, 2.0)
    assert summarise(measured()).items() >= found.items()


def test_the_table():
    text = printed({"JCPBA*": [measured()], "UBFP": [measured(after=(1, 40))]})
    rows = rows_of(text)
    before = ["0", "0/64 0.0 %", "9/64 14.1 %", "0.141", "2.500", "3.000"]
    assert rows["untrained"] == before
    after = ["2", "3/64 4.7 %", "60/64 93.8 %", "0.938", "1.500", "2.000"]
    assert rows["JCPBA*"] == after
    assert rows["UBFP"][1:3] == ["1/64 1.6 %", "40/64 62.5 %"]
    for title in ("exact match", "accuracy", "macro F1", "own", "worst", "round"):
        assert title in text


def test_wide_numbers_fit_a_narrow_terminal():
    records = measured()
    for one in (records[0], records[2]):
        one["metrics"]["exact_match"] = share(1000, 1319)
        one["metrics"]["accuracy"] = share(1000, 1319)
    text = printed({"LoRA uniform": [records], "Personalised": [records]})
    assert max(map(len, text.splitlines())) <= 80


def test_counts_add_up_over_seeds():
    results = {"JCPBA*": [measured(), measured((2, 9), (5, 40), last=1)]}
    row = rows_of(printed(results))["JCPBA*"]
    assert row[:3] == ["1-2", "8/128 6.2 %", "100/128 78.1 %"]


def test_no_metrics_no_table_and_only_the_columns_there_are():
    assert task_table(numbers_of({"UBFP": [run()]}, None)) is None
    records = run()
    for one in records:
        one["client_test_loss"] = [1.0, 2.0]
    text = printed({"UBFP": [records]})
    assert rows_of(text)["UBFP"] == ["2", "1.500", "2.000"]
    assert "exact" not in text and "F1" not in text


def test_a_run_that_has_just_begun():
    rows = rows_of(printed({"UBFP": [measured()[:1]]}))
    assert rows["UBFP"] == rows["untrained"]


def test_a_rounds_metrics_in_words():
    metrics = measured()[2]["metrics"]
    words = "exact match 3 of 64, accuracy 60 of 64, macro F1 0.938"
    assert task_words(metrics) == words

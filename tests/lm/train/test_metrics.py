"""Task metrics by hand, and in whole runs."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest
import torch
from speller import speller
from tiny_run import bytes_of, make_config, make_server
from tokenizer import byte_tokenizer

from trimwave.base.errors import InputError
from trimwave.lm.data.asked import Asked, Choice, Prompt
from trimwave.lm.data.encode import collate
from trimwave.lm.session import run_method
from trimwave.lm.surgery.split import split_model
from trimwave.lm.train import metrics as metrics_module
from trimwave.lm.train.evaluate import Evaluator
from trimwave.lm.train.metrics import TaskMetrics, log_likelihoods
from trimwave.lm.train.tune import answer_loss
from trimwave.lm.workbench import build_workbench
from trimwave.recipe.config import Config, MetricsConfig, TrainConfig
from trimwave.recipe.recipe import merge_overrides

CONFIG = Config(
    metrics=MetricsConfig(every_rounds=2, max_new_tokens=20),
    train=TrainConfig(device="cpu"),
)
CHOICE = Choice(
    shared=(4, 5, 6, 7, 8, 9), options=((10,), (11, 12, 13), (11, 12), (14, 2)), true=1
)


def by_hand(model, choice):
    """Sum each option's log-likelihoods, the whole text in one forward pass."""
    scores = []
    for option in choice.options:
        with torch.no_grad():
            logits = model(torch.tensor([[*choice.shared, *option]])).logits[0]
        logs = logits.float().log_softmax(-1)
        before = len(choice.shared) - 1
        scores.append(sum(float(logs[before + i, t]) for i, t in enumerate(option)))
    return scores


def test_labels_are_scored_as_by_whole_forward_passes(model, monkeypatch):
    expected = by_hand(model, CHOICE)
    joined = split_model(model, 2).joined()
    with torch.no_grad():
        assert log_likelihoods(joined, CHOICE).tolist() == pytest.approx(expected, 1e-5)
        monkeypatch.setattr(metrics_module, "BATCH_OPTIONS", 3)
        assert log_likelihoods(joined, CHOICE).tolist() == pytest.approx(expected, 1e-5)


def test_exact_match_of_a_model_whose_answers_are_known():
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["####"])
    model = speller("?#### 18.", tokenizer)  # and nothing behind "!"
    numbers = {"a?": "18", "b ####?": "18.0", "####?": "19", "####!": "18"}
    prompts = tuple(
        Prompt(tuple(tokenizer(text)["input_ids"]), Decimal(number))
        for text, number in numbers.items()
    )
    asked = Asked(names=("exact_match", "tokens_per_s"), prompts=prompts, choices=())
    measured = TaskMetrics(asked, tokenizer, CONFIG).measure(split_model(model, 1))
    share = {"value": 0.5, "correct": 2, "total": 4}
    assert measured.record == {"metrics": {"exact_match": share}}
    assert measured.speeds["tokens_per_s"] > 0
    asked = replace(asked, names=("tokens_per_s",))
    measured = TaskMetrics(asked, tokenizer, CONFIG).measure(split_model(model, 1))
    assert measured.record == {}
    assert [*measured.speeds] == ["tokens_per_s"]


def test_accuracy_of_a_model_whose_labels_are_known():
    model, tokenizer = speller("?no"), byte_tokenizer()

    def choice(prompt, true):
        labels = ("maybe", "no", "yes")
        options = tuple(tuple(tokenizer(one)["input_ids"]) for one in labels)
        return Choice(tuple(tokenizer(prompt)["input_ids"]), options, true)

    # "no" behind "?"; behind "!" nothing is likely, and the shortest is the likeliest.
    choices = tuple(choice(text, 1) for text in ("a?", "b?", "c!")) + (choice("?", 0),)
    asked = Asked(names=("accuracy", "f1"), prompts=(), choices=choices)
    measured = TaskMetrics(asked, tokenizer, CONFIG).measure(split_model(model, 1))
    assert measured.record["metrics"] == {
        "accuracy": {"value": 0.75, "correct": 3, "total": 4},
        # Found "no" four times, true three times; "maybe" never found.
        "f1": {"value": pytest.approx((2 * 3 / (4 + 3) + 0) / 2), "total": 4},
    }
    assert measured.speeds == {}


@pytest.mark.parametrize("kind", ["answered", "labelled"])
def test_a_row_without_a_prompt_left_is_named(kind):
    prompts = Prompt((3, 4), Decimal(7)), Prompt((), Decimal(9))
    choices = CHOICE, replace(CHOICE, shared=())
    asked = Asked(
        names=("exact_match",) if kind == "answered" else ("accuracy",),
        prompts=prompts if kind == "answered" else (),
        choices=choices if kind == "labelled" else (),
    )
    said = f"test row 2 of the 2 to be {kind}.*truncated to `data.max_tokens` = 1024"
    with pytest.raises(InputError, match=said):
        TaskMetrics(asked, None, CONFIG)


def write_worked_rows(path, count=60):
    """Write sums with worked answers."""
    rows = (
        {"question": f"{i % 10}+{i // 10}?", "answer": f"#### {i % 10 + i // 10}"}
        for i in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIMWAVE_CACHE", str(folder / "cache"))
        yield folder


def metrics_config(folder, *changes, write=write_worked_rows):
    settings = ("every_rounds=3", "num_rows=4", "max_new_tokens=6")
    changes = (*(f"metrics.{one}" for one in settings), *changes)
    config = make_config(folder, changes=changes)
    write(folder / "rows.jsonl")
    return config


@pytest.fixture(scope="module")
def bench(home):
    return build_workbench(metrics_config(home / "inputs"))


@pytest.fixture(scope="module")
def whole(home, bench):
    """An unbroken run of four rounds."""
    run_method(bench, bench.config, home / "whole")
    return home / "whole"


def records_of(folder):
    return [*map(json.loads, (folder / "rounds.jsonl").read_text().splitlines())]


def test_a_run_takes_metrics_before_every_few_rounds_and_at_the_end(whole):
    records = records_of(whole)
    assert [one["round"] for one in records if "metrics" in one] == [0, 3, 4]
    for record in records:
        if "metrics" in record:
            (share,) = record["metrics"].values()
            assert share["total"] == 4
            assert share["value"] == share["correct"] / 4
    timing = map(json.loads, (whole / "timing.jsonl").read_text().splitlines())
    assert [one["round"] for one in timing if one.get("tokens_per_s")] == [0, 3, 4]


@pytest.mark.parametrize(
    "stopped", [2, *(pytest.param(one, marks=pytest.mark.slow) for one in (0, 3))]
)
def test_a_resumed_run_has_the_same_records(bench, whole, tmp_path, stopped):
    class Stop(Exception):
        pass

    def stop(record):
        if record["round"] == stopped:
            raise Stop

    folder = tmp_path / "run"
    with pytest.raises(Stop):
        run_method(bench, bench.config, folder, on_record=stop)
    run_method(bench, bench.config, folder, resume=True)
    assert bytes_of(folder) == bytes_of(whole)


@pytest.mark.slow
def test_metrics_change_nothing_else(home, bench, whole):
    plain = merge_overrides(bench.config, ["metrics.every_rounds=0"])
    run_method(build_workbench(plain), plain, home / "plain")
    kept = [{**one, "metrics": None, "sha256": None} for one in records_of(whole)]
    others = records_of(home / "plain")
    assert kept == [{**one, "metrics": None, "sha256": None} for one in others]
    name = "checkpoints/round-0004/adapter.safetensors"
    assert (whole / name).read_bytes() == (home / "plain" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "deft", "fedbiot", "split_lora"])
def test_any_method_is_measured_on_the_whole_model(bench, whole, method):
    server = make_server(bench, method)
    before = server.measure(0, is_last=False).record
    assert before == {"metrics": records_of(whole)[0]["metrics"]}
    assert server.measure(1, is_last=False).record == {}
    assert server.measure(1, is_last=True).record


def test_after_training_the_commonest_label_is_chosen(home):
    def write(path):
        labels = ("Art", "Bee", "Art", "Art", "Cow")
        rows = ({"text": f"{i}", "label": labels[i % 5]} for i in range(60))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    config = metrics_config(home / "topics", "train.learning_rate=0.02", write=write)
    config = merge_overrides(config, ["metrics.num_rows=6", "rounds=3"])
    bench = build_workbench(config)
    records = run_method(bench, config, home / "labelled")
    choices = bench.task_metrics.asked.choices
    commonest = sum(one.true == 0 for one in choices)
    assert 0 < commonest < 6
    share = {"value": commonest / 6, "correct": commonest, "total": 6}
    assert records[-1]["metrics"]["accuracy"] == share


def test_every_client_with_test_rows_has_its_own_loss(bench):
    rows = bench.client_rows
    own = tuple(
        Evaluator(part, bench.pad_id, bench.config.train) if part else None
        for part in (rows[0], (), rows[2][:1])
    )
    server = make_server(replace(bench, client_evaluators=own))
    losses = server.evaluate()["client_test_loss"]
    assert losses[1] is None
    split = server.full_model
    for place in (0, 2):
        part = rows[0] if place == 0 else rows[2][:1]
        batch = collate(part, bench.pad_id)
        with torch.no_grad():
            total, count = answer_loss(
                split, split.features(batch.input_ids), batch.labels
            )
        assert losses[place] == pytest.approx(float(total) / count, rel=1e-5)
    assert "client_test_loss" not in make_server(bench).evaluate()

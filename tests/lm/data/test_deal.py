import json
import warnings

import dealt
import pytest
from tokenizer import byte_tokenizer

from trimwave.base.errors import InputError
from trimwave.lm.data.deal import deal_rows
from trimwave.lm.data.rows import Row
from trimwave.lm.data.tasks import load_task
from trimwave.recipe.recipe import merge_overrides


def test_each_client_has_the_rows_that_it_was_dealt(tmp_path):
    equal, given = dealt.SIZES
    shared = list(dealt.check_all(tmp_path, range(20), [equal]))
    sized = list(dealt.check_all(tmp_path, range(3), [given]))
    assert [count for *_, count in shared] == [20 * 40] * 6
    assert [count for *_, count in sized] == [3 * sum(given)] * 6


def test_the_check_sees_a_row_at_the_wrong_client(tmp_path, monkeypatch):
    path = dealt.write_labelled_rows(tmp_path / "a.jsonl")
    config = dealt.config_of(path, 0, "drop", "iid")
    swap = dealt.expected(path, config)
    first, second, *_ = swap["clients"]
    first[0], second[0] = second[0], first[0]
    monkeypatch.setattr(dealt, "expected", lambda *_: swap)
    with pytest.raises(AssertionError):
        dealt.check_dealt(path, config)


def test_dropping_is_said_once_and_by_part(tmp_path):
    path = dealt.write_labelled_rows(tmp_path / "a.jsonl")
    config = dealt.config_of(path, 0, "drop", "dirichlet")
    with pytest.warns(UserWarning, match="dropped") as said:
        rows = deal_rows(config, byte_tokenizer())
    (message,) = [str(one.message) for one in said]
    counts = {part: own["too long"] for part, own in rows.facts["passed_over"].items()}
    for part in ("train", "test", "public"):
        assert f"{counts[part]} in {part}" in message
    assert "`data.max_tokens` = 60 tokens" in message
    assert rows.facts["rows"] == {"train": 40, "test": 7, "public": 9}
    assert 20 < sum(counts.values()) <= 40


def test_too_few_rows_after_dropping_says_how_many_are_left(tmp_path):
    path = dealt.write_labelled_rows(tmp_path / "a.jsonl")
    config = dealt.config_of(path, 0, "drop", "iid")
    config = merge_overrides(config, ["data.num_train=70"])
    message = (
        "asked for 70 training rows .* only 64 are left .*has 120 rows, 7 are test "
        "rows, 9 are public rows, 40 too long.*set `data.num_train` to 64 or less"
    )
    with pytest.raises(InputError, match=message):
        deal_rows(config, byte_tokenizer())


def test_nothing_that_fits_says_so(tmp_path):
    path = dealt.write_labelled_rows(tmp_path / "a.jsonl")
    config = dealt.config_of(path, 0, "drop", "iid")
    for changes in (["data.max_tokens=9"], ["data.max_tokens=9", "data.num_test=500"]):
        with pytest.raises(InputError, match=r"no test rows .* 120 too long.*max_tok"):
            deal_rows(merge_overrides(config, changes), byte_tokenizer())


def test_a_generator_of_rows_that_never_fit_is_given_up():
    def never(rows):
        return [False] * len(rows)

    with pytest.raises(InputError, match=r"no test rows .* too long.*max_tokens"):
        load_task("gsm_symbolic", num_train=9, num_test=9, seed=0, fits=never)


def test_too_long_names_the_line_of_the_file(tmp_path):
    file = tmp_path / "a.jsonl"
    rows = [{"text": f"{i}", "label": "c"} for i in range(60)]
    rows[41]["text"] = "9" * 90
    lines = "\n\n".join(map(json.dumps, rows))
    file.write_text(lines)
    config = dealt.config_of(file, 0, "error", "iid")
    config = merge_overrides(config, ["data.num_train=44"])
    with pytest.raises(InputError, match="line 83 of `.*a.jsonl` has 106 tokens"):
        deal_rows(config, byte_tokenizer())


def test_dirichlet_without_labels_and_with_some(tmp_path):
    file = tmp_path / "a.jsonl"
    rows = [{"text": f"{i}", "label": (1, "1", None, 2.0)[i % 4]} for i in range(80)]
    file.write_text("\n".join(map(json.dumps, rows)))
    config = dealt.config_of(file, 0, "error", "dirichlet")
    with pytest.warns(UserWarning, match="passed over in train: .* null"):
        found = deal_rows(config, byte_tokenizer())
    labels = {
        byte_tokenizer().decode(row.input_ids.tolist()).split("Topic: ")[1]
        for client in found.clients
        for row in client
    }
    assert labels == {"1<eos>", "2<eos>"}
    file.write_text("\n".join(json.dumps({"text": f"{i}"}) for i in range(80)))
    with pytest.raises(InputError, match="needs labelled rows"):
        deal_rows(config, byte_tokenizer())


def test_rows_that_do_not_fit_are_replaced_and_the_test_rows_stay(tmp_path):
    path = dealt.write_labelled_rows(tmp_path / "a.jsonl")

    def short(rows):
        return [len(row.prompt) < 50 for row in rows]

    def draw(num_train):
        return load_task(str(path), num_test=9, num_train=num_train, seed=0, fits=short)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small, large = draw(10), draw(20)
    assert small.test == large.test
    assert large.train[:10] == small.train
    assert all(isinstance(row, Row) and len(row.prompt) < 50 for row in large.train)

import json
import re
from itertools import islice

import datasets
import pytest
from row_files import sums, write_jsonl

from trimwave.base.errors import InputError
from trimwave.lm.data.layouts import YAHOO_TOPICS
from trimwave.lm.data.rows import Row
from trimwave.lm.data.tasks import load_rows, load_task


def all_rows(path):
    return list(load_rows(str(path), seed=0).train)


def test_gsm_symbolic_rows_are_distinct_and_worked_out():
    splits = load_task(
        "gsm_symbolic", "same", num_train=3000, num_test=300, num_public=300, seed=1
    )
    assert [len(splits.train), len(splits.test), len(splits.public)] == [3000, 300, 300]
    rows = splits.train + splits.test + splits.public
    assert len({row.prompt for row in rows}) == 3600
    for row in rows:
        assert re.fullmatch(r"Question: .+\nAnswer:", row.prompt, re.DOTALL)
        assert "Do not include units" not in row.prompt
        assert re.search(r"\n#### -?[\d.,]+$", row.answer)
        assert row.label is None
    assert any(not row.answer.isascii() for row in rows)


def test_gsm_symbolic_goes_by_the_seed_and_its_test_rows_by_nothing_else():
    def draw(seed, num_train):
        return load_task("gsm_symbolic", num_train=num_train, num_test=50, seed=seed)

    small, large, other = draw(1, 100), draw(1, 200), draw(2, 100)
    assert large.test == small.test
    assert large.train[:100] == small.train
    # reasoning-gym's own neighbouring seeds share nearly all problems
    assert len(set(small.train) & set(other.train)) < 5


def test_gsm_symbolic_goes_on_past_one_generator_seed(monkeypatch):
    monkeypatch.setattr("trimwave.lm.data.tasks.GSM_CHUNK", 20)
    rows = list(islice(load_rows("gsm_symbolic", seed=0).train, 100))
    assert len({row.prompt for row in rows}) == 100


def test_a_folder_keeps_its_test_rows_apart(tmp_path):
    write_jsonl(tmp_path / "train.jsonl", sums(20))
    write_jsonl(tmp_path / "test.jsonl", sums(5, start=100))
    (tmp_path / "LICENSE").write_text("free")
    splits = load_task(str(tmp_path), seed=0)
    assert len(splits.train) == 20
    assert {row.prompt for row in splits.test} == {
        f"Question: {i} + 1?\nAnswer:" for i in range(100, 105)
    }
    assert splits.public == ()
    assert splits.public_revision is None


def test_a_single_file_is_shuffled_and_split_by_the_seed(tmp_path):
    file = write_jsonl(tmp_path / "any.jsonl", sums(50))

    def draw(seed):
        return load_task(str(file), "same", num_test=10, num_public=5, seed=seed)

    splits = draw(0)
    parts = (splits.train, splits.test, splits.public)
    assert [len(part) for part in parts] == [35, 10, 5]
    assert len({row for part in parts for row in part}) == 50
    assert splits == draw(0)
    assert splits.test != draw(1).test
    assert splits.data_revision == splits.public_revision
    assert re.fullmatch("sha256:[0-9a-f]{64}", splits.data_revision)


def test_rows_of_test_and_public_never_stand_in_train(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    write_jsonl(own / "train.jsonl", sums(10))
    write_jsonl(own / "test.jsonl", sums(4))
    public = write_jsonl(tmp_path / "extra.jsonl", sums(5, start=2))
    with pytest.warns(UserWarning, match="public: 2 duplicate") as said:
        splits = load_task(str(own), str(public), seed=0)
    assert "passed over in train: 7 duplicate" in str(said[0].message)
    assert {row.answer for row in splits.public} == {"#### 5", "#### 6", "#### 7"}
    assert {row.answer for row in splits.train} == {f"#### {i}" for i in (8, 9, 10)}
    assert splits.num_duplicates == 2 + 7


CASES = {
    "maths": ({"question": "1?", "answer": 2}, Row("Question: 1?\nAnswer:", "2")),
    "completion": ({"prompt": "a: ", "completion": "b"}, Row("a: ", "b")),
    "prompt": ({"prompt": "a", "answer": "b"}, Row("a", "b")),
    "instruction": (
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        Row("Question: Add.\n1 2\nAnswer:", "3"),
    ),
    "no input": (
        {"instruction": "Sing.", "input": "", "output": "La"},
        Row("Question: Sing.\nAnswer:", "La"),
    ),
    "text": ({"text": " = Title = \n"}, Row("", " = Title = \n")),
    "sentence": (
        {"sentence": "Title: X\nText: Y\n", "label": "Plant"},
        Row("Text: Title: X\nText: Y\nTopic:", "Plant", "Plant"),
    ),
    "title": (
        {"title": "X", "content": " is Y.", "label": "Plant"},
        Row("Text: X  is Y.\nTopic:", "Plant", "Plant"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_columns_are_recognised_by_name(case, tmp_path):
    record, row = CASES[case]
    file = tmp_path / "one.json"
    file.write_text(json.dumps([{**record, "id": 7}]))
    assert all_rows(file) == [row]


def test_blank_answers_are_passed_over(tmp_path):
    texts = [{"text": text} for text in ("", "one", " \n", None, "two")]
    file = write_jsonl(tmp_path / "wiki.jsonl", texts)
    assert sorted(row.answer for row in all_rows(file)) == ["one", "two"]


def test_yahoo_csv_without_a_header(tmp_path):
    (tmp_path / "train.csv").write_text(
        '"1","why ""so""?","","because"\n"10","who?","rules, here","he\ndoes"\n'
    )
    (tmp_path / "test.csv").write_text('"5","what?","",""\n')
    splits = load_task(str(tmp_path), seed=0)
    assert set(splits.train) == {
        Row('Question: why "so"?\nTopic:', YAHOO_TOPICS[0], YAHOO_TOPICS[0]),
        Row("Question: who? rules, here\nTopic:", YAHOO_TOPICS[9], YAHOO_TOPICS[9]),
    }
    assert splits.test[0].label == "Computers & Internet"


def test_csv_with_a_header(tmp_path):
    file = tmp_path / "some.csv"
    file.write_text("answer,question\n2,1+1?\n\n")
    assert all_rows(file) == [Row("Question: 1+1?\nAnswer:", "2")]


def test_parquet_with_class_names(tmp_path):
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"])
    )
    columns = {"text": ["a", "b", "c"], "label": [1, 0, -1]}
    table = datasets.Dataset.from_dict(columns, features=features)
    table.to_parquet(str(tmp_path / "train-0.parquet"))
    rows = all_rows(tmp_path)
    assert {(row.prompt, row.label) for row in rows} == {
        ("Text: a\nTopic:", "yes"),
        ("Text: b\nTopic:", "no"),
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"text": "x"}\n{"text": \n', r"line 2 of .* is not JSON: .*"),
        ("a.jsonl", "[1, 2]\n", r"line 1 of .* must be a JSON object.*got \[1, 2\]"),
        ("a.json", '[{"text": "x"},\n 3 4]', r"line 2 of .* is not JSON"),
        ("a.json", '[{"text": "x"}, 3]', "row 2 of .* must be a JSON object.*got 3"),
        ("a.jsonl", "\n\n", "is empty"),
        ("a.json", "[]", "is empty"),
        ("a.csv", "question,answer\n", "is empty"),
        ("a.csv", "question,answer\n1\n", "line 2: 1 cell for 2 columns; `answer`"),
        ("a.csv", "3,t,c,b\n11,t,c,b\n", "line 2: class index `11`"),
        ("a.parquet", "text", "cannot be read as Parquet"),
        ("a.txt", "text", r"of an unknown kind; give one of \.jsonl"),
        (
            "a.jsonl",
            '{"x": 1, "answer": 2}\n',
            r"`answer`, `x`, which.*question \+ answer;.*sentence \+ label",
        ),
        (
            "a.jsonl",
            '{"text": "x"}\n\n{"text": [1]}\n',
            r"column `text` of line 3 .*got \[1\]",
        ),
    ],
)
def test_a_bad_file_says_where(name, content, message, tmp_path):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(InputError, match=message):
        all_rows(file)


def test_a_row_that_lacks_a_column_is_named(tmp_path):
    file = write_jsonl(tmp_path / "a.jsonl", [*sums(1), {"question": "?"}])
    message = "line 2 of .* no column `answer`.*it has `question`"
    with pytest.raises(InputError, match=message):
        all_rows(file)


def test_bad_bytes(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "\xff"}')
    said = "line 1: byte 11 of the file, 0xFF.* is not UTF-8"
    with pytest.raises(InputError, match=said):
        all_rows(tmp_path)


def test_an_ambiguous_folder_lists_what_it_has(tmp_path):
    write_jsonl(tmp_path / "one.jsonl", sums(1))
    write_jsonl(tmp_path / "two.jsonl", sums(1))
    with pytest.raises(InputError, match=r"found: `one\.jsonl`, `two\.jsonl`"):
        load_rows(str(tmp_path), seed=0)


@pytest.mark.parametrize("source", ["nowhere/x.csv", "/nowhere", "../nowhere"])
def test_a_missing_file(source):
    with pytest.raises(InputError, match=f"no file or folder `{re.escape(source)}`"):
        load_rows(source, seed=0)


def test_an_unknown_name():
    with pytest.raises(InputError, match="did you mean `gsm_symbolic`"):
        load_rows("gsm_symbolik", seed=0)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"num_test": 5, "num_train": 8},
            "asked for 8 training rows.*only 7 are left .*has 12 rows, 5 are test rows"
            ".*set `data.num_train` to 7 or less",
        ),
        ({"num_test": 13}, "asked for 13 test rows.*only 12 are left"),
        ({"num_test": 12}, "no training rows of .* left .*12 rows, 12 are test rows"),
        ({"num_test": -1}, "cannot draw -1 test rows"),
        ({}, "set `num_test`"),
        ({"public": "same", "num_test": 2}, "set `num_public`"),
    ],
)
def test_sizes_are_checked_against_what_there_is(sizes, message, tmp_path):
    file = write_jsonl(tmp_path / "a.jsonl", sums(12))
    with pytest.raises(InputError, match=message):
        load_task(str(file), seed=0, **sizes)


def test_a_generated_source_needs_sizes(tmp_path):
    file = write_jsonl(tmp_path / "a.jsonl", sums(12))
    with pytest.raises(InputError, match="without end; set `num_train`"):
        load_task("gsm_symbolic", num_test=1, seed=0)
    with pytest.raises(InputError, match="set `num_public`"):
        load_task(str(file), "gsm_symbolic", num_test=1, seed=0)

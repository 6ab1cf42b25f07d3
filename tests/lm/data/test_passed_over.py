"""Nothing is passed over, replaced or left out without a word."""

import json
import math

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from row_files import sums, write_jsonl
from tokenizer import byte_tokenizer

from trimwave.base.errors import InputError
from trimwave.lm.data.encode import Encoder
from trimwave.lm.data.rows import Row
from trimwave.lm.data.tasks import load_rows, load_task


def write_parquet(path, columns):
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def question(question, answer="1"):
    return {"question": question, "answer": answer}


def test_what_is_passed_over_is_counted_by_part_and_said_once(tmp_path):
    odd = [
        question("a", " \n"),
        question("b", None),
        question("c", math.inf),
        question("  "),
        question(None),
        question(math.nan),
        question("d", ""),
    ]
    own = tmp_path / "own"
    write_jsonl(own / "train.jsonl", [*sums(9), *odd, *sums(2), *sums(3, start=50)])
    write_jsonl(own / "test.jsonl", [*sums(4, start=50), question("e", "")])
    public = write_jsonl(tmp_path / "p.jsonl", [*sums(3, start=90), *sums(1, start=53)])
    with pytest.warns(UserWarning) as said:
        splits = load_task(str(own), str(public), seed=0)
    (message,) = [str(one.message) for one in said]
    assert (
        "passed over in train: 3 blank, 2 null, 2 NaN or infinite, 3 duplicate"
        in message
    )
    assert "passed over in test: 1 blank" in message
    assert "passed over in public: 1 duplicate" in message
    assert "kept in train though repeated there: 2" in message
    assert [len(splits.train), len(splits.test), len(splits.public)] == [11, 4, 3]
    assert splits.passed_over == {
        "train": {"blank": 3, "null": 2, "NaN or infinite": 2, "duplicate": 3},
        "test": {"blank": 1},
        "public": {"duplicate": 1},
    }
    assert splits.num_duplicates == 4
    assert json.loads(json.dumps(splits.passed_over)) == splits.passed_over


def test_no_word_of_a_hole_becomes_text(tmp_path):
    columns = {
        "instruction": ["add", "sing", None, "", "sum"],
        "input": [math.nan, None, "x", "y", 3.0],
        "output": ["1", "la", "2", "3", None],
    }
    rows = [
        dict(zip(columns, row, strict=True))
        for row in zip(*columns.values(), strict=True)
    ]
    file = write_jsonl(tmp_path / "a.jsonl", rows)
    found = list(load_rows(str(file), seed=0).train)
    assert {(row.prompt, row.answer) for row in found} == {
        ("Question: add\nAnswer:", "1"),
        ("Question: sing\nAnswer:", "la"),
        ("Question: x\nAnswer:", "2"),
        ("Question: y\nAnswer:", "3"),
    }


def test_whole_numbers_with_holes_stay_whole_numbers(tmp_path):
    columns = {
        "question": [1.0, 2.0, 3.5, 1e300],
        "answer": [7.0, None, math.nan, -0.0],
    }
    file = write_parquet(tmp_path / "a.parquet", columns)
    rows = {(row.prompt, row.answer) for row in load_rows(str(file), seed=0).train}
    assert rows == {
        ("Question: 1\nAnswer:", "7"),
        ("Question: 1e+300\nAnswer:", "0"),
    }
    labels = {"text": ["a", "b", "c"], "label": pyarrow.array([1, None, 0])}
    file = write_parquet(tmp_path / "b.parquet", labels)
    found = load_rows(str(file), seed=0).train
    assert sorted(row.label for row in found) == ["0", "1"]
    assert dict(found.spent) == {"null": 1}


def test_labels_of_mixed_type_are_one_class(tmp_path):
    records = [{"text": str(i), "label": v} for i, v in enumerate([1, "1", 1.0, True])]
    file = write_jsonl(tmp_path / "a.jsonl", records)
    labels = {row.prompt: row.label for row in load_rows(str(file), seed=0).train}
    assert list(labels.values()).count("1") == 3
    assert labels["Text: 3\nTopic:"] == "True"


def test_a_blank_prompt_that_is_given_as_it_is_makes_a_text(tmp_path):
    prompts = ("", None, " ", "x ")
    records = [{"prompt": p, "completion": f"y{i}"} for i, p in enumerate(prompts)]
    draw = load_rows(str(write_jsonl(tmp_path / "a.jsonl", records)), seed=0).train
    rows = {(row.prompt, row.answer) for row in draw}
    assert rows == {("", "y0"), ("", "y2"), ("x ", "y3")}
    assert dict(draw.spent) == {"null": 1}


@pytest.mark.parametrize(
    ("extra", "unused"),
    [
        ({"source": "c"}, "the column `source`; .* of `answer`, `question`"),
        ({"source": "c", "tags": [1]}, "columns `source`, `tags`;.*remove the col"),
        ({"Answer ": "2"}, "the column `Answer `"),
        ({"\ud83d\x07": 1}, r"the column `\\ud83d\\x07`"),
    ],
)
def test_a_column_without_a_use_is_named_once(extra, unused, tmp_path):
    own = tmp_path / "own"
    write_jsonl(own / "train.jsonl", [*sums(3), {**sums(1)[0], **extra}])
    write_jsonl(own / "test.jsonl", [{**record, **extra} for record in sums(3, 9)])
    with pytest.warns(UserWarning, match=unused) as said:
        load_rows(str(own), seed=0)
    assert len(said) == 1


def test_columns_that_number_rows_or_belong_to_a_known_set_are_not_named(tmp_path):
    yahoo = {
        "id": 1,
        "topic": "Sports",
        "question_title": "t",
        "question_content": "c",
        "best_answer": "b",
    }
    alpaca = {"instruction": "i", "input": "", "output": "o", "text": "all three"}
    for record in (yahoo, alpaca):
        file = write_jsonl(tmp_path / "a.jsonl", [record])
        assert len(list(load_rows(str(file), seed=0).train)) == 1


def test_lone_surrogates_are_replaced_and_said_once(tmp_path):
    file = tmp_path / "a.jsonl"
    lines = [
        '{"text": "half \\ud83d", "label": "a\\ude00"}',
        '{"text": "whole \\ud83d\\ude00 and \\u0000", "label": "b"}',
        '{"text": "\\udfff\\ud800", "label": "c"}',
    ]
    file.write_text("\n".join(lines))
    with pytest.warns(
        UserWarning, match=r"U\+FFFD in 2 rows, .*first.* line [13] of"
    ) as s:
        splits = load_task(str(file), num_test=1, seed=0)
    assert len(s) == 1
    rows = {row.prompt: row for row in (*splits.train, *splits.test)}
    assert rows["Text: half \ufffd\nTopic:"].label == "a\ufffd"
    assert rows["Text: half \ufffd\nTopic:"].answer == "a\ufffd"
    assert "Text: whole \U0001f600 and \x00\nTopic:" in rows
    assert "Text: \ufffd\ufffd\nTopic:" in rows
    Encoder(byte_tokenizer(), 99).encode({"train": list(rows.values())})


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_very_long_field_is_truncated_where_that_was_asked_for(kind, tmp_path):
    file = tmp_path / f"a.{kind}"
    columns = {"question": ["x" * 200_000], "answer": ["y"]}
    if kind == "parquet":
        write_parquet(file, columns)
    else:
        write_jsonl(file, [{name: own[0] for name, own in columns.items()}])
    rows = list(load_rows(str(file), seed=0).train)
    with pytest.warns(UserWarning, match="truncated: 1 of 1 train rows"):
        encoded = Encoder(byte_tokenizer(), 50, "truncate").encode({"train": rows})
    assert len(encoded["train"][0].input_ids) == 50


def test_a_hundred_rows_and_the_default_recipe(tmp_path):
    file = write_jsonl(tmp_path / "a.jsonl", sums(100))
    message = (
        "asked for 1600 training rows of `.*a.jsonl`, only 60 are left .*has 100 rows, "
        "16 are test rows, 24 are public rows.; set `data.num_train` to 60 or less"
    )
    with pytest.raises(InputError, match=message):
        load_task(str(file), "same", num_train=1600, num_test=16, num_public=24, seed=0)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            {"num_test": 101, "num_public": 1},
            "101 test rows .*only 100 are left.*`data.num_test` to 100",
        ),
        (
            {"num_test": 90, "num_public": 11},
            "11 public rows .*`data.num_public` to 10",
        ),
        ({"num_test": 100, "num_public": 1}, "no public rows of .*100 are test rows"),
    ],
)
def test_more_test_or_public_rows_than_there_are(sizes, message, tmp_path):
    file = write_jsonl(tmp_path / "a.jsonl", sums(100))
    with pytest.raises(InputError, match=message):
        load_task(str(file), "same", seed=0, **sizes)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": pyarrow.array([], pyarrow.string())}, "is empty"),
        ({}, "is empty"),
        ({"text": [b"a"]}, "must be text or a number, got b'a'"),
        ({"text": [{"a": 1}]}, "must be text or a number, got {'a': 1}"),
    ],
)
def test_an_odd_parquet_file_is_one_error(columns, message, tmp_path):
    file = write_parquet(tmp_path / "a.parquet", columns)
    with pytest.raises(InputError, match=message):
        list(load_rows(str(file), seed=0).train)


def test_a_cut_parquet_file_is_one_error(tmp_path):
    file = write_parquet(tmp_path / "a.parquet", {"text": ["a"] * 100})
    whole = file.read_bytes()
    for cut in (0, 3, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="cannot be read as Parquet"):
            load_rows(str(file), seed=0)


def test_a_class_number_without_a_name(tmp_path):
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"])
    )
    table = pyarrow.table({"text": ["a"], "label": pyarrow.array([5], pyarrow.int64())})
    schema = features.arrow_schema
    file = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(
        table.cast(schema).replace_schema_metadata(schema.metadata), file
    )
    with pytest.raises(InputError, match="class number 5.*only 2 class names"):
        load_rows(str(file), seed=0)


def test_rows_are_equal_wherever_they_stand():
    assert Row("a", "b", None, "line 1") == Row("a", "b", None, "line 2")

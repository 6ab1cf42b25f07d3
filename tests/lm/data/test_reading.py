"""What a recipe says of its rows: labels, names, kinds of files, how many."""

import gzip
import json
import warnings
from pathlib import Path

import datasets
import pytest
from row_files import sums, write_jsonl
from tokenizer import byte_tokenizer

from trimwave.base.errors import InputError
from trimwave.lm.data.deal import deal_rows
from trimwave.lm.data.reading import Reading
from trimwave.lm.data.tasks import load_rows
from trimwave.recipe.recipe import config_from_dict
from trimwave.recipe.row_files import ROW_SUFFIXES, kind_of


def read(path, **said):
    return list(load_rows(str(path), seed=0, reading=Reading(**said)).train)


def test_a_label_column_and_names_of_class_numbers(tmp_path):
    rows = [{"text": f"t{i}", "kind": i % 2, "label": i % 3} for i in range(6)]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    found = read(path, label_column="kind", label_names=("even", "odd"))
    assert {(row.prompt[7], row.label) for row in found} == {
        (str(i), ("even", "odd")[i % 2]) for i in range(6)
    }
    with pytest.warns(UserWarning, match="`kind`"):
        found = read(path, label_names=("x", "y", "z"))
    assert {(row.prompt[7], row.answer) for row in found} == {
        (str(i), "xyz"[i % 3]) for i in range(6)
    }
    with (
        pytest.raises(InputError, match="line . of .*`label` is 2, .* 0 to 1"),
        pytest.warns(UserWarning, match="`kind`"),
    ):
        read(path, label_names=("x", "y"))
    with pytest.raises(InputError, match="'knd'.*does not have.*did you mean `kind`"):
        read(path, label_column="knd")


def test_a_table_without_a_header_is_read_by_its_columns(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("1\tWinds rise, slowly\n0\tRates fall\n")
    found = read(path, columns=("label", "text"), label_names=("money", "weather"))
    assert {row.key for row in found} == {
        ("Text: Winds rise, slowly\nTopic:", "weather"),
        ("Text: Rates fall\nTopic:", "money"),
    }
    path.write_text("label\ttext\n1\ta\n")
    with pytest.raises(InputError, match="line 1: is a header of the names"):
        read(path, columns=("label", "text"))
    with pytest.raises(InputError, match="2 cells for 3 columns"):
        read(path, columns=("label", "text", "title"))
    with pytest.raises(InputError, match="names of its own"):
        read(write_jsonl(tmp_path / "a.jsonl", sums(2)), columns=("a",))


@pytest.mark.parametrize("kind", [one for one in ROW_SUFFIXES if one != ".parquet"])
def test_packed_files_are_read_as_if_they_were_not(kind, tmp_path):
    text = {
        ".jsonl": "\n".join(map(json.dumps, sums(4))),
        ".json": json.dumps(sums(4)),
        ".csv": "question,answer\n1+1?,2\n2+2?,4\n",
        ".tsv": "question\tanswer\n1+1?\t2\n2+2?\t4\n",
    }[kind]
    (tmp_path / f"a{kind}").write_text(text)
    packed = tmp_path / f"b{kind}.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert read(tmp_path / f"a{kind}") == read(packed)
    packed.write_bytes(gzip.compress(text.encode())[:-9])
    with pytest.raises(InputError, match="cannot be unpacked by gzip"):
        read(packed)


def test_kinds_of_files():
    path = Path("a.PARQUET")
    assert kind_of(path) == ".parquet"
    assert not kind_of(path.with_name("a.parquet.gz"))
    assert not kind_of(path.with_name("a.txt"))


@pytest.mark.parametrize("several", [False, True])
def test_a_folder_of_save_to_disk(several, tmp_path):
    features = datasets.Features(
        text=datasets.Value("string"), label=datasets.ClassLabel(names=["no", "yes"])
    )
    table = datasets.Dataset.from_dict(
        {"text": ["a", "b", "c"], "label": [0, 1, 1]}, features=features
    )
    saved = table
    if several:
        saved = datasets.DatasetDict(train=table, validation=table.select([0]))
    saved.save_to_disk(str(tmp_path / "d"))
    found = load_rows(str(tmp_path / "d"), seed=0)
    assert {row.label for row in found.train} == {"no", "yes"}
    assert (found.test is not None) == several
    assert found.revision.startswith("sha256:")
    for file in (tmp_path / "d").rglob("*.arrow"):
        file.write_bytes(b"x")
    with pytest.raises(InputError, match="what `save_to_disk` writes"):
        load_rows(str(tmp_path / "d"), seed=0)


@pytest.mark.parametrize(
    "places",
    [
        ("train/0.jsonl", "test/a.jsonl"),
        ("train.jsonl", "validation.jsonl"),
        ("train-00000.jsonl", "dev.jsonl"),
        ("train/x.jsonl", "valid/y.jsonl"),
    ],
)
def test_test_rows_are_those_of_a_test_or_a_validation_file(places, tmp_path):
    for place, start in zip(places, (0, 50), strict=True):
        write_jsonl(tmp_path / place, sums(5, start))
    found = load_rows(str(tmp_path), seed=0)
    assert found.test is not None
    assert {row.key[1] for row in found.test} == {f"#### {i}" for i in range(51, 56)}
    assert found.train.size == 5


def test_of_test_and_validation_files_the_test_file_is_read(tmp_path):
    for name, start in (("train", 0), ("valid", 20), ("test", 40)):
        write_jsonl(tmp_path / f"{name}.jsonl", sums(3, start))
    with pytest.warns(UserWarning, match="not `valid.jsonl`; test rows are those of"):
        found = load_rows(str(tmp_path), seed=0)
    assert {row.answer for row in found.test or ()} == {"#### 41", "#### 42", "#### 43"}


def split(path, **data):
    tree = {"cell": {"num_clients": 2}, "data": {"source": str(path), **data}}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = deal_rows(config_from_dict(tree, "split"), byte_tokenizer())
    sizes = sum(map(len, found.clients)), len(found.test), len(found.public)
    return sizes, [str(one.message) for one in said]


def test_numbers_left_out_are_all_there_are_and_a_fifth(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", sums(100))
    sizes, said = split(path)
    assert sizes == (60, 20, 20)
    assert said == [
        "few rows: 20 test rows and 20 public rows, since `data.num_test` and "
        "`data.num_public` are left out; 60 are to train on."
    ]
    assert split(path, num_test=5, num_public=10) == ((85, 5, 10), [])
    sizes, said = split(write_jsonl(tmp_path / "b.jsonl", sums(1000)))
    assert (sizes, said) == ((872, 64, 64), [])
    with pytest.raises(InputError, match="asked for 61 training rows .*only 60 are"):
        split(path, num_train=61)


def test_dirichlet_says_how_many_rows_have_no_label(tmp_path):
    rows = [{**row, "kind": "a" if i % 2 else ""} for i, row in enumerate(sums(30))]
    path = write_jsonl(tmp_path / "a.jsonl", rows)
    with pytest.raises(InputError, match=r"of 18 of .* have no label"):
        split(path, label_column="kind", partition="dirichlet")

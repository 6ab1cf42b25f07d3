import json
import pathlib

import pytest
from row_files import sums, write_jsonl

from trimwave.base.errors import InputError
from trimwave.lm.data.files import read_local
from trimwave.lm.data.rows import Row
from trimwave.lm.data.tasks import load_rows

LINES = '{"text": "é"}\n\n{"text": "日"}\n'


def all_rows(path):
    return list(load_rows(str(path), seed=0).train)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_the_encodings_of_json_are_read(name, encoding, tmp_path):
    file = tmp_path / name
    file.write_text(LINES, encoding=encoding)
    assert sorted(row.answer for row in all_rows(file)) == ["é", "日"]
    (tmp_path / "b.json").write_text('[{"text": "é"}]', encoding=encoding)
    assert all_rows(tmp_path / "b.json") == [Row("", "é")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"text": "a"}\n{"text": "caf\xe9"}',
            "line 2: byte 28 .* `é` in Windows-1252 .*, is not UTF-8; save",
        ),
        (b'{"text": "a"}\n' * 9000 + b"\xff", "line 9001: byte .* is not UTF-8"),
        ('{"text": "a"}'.encode("utf-16")[:-1], "is not UTF-16-LE; was it cut"),
        (b"\x00" * 64, "line 1: holds a NUL"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer; fetch it"),
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b'{"text": "a", "text": "b"}', "line 1 of .* names `text` twice"),
        (b'{"text": ' + b"9" * 5000 + b"}", "line 1 of .* cannot be read as JSON"),
        (b'{"text": ' + b"[" * 200_000, "line 1 of .* cannot be read as JSON"),
        (b'[\n{"text": "a"}\n]', "line 1 of .* is not JSON.*name the file .json"),
        (b"null", "line 1 of .* must be a JSON object.*got None"),
        (b'"\\ud83d"', r"line 1 of .* got \\ud83d"),
        (b'{"\\ud83d": 1}', r"has the columns `\\ud83d`, which no known layout fits"),
        (b'{"text": {"a": "\\ud83d"}, "id": 1}\n{"text": "b"}', r"got \{.*ud83d"),
        (b'{"data": [{"text": "a"}, {"text": "b"}]}', "the 2 rows of its key `data`"),
    ],
)
def test_a_bad_jsonl_file_is_one_error(content, message, tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        all_rows(file)
    str(caught.value).encode()  # any terminal can show it


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"version": "1", "data": [{"text": "a"}] * 3},
            "one JSON object with `data`, `version`.*the 3 rows of its key `data`",
        ),
        ({"rows": {"0": {"text": "a"}}}, "the 1 rows of its key `rows`"),
        ({"text": ["a", "b"], "label": [0, 1]}, "turn its columns into rows"),
        ({"text": {"0": "a"}, "label": {"0": 1}}, "turn its columns into rows"),
        ([[["a"]]], r"row 1 of .* must be a JSON object.*got \[\['a'\]\]"),
        ([{"text": "a"}, {"text": ["b"]}], r"`text` of row 2 .*got \['b'\]; write it"),
        ([{"text": "a"}, {"text": {"b": 1}}], "must be text or a number"),
        (3, "row 1 of .* must be a JSON object.*got 3"),
        ({}, "has the columns none"),
        ([{}, {}], "has the columns none"),
    ],
)
def test_a_bad_json_file_is_one_error(value, message, tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps(value, indent=1))
    with pytest.raises(InputError, match=message):
        all_rows(file)


def test_one_object_in_a_json_file_is_one_row(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{\n "question": "a",\n "answer": true\n}\n')
    assert all_rows(file) == [Row("Question: a\nAnswer:", "True")]


@pytest.mark.parametrize("short_first", [True, False])
def test_rows_of_unequal_columns_are_refused_in_either_order(short_first, tmp_path):
    lines = ['{"text": "a"}', '{"text": "b", "label": 1}']
    lines = lines if short_first else lines[::-1]
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"line \d of .* no column `label`, which oth"):
        all_rows(file)


def test_an_optional_column_may_come_and_go(tmp_path):
    file = tmp_path / "a.jsonl"
    lines = [
        '{"instruction": "a", "output": "1"}',
        '{"output": "2", "input": "x", "instruction": "b"}',
    ]
    file.write_text("\n".join(lines))
    assert {row.prompt for row in all_rows(file)} == {
        "Question: a\nAnswer:",
        "Question: b\nx\nAnswer:",
    }


def test_a_row_of_a_second_file_is_named_by_its_own_line(tmp_path):
    (tmp_path / "train-0.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n')
    (tmp_path / "train-1.jsonl").write_text('{"text": "c"}\n\n{"text": []}\n')
    with pytest.raises(InputError, match="line 3 of `.*train-1.jsonl`"):
        all_rows(tmp_path)


def test_a_folder_of_train_alone_and_one_with_files_that_are_not_read(tmp_path):
    (tmp_path / "Train.jsonl").write_text('{"text": "a"}\n')
    assert len(all_rows(tmp_path)) == 1
    (tmp_path / "x.jsonl").mkdir()
    assert len(all_rows(tmp_path)) == 1
    (tmp_path / "device.jsonl").write_text('{"text": "a"}\n')
    with pytest.warns(UserWarning, match="only the files `Train.*not `device.jsonl`"):
        assert len(all_rows(tmp_path)) == 1


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["test.jsonl"], "found: `test.jsonl`. Test rows .* are not trained on"),
        (["a/rows.jsonl", "b/rows.jsonl", "test.jsonl"], "`data.partition` to `files`"),
        (["a.jsonl", "b.jsonl"], "found: `a.jsonl`, `b.jsonl`"),
        ([f"c{i}.jsonl" for i in range(11)], "and 3 more"),
        ([], "found: none"),
    ],
)
def test_a_folder_that_does_not_say_what_trains_is_refused(names, said, tmp_path):
    for name in names:
        write_jsonl(tmp_path / name, sums(2))
    with pytest.raises(InputError, match=said):
        read_local(tmp_path)


def test_the_one_file_that_is_no_test_file_trains(tmp_path):
    write_jsonl(tmp_path / "all.jsonl", sums(2))
    write_jsonl(tmp_path / "test.jsonl", sums(3, 50))
    train, test, _ = read_local(tmp_path)
    assert (len(train), len(test)) == (2, 3)
    write_jsonl(tmp_path / "dev" / "more.jsonl", sums(3, 80))
    with pytest.warns(UserWarning, match="not `dev/more.jsonl`"):
        read_local(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(self, *_):
        raise PermissionError(13, "Permission denied")

    file = tmp_path / "a.jsonl"
    file.write_text(LINES)
    for way in ("read_bytes", "open"):
        monkeypatch.setattr(pathlib.Path, way, refuse)
    with pytest.raises(InputError, match="cannot read `.*a.jsonl`: Permission denied"):
        all_rows(file)


def test_the_revision_tells_which_part_has_a_row(tmp_path):
    lines = [json.dumps({"text": str(number)}) + "\n" for number in range(6)]

    def revision(**parts):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, text in parts.items():
            (folder / f"{name}.jsonl").write_text(text)
        return read_local(folder)[2]

    text = "".join
    found = [
        revision(train=text(lines[:4]), test=text(lines[4:])),
        revision(train=text(lines[:3]), test=text(lines[3:])),
        revision(train=text(lines[:4]), train2=text(lines[4:])),
        revision(train=text(lines)),
    ]
    assert len(set(found)) == 4

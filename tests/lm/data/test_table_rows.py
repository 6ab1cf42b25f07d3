import pytest

from trimwave.base.errors import InputError
from trimwave.lm.data.tables import read_table_rows
from trimwave.lm.data.tasks import load_rows


def read(tmp_path, content, name="some.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table_rows(path)


ROWS = [{"question": "1+1?", "answer": "2"}, {"question": "a\nb", "answer": " 3"}]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("mark", list(",;\t|"))
def test_rows_and_their_lines_however_written(tmp_path, encoding, mark):
    text = f' Question {mark}ANSWER\n1+1?{mark}2\n\n"a\nb"{mark} 3\n'
    found = read(tmp_path, text.encode(encoding))
    assert found.records == ROWS
    assert found.lines == [2, 4]


def test_other_names_keep_their_case(tmp_path):
    (record,) = read(tmp_path, "Answer,My Note,question\n2,x,1?\n").records
    assert record == {"answer": "2", "My Note": "x", "question": "1?"}


def test_text_is_not_taken_for_comments_or_other_columns(tmp_path):
    text = 'question,answer\n# one; two | three,1\n"say ""so"", please",2\n'
    first, second = read(tmp_path, text).records
    assert first["question"] == "# one; two | three"
    assert second["question"] == 'say "so", please'


def test_yahoo_without_a_header(tmp_path):
    found = read(tmp_path, '"1","why; so?","","because; of\nit"\n"10","who?","",""\n')
    assert [record["topic"] for record in found.records] == [
        "Society & Culture",
        "Politics & Government",
    ]
    assert found.lines == [1, 3]


def test_a_long_text_is_read(tmp_path):
    long = "x" * 500_000
    assert read(tmp_path, f"text\n{long}\n").records == [{"text": long}]


def test_a_tsv_is_data(tmp_path):
    (tmp_path / "train.TSV").write_text("sentence\tlabel\nso, so\tgood\n")
    rows = list(load_rows(str(tmp_path), seed=0).train)
    assert [(row.answer, row.label) for row in rows] == [("good", "good")]
    assert "so, so" in rows[0].prompt


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("question,answer\na,b,c\n", "line 2: 3 cells for 2 columns, in excess: 'c'"),
        ("question,answer\na,b,c\n", "a text with `,` needs quotation marks around it"),
        ('question,answer\n"a\n\n",1\n2\n', "line 5: 1 cell for 2 columns; `answer`"),
        ('question,answer\n1,"2\n', "line 2: .* a quotation mark is opened and not"),
        ("question,Question\n1,2\n", "line 1: two columns `question`; keep one"),
        (b"question,answer\n1,2\n\xe9,3\n", "line 3: byte 21 of the file, 0xE9, `é`"),
        ("3,t,c,b\n11,t,c,b\n", "line 2: class index `11` is not one of 1 to 10"),
    ],
)
def test_what_is_wrong_has_its_line(tmp_path, text, said):
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "some.csv") in str(caught.value)

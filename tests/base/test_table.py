import csv
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimwave.base.errors import InputError
from trimwave.base.table import is_table_name, read_table

NAMES = ("question", "answer")


def fit(cells):
    return sum(cell.strip() in NAMES for cell in cells)


def read(tmp_path, content, name="a.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, fit, **options)


def test_rows_have_the_lines_of_the_file(tmp_path):
    text = '# of Monday\n\nquestion,answer\n"a\nb",1\r\n  \n#c, "d\ne,2\n\n\nf,3'
    found = read(tmp_path, text)
    assert [tuple(row) for row in found.rows[:2]] == [
        (3, ["question", "answer"]),
        (4, ["a\nb", "1"]),
    ]
    assert [(row.line, row.cells[0]) for row in found.rows[2:]] == [(8, "e"), (11, "f")]


def test_old_line_ends_count(tmp_path):
    found = read(tmp_path, "question,answer\ra,1\r\rb,2")
    assert [row.line for row in found.rows] == [1, 2, 4]


def test_text_keeps_what_numbers_do_not(tmp_path):
    text = 'question,answer\n# one," 2 "\n  , 3\n'
    found = read(tmp_path, text, free_text=True)
    assert [row.cells for row in found.rows[1:]] == [["# one", " 2 "], ["  ", " 3"]]


@pytest.mark.parametrize("delimiter", list(",;\t|"))
def test_the_header_tells_the_delimiter(tmp_path, delimiter):
    header = f'question{delimiter}"answer"\n'
    found = read(tmp_path, header + '"a,b;c|d\te"' + f"{delimiter}1\n")
    assert found.delimiter == delimiter
    assert found.rows[1].cells == ["a,b;c|d\te", "1"]


def test_known_names_count_more_than_many(tmp_path):
    found = read(tmp_path, "question;answer;what, else, is, there\na;1;b\n")
    assert found.delimiter == ";"
    assert found.rows[0].cells[-1] == "what, else, is, there"


def test_excels_line_tells_the_delimiter(tmp_path):
    found = read(tmp_path, "sep=;\nquestion;answer\na;1\n")
    assert [(row.line, row.cells) for row in found.rows] == [
        (2, ["question", "answer"]),
        (3, ["a", "1"]),
    ]


def test_a_tsv_of_one_column_is_not_split_at_commas(tmp_path):
    found = read(tmp_path, "text\nfirst, second\n", "a.TSV", free_text=True)
    assert found.rows[1].cells == ["first, second"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1", "line 2: 1 cell for 2 columns; `answer` has none"),
        ("1;2", "line 2: 1 cell for 2 columns; it has semicolons where the header"),
        ("1,2,x", "line 2: 3 cells for 2 columns, in excess: 'x'."),
        ("1,2,,", "in excess: '', ''; take the separators at the line's end away."),
        ("1,5,2,5", "'2', '5'; decimal commas or thousands separators are suspected"),
        ("4,000,000,1", "decimal commas or thousands separators are suspected"),
        ("0,5e12,4,0e9", "decimal commas or thousands separators are suspected"),
        ("500,000,000,000,7", "decimal commas or thousands separators are suspected"),
        ("1,2,3", "in excess: '3'; decimal commas or thousands separators are"),
        ("1,2," + "x" * 99, "in excess: '" + "x" * 37 + "...'."),
    ],
)
def test_a_row_of_another_width_is_refused(tmp_path, row, said):
    table = read(tmp_path, f"question,answer\n{row}\n")
    with pytest.raises(InputError) as caught:
        table.check_width(table.rows[1], NAMES)
    assert said in str(caught.value)
    assert str(tmp_path / "a.csv") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n \n# nothing\n", "is empty"),
        (
            'question,answer\n\na,"1\nb,2\n',
            "line 3: .* quotation mark is opened and not",
        ),
        ('question,answer\n"a"b,1\n', "line 2: not as a table should be"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read(tmp_path, text)


def test_fields_may_be_long_and_the_limit_is_put_back(tmp_path):
    before, long, path = csv.field_size_limit(), "x" * 300_000, tmp_path / "long.csv"
    path.write_text(f"question,answer\n{long},1\n")
    found = []

    def one():
        found.append(read_table(path, fit).rows[1].cells[0])

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [long] * 4
    with pytest.raises(InputError):
        read(tmp_path, 'question,answer\n"a\n')
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cell.csv", True),
        ("a.b/CELL.TSV", True),
        ("cell.Txt", True),
        ("cell.csv.gz", True),
        ("cell.XLSX", True),
        ("default", False),
        ("my.toml", False),
        ("my.csv.toml", False),
        ("letter/fig4", False),
        ("csv", False),
        ("x.csv/recipe", False),
        (".gz", False),
    ],
)
def test_tables_are_known_by_their_names(name, expected):
    assert is_table_name(name) == expected


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs", "Cc"]))] * 2),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_what_the_csv_module_wrote_is_read(tmp_path_factory, rows, mark, end, encoding):
    path = tmp_path_factory.mktemp("written") / "a.csv"
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=mark, lineterminator=end)
        writer.writerows([NAMES, *rows])
    found = read_table(path, fit, free_text=True)
    assert [tuple(row.cells) for row in found.rows] == [NAMES, *rows]

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sheets import Sheet, rewritten, spoiled

from trimwave.base.columns import Column, read_columns
from trimwave.base.errors import InputError
from trimwave.base.quantity import Quantity

LENGTH = Quantity(
    unit="m",
    least=0.0,
    too_low="nothing is shorter",
    most=1e6,
    too_high="nothing is longer",
    usual=(0.0, 1e5),
    none_is=np.inf,
)
WEIGHT = Quantity(unit="kg", least=-1e6, too_low="no", most=1e6, too_high="no")
COLUMNS = (
    Column("number"),
    Column("weight_kg", WEIGHT),
    Column("length_m", LENGTH, required=False),
)
SHEET = Sheet(
    header=("number", "weight_kg", "length_m"),
    rows=(("0", "1.5", "20"), ("1", "-2e3", ".5"), ("2", "+7.", "1E2")),
)
VALUES = {
    "number": [0, 1, 2],
    "weight_kg": [1.5, -2000, 7],
    "length_m": [20, 0.5, 100],
}


def read(tmp_path, content, name="some.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_columns(path, COLUMNS)


def test_values_have_their_places(tmp_path):
    text = "# by hand\n _who, Weight_KG ,number\n\n'a',5,0\n# no\n\"b\nc\",6,1\n"
    found = read(tmp_path, text)
    assert {name: list(some) for name, some in found.values.items()} == {
        "weight_kg": [5, 6],
        "number": [0, 1],
    }
    assert found.lines == (4, 6)
    where = f"{tmp_path / 'some.csv'}, line 6, column `Weight_KG`"
    assert found.where(1, "weight_kg") == where


@settings(max_examples=60)
@given(rewritten(SHEET))
def test_a_table_otherwise_written_is_the_same(tmp_path_factory, sheet):
    found = read(tmp_path_factory.mktemp("same"), sheet.content())
    assert {name: list(some) for name, some in found.values.items()} == VALUES
    first = sheet.first_line
    assert found.lines == (first, first + 1, first + 2)


@settings(max_examples=150)
@given(st.data())
def test_a_spoiled_table_is_one_error_with_its_line(tmp_path_factory, data):
    sheet, line = data.draw(spoiled(data.draw(rewritten(SHEET))))
    dropped = {name.strip().casefold() for name in sheet.header} | {"_note"}
    path = tmp_path_factory.mktemp("spoiled") / "some.csv"
    path.write_bytes(sheet.content())
    try:
        found = read_columns(path, COLUMNS)
    except InputError as error:
        assert f"{path}, line {line}" in str(error)
        assert "\n" not in str(error)
        return
    # What is optional or a comment may be absent, twice or anything.
    values = {name: list(some) for name, some in found.values.items()}
    assert values == {name: VALUES[name] for name in VALUES if name in dropped} or (
        list(values.get("length_m", ())) != VALUES["length_m"]
        and any("inf" in str(cell).lower() for row in sheet.rows for cell in row)
    )


@settings(max_examples=120)
@given(st.data())
def test_a_damaged_file_is_a_table_or_one_error(tmp_path_factory, data):
    content = bytearray(data.draw(rewritten(SHEET)).content())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.integers(0, len(content)))
    path = tmp_path_factory.mktemp("damaged") / "some.csv"
    path.write_bytes(content[:cut])
    try:
        found = read_columns(path, COLUMNS)
    except InputError as error:
        assert str(error).startswith(str(path))
    except UserWarning as doubt:  # a flipped digit can make a number unusual
        assert "unusual in" in str(doubt)
    else:
        assert all(len(some) == len(found.lines) for some in found.values.values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("number\n1\n", "line 1: no column `weight_kg`; expected number, weight_kg,"),
        ("number,wieght_kg\n1,1\n", "'wieght_kg' (did you mean `weight_kg`?); take it"),
        ("number,weight_kg,who\n1,1,a\n", "'who' (known: length_m, number, weight_kg)"),
        ("number,weight_kg,who\n1,1,a\n", "or name it `_who` to keep it unread"),
        (",number,weight_kg\n0,1,1\n", "the 1. column has no name; take it out"),
        ("number,weight_kg,Number\n1,1,1\n", "two columns `Number`, the 1. and the 3."),
        ("1,2,3\n1,2,3\n", "line 1: numbers, where the columns' names must be"),
        ("# number,weight_kg\n1,2\n", "line 2: numbers, where the columns' names"),
        ("number weight_kg\n1 2\n", "one column alone, 'number weight_kg'; expected"),
        ('"number,weight_kg"\n"1,2"\n', "the whole line is within quotation marks"),
        ("number,weight_kg\n", "no rows below the header"),
        ("number,weight_kg\n1,1\n,\n", "line 3: every cell is empty; take the line"),
        ("number,weight_kg\n#N/A,1\n", "line 2, column `number`: must be a whole"),
        ("number,weight_kg\n1.5,1\n", "column `number`: must be whole, got 1.5"),
        ("number,weight_kg\n1,1e7\n", "column `weight_kg`: must be in kg, got 1e7: no"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, text, said):
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("", "got ''; fill it in, or take the line out"),
        ("NaN", "got 'NaN', which is no value; fill it in"),
        ("-inf", "got '-inf', which is no value"),
        ("#N/A", "got '#N/A', which is no value"),
        ("20,5", "got '20,5'; a decimal comma is suspected; write a point"),
        ("1,000,000", "write it without separators"),
        ("4 000", "write it without separators"),
        ("4_000", "write it without separators"),
        ("−5", "its minus is a typographic one; write `-`"),
        ("50 %", "write a number without the percent sign"),
        ("4 kg", "must be a number in kg, got '4 kg'; write the number without a unit"),
        ("4kg", "write the number without a unit"),
        ("#DIV/0!", "the spreadsheet has an error there"),
        ("=A1", "it is a formula; save its value"),
        ("1e400", "got '1e400'; it is larger than any number"),
        ("0x10", "write it in decimals"),
        ("heavy", "must be a number in kg, got 'heavy'."),
    ],
)
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_cell_that_is_no_number_is_told_apart(tmp_path, cell, said, delimiter):
    sheet = SHEET.with_cell(1, 1, cell)
    text = Sheet(sheet.header, sheet.rows, delimiter=delimiter).text()
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert "some.csv, line 3, column `weight_kg`: " in str(caught.value)
    assert said in str(caught.value)


def test_no_bound_may_be_written_as_infinite(tmp_path):
    text = SHEET.with_cell(0, 2, "inf").text()
    assert read(tmp_path, text).values["length_m"][0] == np.inf


def test_unusual_values_are_warned_of_once(tmp_path):
    sheet = SHEET.with_cell(1, 2, "2e5").with_cell(2, 2, "3e5")
    with pytest.warns(UserWarning) as said:
        read(tmp_path, sheet.text())
    (one,) = said
    place = f"{tmp_path / 'some.csv'}, line 3, column `length_m`"
    assert str(one.message) == f"{place}: is 200000, unusual in m (so are 1 more)."

import pytest

from trimwave.report.aligned import aligned, legend, narrow, wrapped


def test_columns_stand_under_their_titles():
    columns = {"client": ["0", "10"], "T s": ["1.00", "12.5"], "held by": ["-", "b"]}
    assert aligned(columns, 80, left=("held by",)) == [
        " client   T s  held by",
        " ─────────────────────",
        "      0  1.00  -",
        "     10  12.5  b",
    ]
    assert aligned(columns, 20, left=("held by",))[0] == "client  T s held by"
    assert len(aligned({"a": []}, 80)) == 2


@pytest.mark.parametrize("width", [10, 60, 80, 120])
def test_no_cell_is_cut_and_titles_break_at_underscores(width):
    columns = {
        "total_bandwidth_hz": ["1e8", "2e8"],
        "path_loss_db": ["60", "94"],
        "s per round": ["14.811", "1.2e8"],
    }
    lines = aligned(columns, width)
    cells = {cell for line in lines for cell in line.split()}
    assert {"1e8", "2e8", "60", "94", "14.811", "1.2e8"} <= cells
    height = len(lines) - 3
    words = "".join("".join(line.split()) for line in lines[:height])
    assert sorted(words) == sorted("".join(columns).replace(" ", ""))
    if width >= 60:
        assert max(map(len, lines)) <= width and height == 1


def test_wide_characters_take_two_places():
    lines = aligned({"client": ["東京", "ab"], "x": ["1", "2"]}, 80)
    assert lines[2:] == ["   東京  1", "     ab  2"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.00"), (3.14159, "3.14"), (123.45, "123.5"), (12345.6, "12346")]
    + [(123456.7, "1.2e5"), (1.5e300, "1.5e300"), (-1.0, "-1.00")],
)
def test_a_number_has_the_decimals_that_fit(value, text):
    assert narrow(value, 2, 5) == text


def test_a_legend_breaks_between_words():
    told = {"T s": "seconds of its round", "MHz": "its share-of-the-band"}
    assert legend(told, 30) == [
        "T s: seconds of its round.",
        "MHz: its share-of-the-band.",
    ]
    assert wrapped("a-path/that-is-longer-than-the-screen end", 12) == [
        "a-path/that-is-longer-than-the-screen",
        "end",
    ]

import pytest

from trimwave.base.errors import printable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plain, é 日 \u00a0", "plain, é 日 \u00a0"),
        ("two\nlines", r"two\nlines"),
        ("\x1b[31mred\udcff\u2028", r"\x1b[31mred\udcff\u2028"),
    ],
)
def test_nothing_of_a_name_moves_the_cursor(text, said):
    assert printable(text) == said

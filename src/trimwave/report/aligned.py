"""Rows of text in aligned columns, and the legend below; as fast for 100,000 rows."""

import textwrap
from collections.abc import Collection, Mapping, Sequence

from rich.cells import cell_len

GAPS = 2, 1
"""Spaces between columns: the first with which a table fits its width."""


def aligned(
    columns: Mapping[str, Sequence[str]], width: int, left: Collection[str] = ()
) -> list[str]:
    """Lay out columns under their titles and a rule: as lines, no cell ever cut.

    Parameters
    ----------
    columns : mapping
        Title to cells, as many in each. A title that makes the table wider than
        `width` is stacked at its underscores and spaces.
    width : int
        Of the screen; wider only where the cells are.
    left : collection of str
        Titles of columns that begin at their left.
    """
    titles = [[title] for title in columns]
    sizes = [max(map(_size, cells), default=0) for cells in columns.values()]

    def needed(gap: int) -> int:
        wide = (
            max(size, *map(_size, title))
            for size, title in zip(sizes, titles, strict=True)
        )
        return gap - 1 + sum(wide) + gap * (len(sizes) - 1)

    gap = next((one for one in GAPS if needed(one) <= width), GAPS[-1])
    if needed(gap) > width:
        titles = [
            _stacked(title, size) for title, size in zip(columns, sizes, strict=True)
        ]
        gap = next((one for one in GAPS if needed(one) <= width), GAPS[-1])
    height = max(map(len, titles))
    sides = [title in left for title in columns]
    sizes = [max(s, *map(_size, t)) for s, t in zip(sizes, titles, strict=True)]
    head = zip(*([""] * (height - len(one)) + one for one in titles), strict=True)

    def line(cells: Sequence[str]) -> str:
        padded = map(_padded, cells, sizes, sides)
        return margin + (" " * gap).join(padded).rstrip()

    margin = " " * (gap - 1)
    rule = margin + "─" * (needed(gap) - len(margin))
    return [*map(line, head), rule, *map(line, zip(*columns.values(), strict=True))]


def legend(meanings: Mapping[str, str], width: int) -> list[str]:
    """Return what titles mean, in lines that break between words alone."""
    told = (f"{title}: {meaning}." for title, meaning in meanings.items())
    return wrapped(" ".join(told), width)


def wrapped(line: str, width: int) -> list[str]:
    """Break a line between words where it is wider than the screen."""
    return textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)


def narrow(value: float, decimals: int, widest: int) -> str:
    """Write a number with as many decimals as fit, or with an exponent: 1.2e8."""
    for kept in range(decimals, -1, -1):
        text = f"{value:.{kept}f}"
        if len(text) <= widest:
            return text
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _size(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _padded(text: str, size: int, to_left: bool) -> str:
    filling = " " * (size - _size(text))
    return text + filling if to_left else filling + text


def _stacked(title: str, size: int) -> list[str]:
    """Break a title at underscores and spaces where it is wider than its cells."""
    found = [""]
    for part in title.replace("_", "_\n").replace(" ", " \n").split("\n"):
        if found[-1] and len(found[-1] + part) > size:
            found.append("")
        found[-1] += part
    return [one.rstrip() for one in found]

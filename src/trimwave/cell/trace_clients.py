"""Which client each row of a trace is of: ids in the cell's order."""

import re
from collections.abc import Sequence

import numpy as np

from trimwave.base.columns import Columns
from trimwave.base.errors import InputError, nearest
from trimwave.base.units import IntArray
from trimwave.cell.trace import WHOLE, Holes


def clients_of(
    found: Columns, ids: Sequence[str] | None, holes: Holes
) -> tuple[tuple[str, ...], IntArray]:
    """Return the names of the clients, and which of them each row is of."""
    texts = found.texts["client"]
    if ids is None:
        _check_alike(found)
        if WHOLE.fullmatch(texts[0]):
            texts = tuple(_as_number(text) for text in texts)
    names = tuple(ids) if ids is not None else tuple(sorted(set(texts), key=_natural))
    number = {name: k for k, name in enumerate(names)}
    texts = tuple(text if text in number else _as_number(text) for text in texts)
    for row, text in enumerate(texts):
        if text not in number:
            raise InputError(
                f"{found.where(row, 'client')}: the cell has no client {text!r}; "
                f"{nearest(text, number)}"
            )
    written = set(texts)
    silent = [name for name in names if name not in written]
    if silent and holes != "absent":
        raise InputError(
            f"{found.path}: nothing of client {silent[0]}; every client of the cell "
            "needs rows, or set `radio.trace_holes` = absent."
        )
    return names, np.array([number[text] for text in texts])


def _as_number(text: str) -> str:
    """Write a whole number as such: 3 for 3.0, as pandas writes ids of a column."""
    return str(int(float(text))) if WHOLE.fullmatch(text) else text


def _check_alike(found: Columns) -> None:
    """Refuse an id that is no number where most are, and the other way round."""
    texts = found.texts["client"]
    numbers = np.array([bool(WHOLE.fullmatch(text)) for text in texts])
    if numbers.all() or not numbers.any():
        return
    most_are = 2 * numbers.sum() >= len(texts)
    row = int(np.flatnonzero(numbers != most_are)[0])
    raise InputError(
        f"{found.where(row, 'client')}: the id {texts[row]!r} is "
        f"{'no' if most_are else 'a'} whole number, unlike most others; correct it, or "
        "give the clients in `cell.clients`."
    )


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Order texts as people do: ``ue2`` before ``ue10``, -1 before 0."""
    if WHOLE.fullmatch(text):
        return ((0, int(float(text)), ""),)
    parts = re.split(r"(\d+)", text)
    return tuple(
        (1, int(part), "") if part.isdecimal() else (2, 0, part) for part in parts
    )

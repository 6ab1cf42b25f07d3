"""The parts of a run's rows: test, public and training rows, none in two of them."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from trimwave.base.errors import InputError
from trimwave.lm.data.draw import Draw
from trimwave.lm.data.rows import Lack, Row

Fits = Callable[[Sequence[Row]], Sequence[bool]]
"""Says of each row whether it is to be kept."""

DUPLICATE, UNFIT = "duplicate", "too long"
"""Why a row is passed over, beside what a record can lack."""

PASSED_OVER = (*Lack, DUPLICATE, UNFIT)

MOST_UNFIT = 20
"""A source without end is given up once so many rows were too long for each fit one."""

TITLES = {"train": "training", "test": "test", "public": "public"}
"""Parts by the names that the recipe's keys have."""


class UpTo(NamedTuple):
    """As many rows as there are, up to a number and to a share of a source."""

    most: int
    share: float = 1.0

    def of(self, size: int | None) -> int:
        """Return how many of a source of so many records; at least one."""
        if size is None:
            return self.most
        return min(self.most, max(1, int(size * self.share)))


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one part, and what was passed over in drawing them."""

    rows: tuple[Row, ...]
    passed_over: dict[str, int]
    """How many, by reason; without zeros."""

    @property
    def num_repeated(self) -> int:
        """Rows that equal one before; they are kept, since they may mean a weight."""
        return len(self.rows) - len({row.key for row in self.rows})


class Taker:
    """Takes rows part by part, passing over what an earlier part has.

    Parameters
    ----------
    fits : callable, optional
        Which rows may be taken at all; in place of another the source's next is.
    """

    def __init__(self, fits: Fits | None = None) -> None:
        self._fits = fits
        self._taken: set[tuple[str, str]] = set()

    def take(
        self, draw: Draw, count: int | UpTo | None, part: str, *, apart: bool = True
    ) -> Part:
        """Take a number of rows, or all there are.

        No later part gets a row that equals one of these, if they are to be `apart`.

        Raises
        ------
        InputError
            If there are not as many; says where the source's rows have gone.
        """
        if isinstance(count, int) and count < 0:
            raise InputError(
                f"cannot draw {count} {TITLES[part]} rows of `{draw.source}`; ask for "
                f"0 or more."
            )
        before = draw.spent.copy()
        asked = isinstance(count, int)
        if isinstance(count, UpTo):
            count = count.of(draw.size)
        rows = self._fitting(draw, count)
        if asked and len(rows) < (count or 0) or not (asked or rows):
            raise InputError(_too_few(draw, count, len(rows), part))
        passed = {why: draw.spent[why] - before[why] for why in PASSED_OVER}
        draw.spent[part] += len(rows)
        if apart:
            self.keep_apart(rows)
        return Part(tuple(rows), {str(why): n for why, n in passed.items() if n})

    def keep_apart(self, rows: Iterable[Row]) -> None:
        """Let no later part have a row that equals one of these."""
        self._taken.update(row.key for row in rows)

    def _fitting(self, draw: Draw, count: int | None) -> list[Row]:
        rows: list[Row] = []
        fresh = self._fresh(draw)
        # Never more than are missing: the next part goes on where this one ends.
        while batch := list(
            islice(fresh, None if count is None else count - len(rows))
        ):
            fitting = self._fits(batch) if self._fits else [True] * len(batch)
            kept = [row for row, fit in zip(batch, fitting, strict=True) if fit]
            draw.spent[UNFIT] += len(batch) - len(kept)
            rows += kept
            enough = MOST_UNFIT * (len(rows) + len(batch))
            if draw.size is None and draw.spent[UNFIT] > enough:
                break
        return rows

    def _fresh(self, draw: Draw) -> Iterator[Row]:
        for row in draw:
            if row.key in self._taken:
                draw.spent[DUPLICATE] += 1
            else:
                yield row


def _too_few(draw: Draw, count: int | None, left: int, part: str) -> str:
    title = f"{TITLES[part]} rows"
    others = [at for at in draw.spent if at in TITLES]
    gone = [f"{draw.spent[at]} are {TITLES[at]} rows" for at in others]
    gone += [f"{draw.spent[why]} {why}" for why in PASSED_OVER if draw.spent[why]]
    rows = "of those drawn" if draw.size is None else f"it has {draw.size} rows"
    account = ", ".join([rows, *gone])
    if left:
        return (
            f"asked for {count} {title} of `{draw.source}`, only {left} are left "
            f"({account}); set `data.num_{part}` to {left} or less, or give more rows."
        )
    asked = "" if count is None else f"asked for {count} {title}: "
    remedies = [f"lower `data.num_{at}`" for at in others]
    remedies += ["raise `data.max_tokens`"] if draw.spent[UNFIT] else []
    remedies.append("give more rows")
    return (
        f"{asked}no {title} of `{draw.source}` are left ({account}); "
        f"{' or '.join(remedies)}."
    )


def warn_of_parts(parts: Mapping[str, Part], draws: Sequence[Draw]) -> None:
    """Say once what was passed over, what is there twice and what was mended."""
    warn_of_passed_over(parts)
    warn_of_mended(draws)


def warn_of_passed_over(parts: Mapping[str, Part]) -> None:
    """Say once what was passed over in which part, and what is there twice."""
    said = []
    for name, part in parts.items():
        counts = [f"{n} {why}" for why, n in part.passed_over.items() if why != UNFIT]
        if counts:
            said.append(f"passed over in {name}: {', '.join(counts)}")
    for name, part in parts.items():
        if part.num_repeated:
            said.append(f"kept in {name} though repeated there: {part.num_repeated}")
    if said:
        if any(DUPLICATE in part.passed_over for part in parts.values()):
            said.append("a duplicate is a row that another part has")
        warnings.warn(f"rows {'; '.join(said)}.", stacklevel=5)


def warn_of_mended(draws: Sequence[Draw]) -> None:
    """Say once where characters were replaced that no encoding has."""
    origins = [origin for draw in draws for origin in draw.mended]
    if origins:
        warnings.warn(
            f"half a surrogate pair is no character: replaced by U+FFFD in "
            f"{len(origins)} {'row' if len(origins) == 1 else 'rows'}, the first drawn "
            f"is {origins[0]}; mend what cut these texts.",
            stacklevel=5,
        )

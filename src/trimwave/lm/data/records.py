"""Records of a source, and where each of them stands."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

from trimwave.base.errors import InputError

Record = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Found:
    """The records of one file, or of one split of the hub."""

    records: Sequence[Record]
    place: str
    """The file's path, or the hub's name."""
    lines: Sequence[int] = ()
    """Line of each record in the file, the first being 1; empty where a record has
    none, which is then known by its number."""

    def where(self, index: int) -> str:
        """Say where a record stands; the first row is row 1."""
        if self.lines:
            return f"line {self.lines[index]} of `{self.place}`"
        return f"row {index + 1} of `{self.place}`"


class Records(Sequence[Record]):
    """The records of several files, one after the other."""

    def __init__(self, found: Iterable[Found]) -> None:
        self._found = tuple(found)
        self._ends = list(accumulate(len(one.records) for one in self._found))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> Any:
        """Return one record."""
        found, offset = self._at(int(index))
        return found.records[offset]

    def where(self, index: int) -> str:
        """Say in which file and line a record stands."""
        found, offset = self._at(index)
        return found.where(offset)

    @cached_property
    def columns(self) -> set[str]:
        """Every column that any record has."""
        tables = [one.records for one in self._found]
        return {
            column
            for table in tables
            # Records of a table all have the same columns, and making one is slow.
            for record in (table[:1] if isinstance(table, NamedClasses) else table)
            for column in record
        }

    def _at(self, index: int) -> tuple[Found, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._ends, index)
        before = self._ends[number - 1] if number else 0
        return self._found[number], index - before


class NamedClasses(Sequence[Record]):
    """The records of a `datasets` table, with class names for class numbers."""

    def __init__(self, table: Any) -> None:
        self._table = table
        features = table.features.items()
        self._names = {k: f.names for k, f in features if hasattr(f, "names")}

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: Any) -> Any:
        """Return one record, or a list of them for a slice."""
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        record = dict(self._table[int(index)])
        for column, names in self._names.items():
            record[column] = _class_name(record[column], names, column)
        return record


def _class_name(number: int | None, names: Sequence[str], column: str) -> str | None:
    if number is None or number < 0:  # -1 marks an unlabelled row
        return None
    if number >= len(names):
        raise InputError(
            f"column `{column}` has the class number {number}, but only "
            f"{len(names)} class names; mend the file's classes."
        )
    return names[number]

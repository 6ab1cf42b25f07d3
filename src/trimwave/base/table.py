"""Tables of numbers in CSV files."""

import csv
from pathlib import Path

from trimwave.base.errors import InputError


def read_csv(
    path: Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()
) -> list[dict[str, float]]:
    """Read numeric columns of a CSV with a header; optional ones where they are there.

    Raises
    ------
    InputError
        If the file cannot be read, a column is absent, or a value is not a number;
        the message names the line and the column.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            missing = [
                name for name in columns if name not in (reader.fieldnames or ())
            ]
            if missing:
                raise InputError(
                    f"{path}: no column {', '.join(missing)}; "
                    f"expected {', '.join(columns)}."
                )
            given = [name for name in optional if name in (reader.fieldnames or ())]
            rows = []
            for record in reader:
                row = {}
                for name in (*columns, *given):
                    try:
                        row[name] = float(record[name])
                    except (TypeError, ValueError):
                        raise InputError(
                            f"{path}, line {reader.line_num}: `{name}` must be a "
                            f"number, got {record[name]!r}."
                        ) from None
                rows.append(row)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from None
    if not rows:
        raise InputError(f"{path}: no rows below the header.")
    return rows

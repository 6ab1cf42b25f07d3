"""Ways in which a file goes wrong, for property tests of whatever reads it back."""

import json
from pathlib import Path

from hypothesis import strategies as st

JSONS = ("null", "[]", "{}", "3", '"x"', '{"a": [1, 2]}', "[" * 9999)
"""Valid JSON of other shapes, and one that is too deep to read."""


@st.composite
def mutations(draw, files):
    """Draw a file of a folder and what happens to it."""
    kinds = ("cut", "flip", "empty", "delete", "swap", "exchange", "key")
    file, kind = draw(st.sampled_from(sorted(files))), draw(st.sampled_from(kinds))
    where, value = draw(st.floats(0, 1)), draw(st.integers(1, 255))
    return kind, file, where, value


def mutate(folder: Path, mutation) -> None:
    """Do to a file of a folder what `mutations` drew."""
    kind, name, where, value = mutation
    path = folder / name
    content = path.read_bytes()
    at = min(int(where * len(content)), len(content) - 1)
    if kind == "cut":
        path.write_bytes(content[:at])
    elif kind == "flip":
        path.write_bytes(
            content[:at] + bytes([content[at] ^ value]) + content[at + 1 :]
        )
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "delete":
        path.unlink()
    elif kind == "swap":
        path.write_text(JSONS[value % len(JSONS)])
    elif kind == "exchange":
        others = sorted(file for file in folder.iterdir() if file.is_file())
        path.write_bytes(others[value % len(others)].read_bytes())
    elif path.suffix == ".json":
        path.write_text(json.dumps(_other_value(json.loads(content), at, value)))


def _other_value(content, at, value):
    """Give one key of a JSON object a value of another kind, or none."""
    key = sorted(content)[at % len(content)]
    values = (None, True, -1, 0, 1.5, "x", [], {}, 10**30)
    return {**content, key: values[value % len(values)]}

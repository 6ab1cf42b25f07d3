"""Whatever the records are, the outcome is rows or one InputError."""

import json
import tempfile
import warnings
from pathlib import Path

import pyarrow
import pyarrow.parquet
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizer import byte_tokenizer

from trimwave.base.errors import InputError
from trimwave.lm.data.deal import deal_rows
from trimwave.lm.data.layouts import LAYOUTS
from trimwave.recipe.recipe import config_from_dict

TEXTS = st.text(max_size=6) | st.sampled_from(
    [
        "",
        " ",
        "\ud83d",
        "\ud83d\ude00",
        "\x00",
        "nan",
        "None",
        "\u2028",
        "\r",
        "x" * 300,
    ]
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "gpt", "tool"]) | TEXTS},
        optional={"content": TEXTS | st.lists(TEXTS, max_size=2), "weight": st.just(0)},
    ),
    max_size=4,
)
VALUES = st.one_of(
    MESSAGES,
    TEXTS,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(TEXTS, st.none() | st.integers(), max_size=2),
)
COLUMNS = sorted({column for layout in LAYOUTS for column in layout.needs})
CHANGES = st.lists(
    st.tuples(
        st.integers(0, 11),
        st.sampled_from(["set", "drop", "add", "replace", "repeat"]),
        st.sampled_from(COLUMNS) | TEXTS,
        VALUES,
    ),
    max_size=6,
)
SETTINGS = settings(max_examples=150)
TOKENIZER = byte_tokenizer(frame="<bos> $A")


def base_value(column, i):
    if column in ("messages", "conversations"):
        both = (("user", f"ask {i}"), ("assistant", f"say {i}"))
        return [{"role": role, "content": text} for role, text in both]
    return f"{column} {i}"


def base_records(layout):
    columns = [*layout.needs, *(c for c in layout.reads if c != "history")]
    return [{column: base_value(column, i) for column in columns} for i in range(12)]


def mutated(layout, changes):
    records = base_records(layout)
    for index, how, column, value in changes:
        own = (
            sorted(records[index], key=repr) if isinstance(records[index], dict) else []
        )
        if how == "repeat":
            records[index] = records[0]
        elif how == "replace":
            records[index] = value
        elif own and how == "set":
            records[index] = records[index] | {own[len(column) % len(own)]: value}
        elif own and how == "add":
            records[index] = records[index] | {column: value}
        elif own:
            gone = own[len(column) % len(own)]
            records[index] = {k: v for k, v in records[index].items() if k != gone}
    return records


def outcome(path, how, scheme):
    """Return the rows that are dealt out, or the sentence that says why none are."""
    data = {"num_train": 4, "num_test": 2, "num_public": 2, "max_tokens": 60}
    data |= {"source": str(path), "too_long": how, "partition": scheme}
    tree = {"cell": {"num_clients": 2}, "data": data}
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            dealt = deal_rows(config_from_dict(tree, "any"), TOKENIZER)
    except InputError as error:
        return str(error)
    for warning in said:
        str(warning.message).encode()  # any terminal can show it
    return [row for part in (*dealt.clients, dealt.test) for row in part]


def check(found):
    if isinstance(found, str):
        found.encode()
        assert found.endswith(".") and "\n" not in found
        return
    assert len(found) == 6
    for row in found:
        text = TOKENIZER.decode(row.input_ids.tolist())
        assert len(row.input_ids) <= 60
        assert text.encode()


HOW = st.sampled_from(["drop", "truncate", "error"])
SCHEME = st.sampled_from(["iid", "dirichlet"])


@SETTINGS
@given(st.sampled_from(LAYOUTS), CHANGES, HOW, SCHEME, st.booleans())
@example(LAYOUTS[-1], [(0, "set", "", "\ud83d")] * 1, "error", "iid", False)
def test_mutated_json_is_rows_or_one_sentence(layout, changes, how, scheme, lines):
    records = mutated(layout, changes)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / ("a.jsonl" if lines else "a.json")
        texts = [json.dumps(record) for record in records]
        path.write_text("\n".join(texts) if lines else f"[{','.join(texts)}]")
        check(outcome(path, how, scheme))


@SETTINGS
@given(st.sampled_from(LAYOUTS), st.integers(0, 2**30), st.binary(max_size=3))
def test_damaged_bytes_are_rows_or_one_sentence(layout, place, patch):
    data = "\n".join(json.dumps(r) for r in base_records(layout)).encode()
    at = place % len(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a.json" if place % 2 else "a.jsonl")
        path.write_bytes(data[:at] + patch + data[at + 1 :])
        check(outcome(path, "truncate", "iid"))
        path.write_bytes(data[:at])
        check(outcome(path, "truncate", "iid"))


COLUMN = st.one_of(
    st.lists(st.none() | st.text(max_size=5), min_size=12, max_size=12),
    st.lists(st.none() | st.floats(), min_size=12, max_size=12),
    st.lists(st.none() | st.booleans(), min_size=12, max_size=12),
    st.lists(st.none() | st.integers(-9, 9), min_size=12, max_size=12),
    st.lists(st.none() | st.binary(max_size=3), min_size=12, max_size=12),
    st.lists(st.lists(st.integers(0, 9), max_size=2), min_size=12, max_size=12),
    st.just([None] * 12),
)


@settings(SETTINGS, max_examples=25)
@given(st.sampled_from(LAYOUTS), COLUMN, st.integers(0, 3), HOW, SCHEME)
def test_odd_parquet_is_rows_or_one_sentence(layout, column, number, how, scheme):
    needs = layout.needs
    columns = {name: [base_value(name, i) for i in range(12)] for name in needs}
    columns[needs[number % len(needs)]] = column
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        check(outcome(path, how, scheme))

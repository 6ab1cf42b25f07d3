"""Rows that say whose they are: a file per client, or a column."""

import warnings

import pytest
from row_files import sums, write_jsonl
from tokenizer import byte_tokenizer

from trimwave.base.errors import InputError
from trimwave.lm.data.deal import deal_rows
from trimwave.lm.data.owned import apportioned
from trimwave.recipe.recipe import config_from_dict

TOKENIZER = byte_tokenizer()
BY_FILES = {"partition": "files"}


def config_of(source, cell=(), **data):
    tree = {"cell": dict(cell), "data": {"source": str(source), **data}}
    return config_from_dict(tree, "owned")


def dealt(config, quiet=True):
    with warnings.catch_warnings():
        if quiet:
            warnings.simplefilter("ignore")
        return deal_rows(config, TOKENIZER)


def warned(config):
    """Return what was dealt, and every warning."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = dealt(config, quiet=False)
    return found, [str(one.message) for one in said]


def numbers(rows):
    """Return which of `sums` rows are."""
    texts = (TOKENIZER.decode(row.input_ids.tolist()) for row in rows)
    return sorted(int(text.split(":")[1].split("+")[0]) for text in texts)


def write_clients(folder, sizes):
    """Write so many rows of each client, all others; return whose are which."""
    whose, start = {}, 0
    for name, size in sizes.items():
        write_jsonl(folder / f"{name}.jsonl", sums(size, start))
        whose[name] = list(range(start, start + size))
        start += size
    return whose


def test_a_client_holds_its_file_and_the_server_shares_the_test_file(tmp_path):
    whose = write_clients(tmp_path, {"c10": 4, "c2": 9, "a": 1})
    write_jsonl(tmp_path / "test.jsonl", sums(6, 50))
    config = config_of(tmp_path, **BY_FILES)
    assert config.cell.num_clients == 3
    found = dealt(config)
    order = ["a", "c2", "c10"]  # 2 before 10
    assert [numbers(rows) for rows in found.clients] == [whose[name] for name in order]
    assert sorted(numbers(found.test) + numbers(found.public)) == list(range(50, 56))
    assert len(found.test) == 3
    assert found.client_test is None
    assert found.facts["clients"] == {"a": 1, "c2": 9, "c10": 4}


@pytest.mark.parametrize("form", ["beside", "folders", "parts"])
def test_test_files_of_clients_are_their_own_and_pooled(form, tmp_path):
    places = {
        "beside": ("{}.jsonl", "{}.test.jsonl"),
        "folders": ("{}/train.jsonl", "{}/validation.jsonl"),
        "parts": ("train/{}.jsonl", "test/{}.jsonl"),
    }
    train, test = places[form]
    for k, name in enumerate("xyz"):
        write_jsonl(tmp_path / train.format(name), sums(5, 10 * k))
        if name != "y":
            write_jsonl(tmp_path / test.format(name), sums(2, 10 * k + 5))
    write_jsonl(tmp_path / "public.jsonl", sums(3, 90))
    found = dealt(config_of(tmp_path, **BY_FILES))
    assert [numbers(rows) for rows in found.clients] == [
        list(range(10 * k, 10 * k + 5)) for k in range(3)
    ]
    assert found.client_test is not None
    assert [numbers(rows) for rows in found.client_test] == [[5, 6], [], [25, 26]]
    assert numbers(found.test) == [5, 6, 25, 26]
    assert numbers(found.public) == [90, 91, 92]


@pytest.mark.parametrize(
    ("train", "tests"),
    [
        ("x.jsonl", ["x.test.jsonl", "x.validation.jsonl"]),
        ("x.train.jsonl", ["x.test.jsonl", "x.dev.jsonl"]),
        ("x_train.jsonl", ["x_test.jsonl", "x_val.jsonl"]),
        ("x.jsonl", ["x-eval.jsonl"]),
        ("x/train.jsonl", ["x/test.jsonl", "x/validation.jsonl"]),
        ("x/rows.jsonl", ["x/valid.jsonl", "x/dev.jsonl"]),
        ("train/x.jsonl", ["test/x.jsonl", "validation/x.jsonl"]),
    ],
)
def test_no_test_file_is_trained_on_and_the_first_counts(train, tests, tmp_path):
    for start, name in enumerate([train, *tests]):
        write_jsonl(tmp_path / name, sums(4, 10 * start))
    write_jsonl(tmp_path / "public.jsonl", sums(3, 90))
    found, said = warned(config_of(tmp_path, **BY_FILES))
    assert found.facts["clients"] == {"x": 4}
    assert numbers(found.clients[0]) == [0, 1, 2, 3]
    assert numbers(found.client_test[0]) == [10, 11, 12, 13]
    unread = [text for text in said if "not `" in text]
    assert len(unread) == len(tests) - 1
    assert all(tests[1] in text for text in unread)


def test_a_name_that_ends_in_a_part_may_be_a_clients(tmp_path):
    write_clients(tmp_path, {"lab_test": 5, "field-dev": 5})
    assert config_of(tmp_path, **BY_FILES).cell.num_clients == 2


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["x.test.jsonl", "y.jsonl"], "test rows of a client `x` that has no file"),
        (["x.jsonl", "x.train.jsonl"], "several files or folders of a client `x`"),
        (["x.jsonl", "x/rows.jsonl"], "several files or folders of a client `x`"),
        (["x/test.jsonl"], "client `x` of .* has no training rows"),
        (["train.jsonl", "test.jsonl"], "found: `test.jsonl`, `train.jsonl`"),
    ],
)
def test_files_that_are_not_clear_are_refused(files, said, tmp_path):
    for name in files:
        write_jsonl(tmp_path / name, sums(4))
    with pytest.raises(InputError, match=said):
        config_of(tmp_path, **BY_FILES)


def test_what_a_folder_of_clients_has_beside_them_is_named(tmp_path):
    write_clients(tmp_path, {"a": 9, "b": 9})
    for name in ("test", "validation", "test/more"):
        write_jsonl(tmp_path / f"{name}.jsonl", sums(4, 50))
    config = config_of(tmp_path, **BY_FILES)
    said = warned(config)[1]
    assert any("not `test/more.jsonl`, `validation.jsonl`" in text for text in said)


def test_clients_without_test_rows_give_some_of_theirs(tmp_path):
    whose = write_clients(tmp_path, {"a": 40, "b": 10, "c": 1})
    with pytest.warns(UserWarning) as said:
        found = dealt(config_of(tmp_path, **BY_FILES), quiet=False)
    assert any("no rows of its own" in str(one.message) for one in said)
    assert found.client_test is not None
    for rows, own, name in zip(found.clients, found.client_test, whose, strict=True):
        assert {*numbers(rows), *numbers(own)} <= {*whose[name]}
    assert [len(own) for own in found.client_test] == [8, 2, 0]
    held = [len(rows) for rows in found.clients]
    assert sum(held) + len(found.test) + len(found.public) == 51
    assert held[2] == 1


def test_rows_of_two_clients_may_be_equal_but_none_is_a_test_row_too(tmp_path):
    write_jsonl(tmp_path / "a.jsonl", sums(6))
    write_jsonl(tmp_path / "b.jsonl", sums(6))
    write_jsonl(tmp_path / "b.test.jsonl", sums(2, 4))
    write_jsonl(tmp_path / "public.jsonl", sums(2, 90))
    found = dealt(config_of(tmp_path, **BY_FILES))
    assert [numbers(rows) for rows in found.clients] == [[0, 1, 2, 3]] * 2


def test_a_column_says_whose_rows_are_whose(tmp_path):
    rows = [{**row, "user": 7 if i % 3 else 12} for i, row in enumerate(sums(60))]
    config = config_of(write_jsonl(tmp_path / "r.jsonl", rows), client_column="user")
    assert config.cell.num_clients == 2
    found = dealt(config)
    assert found.facts["clients"].keys() == {"7", "12"}
    assert all(i % 3 for i in numbers(found.clients[0] + found.client_test[0]))
    assert not any(i % 3 for i in numbers(found.clients[1] + found.client_test[1]))


def test_test_rows_with_the_column_are_the_clients_own(tmp_path):
    public = write_jsonl(tmp_path / "server" / "rows.jsonl", sums(4, 80))
    for name, start in (("train", 0), ("test", 40)):
        rows = [{**row, "user": f"u{i % 2}"} for i, row in enumerate(sums(10, start))]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    found = dealt(config_of(tmp_path, client_column="user", public=str(public)))
    assert [numbers(rows) for rows in found.client_test] == [
        list(range(40, 50, 2)),
        list(range(41, 50, 2)),
    ]
    assert [numbers(rows) for rows in found.clients] == [
        list(range(0, 10, 2)),
        list(range(1, 10, 2)),
    ]


def write_by_user(folder, train, test):
    for name, users, start in (("train", train, 0), ("test", test, 40)):
        rows = [{**row, "user": users[i % 2]} for i, row in enumerate(sums(10, start))]
        write_jsonl(folder / f"{name}.jsonl", rows)
    public = write_jsonl(folder / "server" / "rows.jsonl", sums(4, 80))
    return config_of(folder, client_column="user", public=str(public))


def test_test_rows_of_a_client_that_does_not_train_are_named(tmp_path):
    config = write_by_user(tmp_path, "ab", "bz")
    found, said = warned(config)
    assert any("without training rows, which are not used: `z`" in t for t in said)
    assert [len(rows) for rows in found.client_test] == [0, 5]


def test_test_rows_of_others_alone_are_nobodys(tmp_path):
    found = dealt(write_by_user(tmp_path, "ab", "yz"))
    assert found.client_test is None
    assert numbers(found.test) == list(range(40, 50))


def test_only_training_rows_need_a_class(tmp_path):
    for name, start in (("a", 0), ("b", 10), ("b.test", 20), ("test", 30)):
        own = {} if "test" in name else {"kind": "k"}
        rows = [{**row, **own} for row in sums(5, start)]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    write_jsonl(tmp_path / "public.jsonl", sums(3, 90))
    named = {**BY_FILES, "label_column": "kind"}
    assert len(dealt(config_of(tmp_path, **named)).client_test[1]) == 5
    write_jsonl(tmp_path / "a.jsonl", sums(5))
    with pytest.raises(InputError, match="'kind', a column that"):
        dealt(config_of(tmp_path, **named))


def test_a_fleet_with_ids_gives_the_order(tmp_path):
    whose = write_clients(tmp_path / "rows", {"a": 3, "b": 5})
    write_jsonl(tmp_path / "rows" / "test.jsonl", sums(4, 50))
    fleet = tmp_path / "fleet.csv"
    fleet.write_text("client,speed_gflops,memory_gb\nb,100,4\na,100,4\n")
    config = config_of(tmp_path / "rows", {"clients": str(fleet)}, **BY_FILES)
    found = dealt(config)
    assert [numbers(rows) for rows in found.clients] == [whose["b"], whose["a"]]
    fleet.write_text("client,speed_gflops,memory_gb\nb,100,4\nc,100,4\n")
    with pytest.raises(InputError, match="has a client `a`.*fleet.csv` does not"):
        config_of(tmp_path / "rows", {"clients": str(fleet)}, **BY_FILES)


@pytest.mark.parametrize(
    ("data", "cell", "said"),
    [
        (BY_FILES, {"num_clients": 5}, "num_clients` is 5, but .* are of 2 clients"),
        ({"client_column": "usr"}, {}, "'usr', which a row of .* does not have"),
        ({**BY_FILES, "client_column": "u"}, {}, "so does `data.partition`"),
        ({**BY_FILES, "num_test": 99}, {}, "asked for 99 test rows of clients that"),
        ({**BY_FILES, "source": "gsm_symbolic"}, {}, "`gsm_symbolic` is generated"),
    ],
)
def test_what_does_not_agree_is_one_error(data, cell, said, tmp_path):
    write_clients(tmp_path, {"a": 3, "b": 5})
    if "client_column" in data and "partition" not in data:
        (tmp_path / "b.jsonl").unlink()
    with pytest.raises(InputError, match=said):
        dealt(config_of(**{"source": tmp_path, "cell": cell, **data}))


def test_shares_of_a_number_are_in_proportion_and_leave_everyone_a_row():
    assert apportioned(10, [50, 30, 20]) == [5, 3, 2]
    assert apportioned(4, [1, 1, 9]) == [0, 0, 4]
    for total in range(12):
        counts = apportioned(total, [3, 7, 1, 5])
        assert sum(counts) == total
        assert all(n < size for n, size in zip(counts, [3, 7, 1, 5], strict=True))

import shutil
import tempfile
from pathlib import Path

import pytest
from faults import mutate, mutations
from hypothesis import given, settings

from trimwave.base.errors import DamagedError
from trimwave.base.receipt import (
    RECEIPT,
    changed_files,
    digests_of,
    file_sha256,
    read_receipt,
    write_receipt,
)

FILES = {"a.json": b'{"a": 1}', "b.bin": bytes(range(256)), "c.txt": b"text"}
FACTS = {"source": "a test"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    write_receipt(folder, FACTS, FILES)
    return folder


def test_a_receipt_gives_its_facts_back(whole):
    assert read_receipt(whole) == FACTS
    assert not changed_files(whole, digests_of(whole, FILES))


@settings(max_examples=80)
@given(mutation=mutations((*FILES, RECEIPT)))
def test_whatever_changed_is_named_or_nothing_changed(whole, mutation):
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(shutil.copytree(whole, Path(scratch) / "folder"))
        file, *how = mutation
        mutate(folder / file, *how)
        try:
            assert read_receipt(folder) == FACTS
        except DamagedError as error:
            assert file in str(error) and "\n" not in str(error)
        else:
            assert all((folder / n).read_bytes() == c for n, c in FILES.items())


def test_a_sealed_file_of_another_kind_is_no_receipt(tmp_path):
    from trimwave.base.stored import write_sealed

    write_sealed(tmp_path / RECEIPT, FACTS)
    with pytest.raises(DamagedError, match="is no receipt"):
        read_receipt(tmp_path)


def test_a_file_is_hashed_once_until_it_changes(tmp_path, monkeypatch):
    file = tmp_path / "x"
    file.write_bytes(b"one")
    first = file_sha256(file)
    monkeypatch.setattr("trimwave.base.receipt.sha256_of", lambda path: "again")
    assert file_sha256(file) == first
    file.write_bytes(b"three")
    assert file_sha256(file) == "again"

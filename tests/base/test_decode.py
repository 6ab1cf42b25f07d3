import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimwave.base.decode import read_text
from trimwave.base.errors import InputError

TEXT = "speed,memory\n1e12,4e9\n2e12,8e9\n"


def read(tmp_path, data):
    path = tmp_path / "a.csv"
    path.write_bytes(data)
    return read_text(path)


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"],
)
def test_encodings_are_recognised(tmp_path, encoding):
    assert read(tmp_path, TEXT.encode(encoding)) == TEXT


def test_big_endian_with_its_mark(tmp_path):
    assert read(tmp_path, b"\xfe\xff" + TEXT.encode("utf-16-be")) == TEXT


def test_line_ends_stay(tmp_path):
    assert read(tmp_path, b"a\r\nb\rc\n") == "a\r\nb\rc\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"PK\x03\x04rest", "such as an Excel workbook; save it as CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0", "an old Excel workbook"),
        (b"\x1f\x8b\x08", "compressed with gzip; unpack it with gunzip"),
        (b"PAR1", "a Parquet file"),
        (b"%PDF-1.7", "a PDF"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"a\r\nb\rc\xe9", "line 3: byte 7 of the file, 0xE9, `é` in Windows-1252"),
        (b"\x81", "line 1: byte 1 of the file, 0x81, is not UTF-8"),
        (b"a\nb\0c", "line 2: holds a NUL"),
        ("a,b\nc".encode("utf-16")[:-1], "line 2: .* is not UTF-16.*was it cut"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, data, said):
    with pytest.raises(InputError, match=said) as caught:
        read(tmp_path, data)
    assert str(tmp_path / "a.csv") in str(caught.value)


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read; it is a folder"):
        read_text(tmp_path)
    with pytest.raises(InputError, match=r"none\.csv: cannot be read \(No such file"):
        read_text(tmp_path / "none.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_text(tmp_path / "a\0b")


@settings(max_examples=100)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_text_or_one_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("bytes") / "a.csv"
    path.write_bytes(data)
    try:
        assert "\0" not in read_text(path)
    except InputError as error:
        assert str(path) in str(error)

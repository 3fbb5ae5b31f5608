"""Ids of images in a text file or a table: read as they are written, and refused in one sentence."""

import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from snellen.cli.id_list import read_ids
from snellen.core.errors import InputError


def test_ids_are_read_as_they_are_written(tmp_path):
    table, lines, parquet = tmp_path / "ids.csv", tmp_path / "ids.txt", tmp_path / "ids.parquet"
    table.write_bytes(b'\xef\xbb\xbfid,note\n007,a\n1e3,b\n"a,b",c\n\n')
    assert read_ids(table) == ["007", "1e3", "a,b"]
    lines.write_bytes("\ufeff007\r\n\r\n2024-01-02\n".encode())
    assert read_ids(lines) == ["007", "2024-01-02"]
    pq.write_table(pa.table({"id": ["007", None, "8"]}), parquet)
    assert read_ids(parquet) == ["007", "8"]
    assert read_ids(table, "note") == ["a", "b", "c"]
    with pytest.raises(InputError, match="no column file; its columns are id, note"):
        read_ids(table, "file")
    with pytest.raises(InputError, match="lines have no columns"):
        read_ids(lines, "file")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("latin.txt", b"caf\xe9\n", "is not text in UTF-8 (byte 3); save it as UTF-8"),
        ("latin.csv", b"id\ncaf\xe9\n", "is not text in UTF-8 (byte 6); save it as UTF-8"),
        ("ragged.csv", b"id,note\n1,a\n2\n", "row 3 has 1 fields, and the first row 2"),
        ("empty.csv", b"", "has no column id; its columns are none: it is empty"),
        ("open.csv", b'id\n"a', "is not a table with commas"),
        ("head.csv", b"id\n", "names no image; write an id a line"),
        ("empty.txt", b"\n\n", "names no image; write an id a line"),
        ("broken.parquet", b"PAR1 and no more", "is not a Parquet file, or a damaged one"),
        ("empty.parquet", b"", "is not a Parquet file, or a damaged one"),
    ],
)
def test_a_file_of_ids_that_cannot_be_read_is_one_sentence(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(message)):
        read_ids(tmp_path / name)

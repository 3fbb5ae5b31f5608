"""Checksums of packages' files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from snellen.core.errors import InputError
from snellen.data.files.catalogue.known_set import check_sums, known_sets_by_name, read_sums, stored_sums


def check(root: Path, content: bytes = b"a") -> None:
    sums = {"in/a.bin": hashlib.sha256(content).hexdigest()}
    check_sums(root, sums, max_file_bytes=10, version="thing 1.0")


def test_right_wrong_missing_and_too_large(tmp_path: Path) -> None:
    file = tmp_path / "in" / "a.bin"
    with pytest.raises(InputError, match=r"a\.bin: there is no such file; expected the file of thing 1\.0"):
        check(tmp_path)
    file.parent.mkdir()
    file.write_bytes(b"a")
    check(tmp_path)
    found, expected = hashlib.sha256(b"a").hexdigest(), hashlib.sha256(b"b").hexdigest()
    with pytest.raises(
        InputError, match=rf"a\.bin is not the file of thing 1\.0.*{found}, expected {expected}.*verify"
    ):
        check(tmp_path, b"b")
    file.write_bytes(bytes(11))
    with pytest.raises(InputError, match="11 bytes, more than 10"):
        check(tmp_path)
    file.unlink()
    file.symlink_to("/etc/hostname")
    with pytest.raises(InputError, match="leads out of its folder"):
        check(tmp_path)


def test_lists_that_are_none() -> None:
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        read_sums("abc  file\n")


def test_every_stored_list_is_sound() -> None:
    for known in known_sets_by_name().values():
        for source in known.sources:
            sums = stored_sums(source.sums)
            assert sums
            assert not [path for path in sums if path.startswith("/") or ".." in path.split("/")]

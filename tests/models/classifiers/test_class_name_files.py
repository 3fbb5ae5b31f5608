from pathlib import Path

import pytest

from snellen.core.errors import InputError
from snellen.models.classifiers import assembly
from snellen.models.classifiers.assembly import read_class_names


def test_names_are_read_in_order_with_their_inner_spaces(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes("﻿great white shark\r\n  crane \r\nœuf\r\n\r\n".encode())
    assert read_class_names(path) == ("great white shark", "crane", "œuf")
    assert read_class_names(str(path)) == read_class_names(path)


def test_names_may_occur_twice_among_a_thousand_alone() -> None:
    thousand = [*(str(number) for number in range(998)), "crane", "crane"]
    assert read_class_names(thousand)[-2:] == ("crane", "crane")
    with pytest.raises(InputError, match="'crane' occurs twice"):
        read_class_names(thousand[-3:])


def test_a_list_is_taken_as_it_is() -> None:
    assert read_class_names(("a", "b")) == ("a", "b")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"a\n\nb\n", "name 2 is empty"), (b"\n\n", "is empty; expected one name"), (b"\xff\xfe\x00a", "UTF-8")],
)
def test_files_that_are_no_list_of_names(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_class_names(path)


def test_missing_and_oversized_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no file of class names at"):
        read_class_names(tmp_path / "none.txt")
    (tmp_path / "names.txt").write_text("a\nb\n")
    monkeypatch.setattr(assembly, "MAX_BYTES", 3)
    with pytest.raises(InputError, match="too large"):
        read_class_names(tmp_path / "names.txt")


@pytest.mark.parametrize(("names", "message"), [([], "is empty"), (["a", ""], "name 2 is empty"), (["a", 3], "got 3")])
def test_lists_that_cannot_be_used(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_class_names(names)

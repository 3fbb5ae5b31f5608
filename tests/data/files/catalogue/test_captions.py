"""Captions: their first line, their encodings, and which of them chat."""

from __future__ import annotations

from pathlib import Path

import pytest

from snellen.core.errors import RejectedImageError
from snellen.data.files.catalogue.stamps import is_chatty, read_caption


@pytest.mark.parametrize(
    ("content", "caption"),
    [
        (b"A crow.\nde.utf8=Eine Kr\xc3\xa4he.\n", "A crow."),
        ("A “Fuji”  apple.\r\nx".encode(), "A “Fuji” apple."),
        (b"\xef\xbb\xbfA crow.", "A crow."),
        (b"A calculator.  6x7=42\n", "A calculator. 6x7=42"),
        (b"de.utf8=Eine Kraehe.\n", None),
        (b"ca@valencia.utf8=Una.\n", None),
        (b"A crow.\nde.utf8=\xff\xfe\n", "A crow."),
        (b"\nA crow.\n", None),
        (b"", None),
    ],
)
def test_first_line(tmp_path: Path, content: bytes, caption: str | None) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    assert read_caption(tmp_path, "x.txt") == caption


def test_missing_unreadable_and_hostile(tmp_path: Path) -> None:
    assert read_caption(tmp_path, "absent.txt") is None
    (tmp_path / "latin.txt").write_bytes(b"Caf\xe9.")
    with pytest.raises(RejectedImageError, match=r"latin\.txt: not UTF-8 at byte 3"):
        read_caption(tmp_path, "latin.txt")
    (tmp_path / "long.txt").write_text("word " * 400, encoding="utf-8")
    with pytest.raises(RejectedImageError, match="1999 characters, more than 500"):
        read_caption(tmp_path, "long.txt")
    (tmp_path / "huge.txt").write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(RejectedImageError, match="more than 1048576"):
        read_caption(tmp_path, "huge.txt")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "out.txt").symlink_to(tmp_path / "latin.txt")
    with pytest.raises(RejectedImageError, match="leads out of its folder"):
        read_caption(inside, "out.txt")


@pytest.mark.parametrize(
    "caption",
    [
        "A crow.",
        "An albino peahen (a female peafowl, or peacock).",
        "A silver garbage can.",
        "Two wild boars.",
        "Hibiscus",
    ],
)
def test_names(caption: str) -> None:
    assert not is_chatty(caption)


@pytest.mark.parametrize(
    "caption",
    [
        "Boom!!!",
        "Eat your bread.",
        "A camera. Say cheese.",
        "A boxcar is used to carry livestock.",
        "Will it rain?",
        "An old tower of the city wall with a red flag on its roof and many windows.",
    ],
)
def test_talk(caption: str) -> None:
    assert is_chatty(caption)

"""Colour bitmaps in fonts: against another reader, and fonts made to do harm."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.data.files.catalogue.colour_bitmap_font import read_colour_bitmaps
from tests.data.files.catalogue.small_files import assembled, character_map, font

PICTURES = {0x2764: b"heart", 0x1F600: b"grin", 0x1F601: b"beaming face", 0x1FACE: b"m"}


@pytest.mark.parametrize("index_format", [1, 3])
@pytest.mark.parametrize("image_format", [17, 18, 19])
def test_every_form_that_is_read(index_format: int, image_format: int) -> None:
    made = font(PICTURES, index_format=index_format, image_format=image_format)
    found = read_colour_bitmaps(made)
    assert {code: bytes(picture) for code, picture in found.items()} == PICTURES
    assert list(found) == sorted(PICTURES)


def test_another_reader_finds_the_same() -> None:
    tables = pytest.importorskip("fontTools.ttLib", reason="fontTools is not installed")
    made = font(PICTURES, changed={"maxp": struct.pack(">LH", 0x00005000, 5)})
    other = tables.TTFont(io.BytesIO(made))
    strike = other["CBDT"].strikeData[0]
    theirs = {code: strike[glyph].imageData for code, glyph in other.getBestCmap().items() if glyph in strike}
    assert theirs == PICTURES
    assert {code: bytes(picture) for code, picture in read_colour_bitmaps(made).items()} == theirs


def test_a_glyph_without_a_picture_is_left_out() -> None:
    found = read_colour_bitmaps(
        font({0x1F600: b"a"}, changed={"cmap": character_map([(0x41, 0x41, 9), (0x42, 0x42, 1)])})
    )
    assert {code: bytes(picture) for code, picture in found.items()} == {0x42: b"a"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a TrueType"),
        (b"wOFF" + bytes(40), "unpack WOFF"),
        (assembled({"cmap": b""}), "no table CBLC"),
        (font(PICTURES)[:60], "leads beyond its end"),
        (font(PICTURES, changed={"cmap": b"\0\0"}), "ends early"),
        (font(PICTURES, changed={"cmap": struct.pack(">HH", 0, 0)}), "no map of all code points"),
        (font(PICTURES, changed={"cmap": character_map([(0, 0xFFFFFFFF, 0)])}), "out of order"),
        (font(PICTURES, changed={"cmap": character_map([(9, 10, 0), (10, 11, 0)])}), "out of order"),
        (font(PICTURES, changed={"cmap": character_map([(0, 0x10FFFF, 0)])}), "out of order"),
        (font(PICTURES, changed={"CBLC": struct.pack(">LL", 3, 0)}), "0 sets of bitmaps"),
        (font(PICTURES, changed={"CBLC": struct.pack(">LL", 3, 2**31)}), "sets of bitmaps"),
        (font(PICTURES, changed={"CBDT": bytes(9)}), "leads beyond its end|ends early"),
        (font({0x41: b"a"}, changed={"CBDT": bytes(9) + b"\xff\xff\xff\xff" + b"a"}), "glyph 1 leads beyond"),
    ],
)
def test_hostile_fonts_are_refused(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_colour_bitmaps(content, what="x.ttf")


def test_an_unknown_index_format_is_named() -> None:
    index = bytearray(font({0x41: b"a"}))
    place = bytes(index).index(struct.pack(">HHL", 1, 17, 4))
    index[place + 1] = 5
    with pytest.raises(InputError, match="index format 5 and image format 17"):
        read_colour_bitmaps(bytes(index))


def test_glyphs_that_count_again_and_again_are_refused_at_once() -> None:
    """65,536 parts that all hold 65,536 glyphs would be four thousand million steps."""
    parts = struct.pack(">HHL", 0, 0xFFFF, 8 * 0x10000) * 0x10000
    table = struct.pack(">HHL", 1, 17, 4) + bytes(4 * 0x10001)
    strike = struct.pack(">LLLL", 56, len(parts), 0x10000, 0) + bytes(24) + struct.pack(">HHBBBb", 0, 1, 9, 9, 32, 1)
    index = struct.pack(">LL", 0x00030000, 1) + strike + parts + table
    with pytest.raises(InputError, match="index of bitmaps is out of order"):
        read_colour_bitmaps(font(PICTURES, changed={"CBLC": index}))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 600), st.binary(min_size=1, max_size=6))
def test_damage_anywhere_is_refused_or_harmless(place: int, damage: bytes) -> None:
    made = bytearray(font(PICTURES))
    place %= len(made)
    made[place : place + len(damage)] = damage
    try:
        found = read_colour_bitmaps(bytes(made))
    except InputError:
        return
    assert all(len(picture) <= len(made) for picture in found.values())

"""Colour pictures in a font (tables CBLC and CBDT of OpenType): which code point has which PNG file.

Written for fonts that may be hostile: every offset is checked against its table, every glyph and every code point
counts once, and nothing is decoded. Source: the OpenType specification, tables cmap (format 12), CBLC and CBDT
(index formats 1 and 3, image formats 17 to 19), which is how Noto Color Emoji is made.
"""

from __future__ import annotations

import struct

from snellen.core.errors import InputError

#: Largest font, bytes; Noto Color Emoji has 10.6e6.
MAX_FONT_BYTES = 128 * 2**20

_LAST_CODE_POINT = 0x10FFFF
_MOST_GLYPHS = 0x10000

#: Image format → bytes of metrics before the length of the PNG file.
_METRICS = {17: 5, 18: 8, 19: 0}


def read_colour_bitmaps(font: bytes, *, what: str = "the font") -> dict[int, memoryview]:
    """PNG files of all code points that have one of their own, from the set of bitmaps of the highest resolution.

    Args:
        font: the whole file, TrueType or OpenType, unpacked.
        what: how errors name it.

    Returns:
        Code point → bytes of a file, not decoded and not checked, in the order of code points.

    Raises:
        InputError: no such font, damaged, or made in another way.
    """
    try:
        tables = _tables(font, what)
        glyphs = _glyph_of_code_point(tables["cmap"], what)
        images = _image_of_glyph(tables["CBLC"], tables["CBDT"], what)
    except (struct.error, IndexError) as error:
        raise InputError(f"{what} is damaged: a table ends early ({error})") from error
    return {code_point: images[glyph] for code_point, glyph in sorted(glyphs.items()) if glyph in images}


def _tables(font: bytes, what: str) -> dict[str, memoryview]:
    if len(font) > MAX_FONT_BYTES:
        raise InputError(f"{what} has more than {MAX_FONT_BYTES} bytes")
    if font[:4] not in (b"\0\1\0\0", b"OTTO", b"true"):
        raise InputError(f"{what} is not a TrueType or OpenType font; unpack WOFF files and take one of a collection")
    view, tables = memoryview(font), {}
    (count,) = struct.unpack_from(">H", font, 4)
    for number in range(count):
        tag, _, start, length = struct.unpack_from(">4sLLL", font, 12 + 16 * number)
        if start + length > len(font):
            raise InputError(f"{what} is damaged: a table leads beyond its end")
        tables[tag.decode("latin-1")] = view[start : start + length]
    lacking = [tag for tag in ("cmap", "CBLC", "CBDT") if tag not in tables]
    if lacking:
        raise InputError(f"{what} has no table {lacking[0]}: its glyphs are not colour bitmaps (CBDT)")
    return tables


def _glyph_of_code_point(cmap: memoryview, what: str) -> dict[int, int]:
    (count,) = struct.unpack_from(">H", cmap, 2)
    for number in range(count):
        platform, encoding, start = struct.unpack_from(">HHL", cmap, 4 + 8 * number)
        if (platform, encoding) in ((3, 10), (0, 4), (0, 6)) and cmap[start : start + 2] == b"\0\x0c":
            return _groups(cmap[start:], what)
    raise InputError(f"{what} has no map of all code points (cmap of format 12)")


def _groups(table: memoryview, what: str) -> dict[int, int]:
    (count,) = struct.unpack_from(">L", table, 12)
    glyphs: dict[int, int] = {}
    before = -1
    for number in range(count):
        first, last, glyph = struct.unpack_from(">LLL", table, 16 + 12 * number)
        # In ascending order, as the format demands, no code point counts twice and the work is bounded.
        if not before < first <= last <= _LAST_CODE_POINT or glyph + last - first >= _MOST_GLYPHS:
            raise InputError(f"{what} is damaged: its map of code points is out of order")
        glyphs.update(zip(range(first, last + 1), range(glyph, glyph + last - first + 1), strict=True))
        before = last
    return glyphs


def _image_of_glyph(index: memoryview, content: memoryview, what: str) -> dict[int, memoryview]:
    (count,) = struct.unpack_from(">L", index, 4)
    if not 1 <= count <= 256:
        raise InputError(f"{what} has {count} sets of bitmaps; expected 1 to 256")
    strikes = [struct.unpack_from(">LLL32xBBBb", index, 8 + 48 * number) for number in range(count)]
    start, _, parts = max(strikes, key=lambda strike: strike[4])[:3]
    images: dict[int, memoryview] = {}
    counted = 0
    for number in range(parts):
        first, last, further = struct.unpack_from(">HHL", index, start + 8 * number)
        # Counted with or without pictures: parts that repeat the same glyphs would cost time without end.
        counted += last - first + 1
        if first > last or counted > _MOST_GLYPHS:
            raise InputError(f"{what} is damaged: its index of bitmaps is out of order")
        images.update(_part(index[start + further :], content, range(first, last + 1), what))
    return images


def _part(table: memoryview, content: memoryview, glyphs: range, what: str) -> dict[int, memoryview]:
    index_format, image_format, start = struct.unpack_from(">HHL", table)
    if index_format not in (1, 3) or image_format not in _METRICS:
        raise InputError(
            f"{what} keeps bitmaps in index format {index_format} and image format {image_format}; "
            f"expected 1 or 3, and 17, 18 or 19"
        )
    width = "L" if index_format == 1 else "H"
    offsets = struct.unpack_from(f">{len(glyphs) + 1}{width}", table, 8)
    images = {}
    for glyph, begin, end in zip(glyphs, offsets[:-1], offsets[1:], strict=True):
        if begin < end:
            png = start + begin + _METRICS[image_format]
            (length,) = struct.unpack_from(">L", content, png)
            if png + 4 + length > start + end or start + end > len(content):
                raise InputError(f"{what} is damaged: the bitmap of glyph {glyph} leads beyond its end")
            images[glyph] = content[png + 4 : png + 4 + length]
    return images

"""Emoji in one or two styles, by code point: the same motifs drawn by two hands, for shifts of style and retrieval."""

from __future__ import annotations

import json
import re
import tomllib
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import Literal

import pyarrow as pa

from snellen.core import package
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import COLUMNS, ImageSet, Provenance
from snellen.data.files.catalogue.colour_bitmap_font import MAX_FONT_BYTES, read_colour_bitmaps
from snellen.data.files.catalogue.cutout_source import (
    CUTOUT_LIMITS,
    WHITE,
    CutoutSource,
    Placement,
    plain_background,
    survey,
)
from snellen.data.files.contained_file import read_file
from snellen.data.files.decoding import DecodingLimits
from snellen.data.files.folder import list_images

Style = Literal["noto", "fluent"]

#: Frame of an emoji: both styles come to the same size, so that size does not give the style away.
EMOJI_PLACEMENT = Placement(size=128, least_share=0.9, most_share=0.9)

#: A file of one code point, with or without the mark for the colour picture: 1f600.webp, 2764-fe0f.webp.
_FILE = re.compile(r"([0-9a-f]{2,6})(-fe0f)?\.(?:webp|png)")

#: Signs below are digits and punctuation, which a font has as parts of other pictures.
_FIRST_CODE_POINT = 0xA9


def load_emoji(
    *,
    font: Path | None = None,
    folder: Path | None = None,
    files: Iterable[str] | None = None,
    placement: Placement = EMOJI_PLACEMENT,
    colour: tuple[int, int, int] = WHITE,
    limits: DecodingLimits = CUTOUT_LIMITS,
    name: str = "emoji",
) -> ImageSet:
    """Read emoji of one style, or those that both styles have; emoji of several code points are left out.

    Columns: id ("noto/U+1F600"), label (the Unicode name in small letters is the class), unit_id ("U+1F600": the same
    in both styles), group (style), mask (coverage), boxes, caption ("grinning face"), attributes (JSON: code_point,
    enlarged), provenance. Rows go by code point, the font's before the folder's. Both styles come to the same size:
    the longer edge of what is not transparent has the same share of the frame.

    Args:
        font: colour bitmap font such as ``NotoColorEmoji.ttf`` (style "noto").
        folder: pictures named by code point such as Fluent 3-D's ``1f600.webp`` (style "fluent").
        files: which files of the folder; None: all.
        placement: size of the pictures, size and place of the emoji in them.
        colour: of the background.
        limits: what is refused.
        name: shown in reports.

    Raises:
        InputError: neither given, not such a font or folder, or nothing in common.
    """
    styles: dict[Style, dict[int, Callable[[], bytes]]] = {}
    if font is not None:
        styles["noto"] = _of_font(font)
    if folder is not None:
        styles["fluent"] = _of_folder(folder, None if files is None else set(files), limits)
    if not styles:
        raise InputError("emoji need a font, a folder of pictures named by code point, or both; got neither")
    in_all = set.intersection(*(set(pictures) for pictures in styles.values()))
    code_points = sorted(code_point for code_point in in_all if emoji_name(code_point) is not None)
    if not code_points:
        raise InputError(f"{' and '.join(str(place) for place in (font, folder) if place)}: no emoji in common")
    rows = [(code_point, style) for code_point in code_points for style in styles]
    ids = [f"{style}/{_written(code_point)}" for code_point, style in rows]

    def content(number: int) -> bytes:
        code_point, style = rows[number]
        return styles[style][code_point]()

    # Placed by code point: what is drawn at random is the same in both styles.
    surveyed = survey(content, [_written(code_point) for code_point, _ in rows], placement, limits=limits)
    class_names = tuple(str(emoji_name(code_point)) for code_point in code_points)
    index = {code_point: number for number, code_point in enumerate(code_points)}
    made = Provenance(origin="real").model_dump_json(exclude_none=True)
    values: dict[str, list[object]] = {
        "id": list(ids),
        "label": [index[code_point] for code_point, _ in rows],
        "unit_id": [_written(code_point) for code_point, _ in rows],
        "group": [style for _, style in rows],
        "mask": [f"masks/{one}.png" for one in ids],
        "boxes": [[list(place.box)] if place and place.box else [] for place in surveyed.places],
        "caption": [class_names[index[code_point]] for code_point, _ in rows],
        "attributes": [
            json.dumps(
                {
                    "code_point": _written(code_point),
                    "enlarged": round(place.frame.width / place.crop.width, 4) if place else None,
                }
            )
            for (code_point, _), place in zip(rows, surveyed.places, strict=True)
        ],
        "provenance": [made] * len(rows),
    }
    table = pa.table({column: pa.array(listed, COLUMNS[column]) for column, listed in values.items()})
    source = CutoutSource(
        content=content,
        surveyed=surveyed,
        backgrounds=(plain_background(colour),),
        size=placement.size,
        limits=limits,
    )
    return ImageSet(source, table, class_names, name)


def emoji_name(code_point: int) -> str | None:
    """The Unicode name in small letters; None for what has none, and for digits and punctuation.

    Names up to Unicode 17 do not depend on the version of Python.

    >>> emoji_name(0x1F600), emoji_name(0x1FACE), emoji_name(0x23)
    ('grinning face', 'moose', None)
    """
    if code_point < _FIRST_CODE_POINT:
        return None
    known: str = _newer_names().get(code_point, "") or str(unicodedata.name(chr(code_point), ""))
    return known.lower() or None


@cache
def _newer_names() -> dict[int, str]:
    names = tomllib.loads(package.text("data/files/catalogue/emoji_names.toml"))
    return {int(code_point, 16): name for code_point, name in names.items()}


def _of_font(font: Path) -> dict[int, Callable[[], bytes]]:
    try:
        whole = read_file(font.parent, font.name, MAX_FONT_BYTES)
    except RejectedImageError as error:
        raise InputError(f"{font}: {error}") from error
    found = read_colour_bitmaps(whole, what=str(font))
    return {code_point: partial(bytes, picture) for code_point, picture in found.items()}


def _of_folder(folder: Path, files: set[str] | None, limits: DecodingLimits) -> dict[int, Callable[[], bytes]]:
    root = folder.resolve()
    pictures: dict[int, Callable[[], bytes]] = {}
    listing = list_images(root)
    # Shorter names first: a picture that is named by its code point alone is taken before one with a mark.
    for path in sorted((*listing.paths, *listing.refused), key=lambda path: (len(path), path)):
        named = _FILE.fullmatch(path)
        if named is None or (files is not None and path not in files):
            continue
        code_point = int(named[1], 16)
        if code_point <= 0x10FFFF:
            pictures.setdefault(code_point, partial(read_file, root, path, limits.max_bytes))
    if not pictures:
        raise InputError(f"{folder} holds no pictures named by code point; expected files such as 1f600.webp")
    return pictures


def _written(code_point: int) -> str:
    return f"U+{code_point:04X}"

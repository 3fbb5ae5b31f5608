"""Tiny files in the layouts of real packages: cut-outs with alpha, tables of pixels, and a font of colour bitmaps."""

from __future__ import annotations

import gzip
import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image


def cutout(
    colour: tuple[int, int, int] = (200, 0, 0), *, width: int = 6, height: int = 4, margin: int = 2
) -> Image.Image:
    """An opaque rectangle within a transparent margin whose hidden colour is bright green."""
    picture = Image.new("RGBA", (width + 2 * margin, height + 2 * margin), (0, 255, 0, 0))
    picture.paste((*colour, 255), (margin, margin, margin + width, margin + height))
    return picture


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **({"lossless": True} if kind == "WEBP" else {}))
    return stream.getvalue()


def stamp(folder: Path, path: str, *, caption: bytes | None = b"A thing.\nde.utf8=Ein Ding.\n", **shape: int) -> None:
    """One cut-out at ``path`` (without ending), with its text file."""
    place = folder / f"{path}.png"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(encoded(cutout(**shape)))  # type: ignore[arg-type]
    if caption is not None:
        place.with_suffix(".txt").write_bytes(caption)


def pixel_table(path: Path, pixels: np.ndarray, labels: np.ndarray) -> Path:
    rows = np.column_stack([pixels.reshape(len(pixels), -1), labels])
    text = "".join(",".join(str(value) for value in row) + "\n" for row in rows.tolist())
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


def font(
    pictures: dict[int, bytes],
    *,
    index_format: int = 1,
    image_format: int = 17,
    changed: dict[str, bytes] | None = None,
) -> bytes:
    """A font whose glyph n is the n-th picture, by code point; written by hand after the OpenType specification.

    A second, coarser set of bitmaps holds nothing but the first glyph. ``changed`` replaces whole tables.
    """
    code_points = sorted(pictures)
    tables = {"cmap": character_map([(code, code, number + 1) for number, code in enumerate(code_points)])}
    metrics = {17: bytes(5), 18: bytes(8), 19: b""}[image_format]
    content, offsets = struct.pack(">L", 0x00030000), [0]
    for code in code_points:
        content += metrics + struct.pack(">L", len(pictures[code])) + pictures[code]
        offsets.append(len(content) - 4)
    fine = _part(offsets, index_format, image_format, 1)
    coarse = _part(offsets[:2], 1, image_format, 1)
    strikes = _strike(104, len(fine), len(code_points), 109) + _strike(104 + len(fine), len(coarse), 1, 20)
    tables["CBLC"] = struct.pack(">LL", 0x00030000, 2) + strikes + fine + coarse
    tables["CBDT"] = content
    return assembled(tables | (changed or {}))


def character_map(groups: list[tuple[int, int, int]]) -> bytes:
    body = b"".join(struct.pack(">LLL", *group) for group in groups)
    table = struct.pack(">HHLLL", 12, 0, 16 + len(body), 0, len(groups)) + body
    return struct.pack(">HHHHL", 0, 1, 3, 10, 12) + table


def assembled(tables: dict[str, bytes]) -> bytes:
    start, directory, body = 12 + 16 * len(tables), b"", b""
    for tag, table in sorted(tables.items()):
        directory += struct.pack(">4sLLL", tag.encode(), 0, start + len(body), len(table))
        body += table + bytes(-len(table) % 4)
    return struct.pack(">LHHHH", 0x00010000, len(tables), 0, 0, 0) + directory + body


def _part(offsets: list[int], index_format: int, image_format: int, first: int) -> bytes:
    width = "L" if index_format == 1 else "H"
    table = struct.pack(">HHL", index_format, image_format, 4) + struct.pack(f">{len(offsets)}{width}", *offsets)
    return struct.pack(">HHL", first, first + len(offsets) - 2, 8) + table + bytes(-len(table) % 4)


def _strike(start: int, size: int, glyphs: int, resolution: int) -> bytes:
    head = struct.pack(">LLLL", start, size, 1, 0) + bytes(24)
    return head + struct.pack(">HHBBBb", 1, glyphs, resolution, resolution, 32, 1)

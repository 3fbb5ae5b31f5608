"""Image files that were made to do harm, and odd ones that are good: functions that make them, nothing is stored."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

NOISE = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
BIG = Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(kind: str, mode: str = "RGB", **options: object) -> bytes:
    return encode(Image.fromarray(NOISE).convert(mode), kind, **options)


# -- parts of formats --------------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def png_announcing(width: int, height: int) -> bytes:
    """A tiny file that announces any size."""
    return png_header(width, height) + chunk(b"IDAT", zlib.compress(b"\0" * 10)) + chunk(b"IEND", b"")


def png_with(*chunks: bytes) -> bytes:
    """A good picture with further chunks before its pixels."""
    whole = noise("PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def packed(kind: bytes, before: bytes, size: int = 3 * 2**20) -> bytes:
    """A chunk that unpacks to three million bytes."""
    return chunk(kind, before + zlib.compress(bytes(size), 9))


def jpeg_announcing(width: int, height: int) -> bytes:
    content = bytearray(noise("JPEG"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def jpeg_of_scans(times: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    whole = encode(BIG, "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    return whole[:-2] + last * times + whole[-2:]


def segment(marker: int, data: bytes) -> bytes:
    return bytes([255, marker]) + struct.pack(">H", len(data) + 2) + data


def jpeg_with(before: bytes) -> bytes:
    """A good picture with something behind its first marker."""
    whole = noise("JPEG")
    return whole[:2] + before + whole[2:]


def gif_with(parts: bytes) -> bytes:
    """A good picture with further parts before its only frame."""
    whole = noise("GIF")
    place = 13 + (3 << (whole[10] & 7) + 1)
    return whole[:place] + parts + whole[place:]


def gif_announcing(width: int, height: int) -> bytes:
    content = bytearray(noise("GIF"))
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def tiff(
    entries: list[tuple[int, int, int, int]], rest: bytes = b"", following: int = 0, count: int | None = None
) -> bytes:
    """A TIFF of one directory: (tag, type, count, value or place)."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    said = len(entries) if count is None else count
    return b"II*\0" + struct.pack("<IH", 8, said) + body + struct.pack("<I", following) + rest


def big_tiff(entries: list[tuple[int, int, int, int]]) -> bytes:
    """A BigTIFF of one directory."""
    body = b"".join(struct.pack("<HHQQ", *entry) for entry in entries)
    return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, len(entries)) + body + bytes(8)


def tiff_of(width: int, height: int, counts: int = 1, place: int = 200, following: int = 0, kind: int = 4) -> bytes:
    """A grey TIFF without compression that says how large it is and where its pixels lie."""
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [
        (273, kind, counts, place),
        (277, 3, 1, 1),
        (278, 4, 1, height),
        (279, 4, counts, width * height % 2**32),
    ]
    return tiff(entries, bytes(200), following)


def bmp_announcing(width: int, height: int, bits: int = 24, packing: int = 0) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packing, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 16, 0, 0, 54) + head + bytes(16)


def webp_announcing(width: int, height: int) -> bytes:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + sides


def truncated(kind: str) -> bytes:
    content = encode(BIG, kind)
    return content[: len(content) * 2 // 3]


def animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    return encode(frames[0], kind, save_all=True, append_images=frames[1:])


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("../out.png", b"x")
    return stream.getvalue()


def with_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return noise("JPEG", exif=exif)


# -- the corpus --------------------------------------------------------------------------------------------------------

UNREADABLE = "not a readable image of a known format"
DAMAGED = "damaged|not a readable image"
BOMB = "decompression bomb"

#: What is rejected, and a pattern of the reason.
REJECTED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "the file is empty"),
    "text": (lambda: b"<html>not an image</html>", UNREADABLE),
    "svg": (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", UNREADABLE),
    "svg that names a file": (lambda: b"<svg><image href='file:///etc/passwd'/></svg>", UNREADABLE),
    "a format that is not allowed": (lambda: noise("TGA"), UNREADABLE),
    "a program for PostScript": (lambda: noise("EPS"), UNREADABLE),
    "a page of PDF": (lambda: noise("PDF"), UNREADABLE),
    "an icon": (lambda: noise("ICO"), UNREADABLE),
    "a pickle": (lambda: b"\x80\x04\x95\x1b\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n(S'true'\ntR.", UNREADABLE),
    "a zip archive": (zipped, UNREADABLE),
    "a zip archive with a picture behind": (lambda: zipped() + noise("PNG"), UNREADABLE),
    "a program": (lambda: b"\x7fELF" + bytes(200), UNREADABLE),
    "a picture behind a shebang": (lambda: b"#!/bin/sh\nexit\n" + noise("PNG"), UNREADABLE),
    "a large file of zeros": (lambda: bytes(2**20), UNREADABLE),
    "floating point": (lambda: encode(Image.new("F", (4, 4), 0.5), "TIFF"), "floating-point pixels"),
    "lab colours": (lambda: encode(Image.new("LAB", (4, 4)), "TIFF"), "mode LAB"),
    "a bomb beyond Pillow's error limit": (lambda: png_announcing(30000, 30000), BOMB),
    "a bomb beyond Pillow's warning limit": (lambda: png_announcing(10000, 10000), BOMB),
    "a PNG of 2^31 pixels a side": (lambda: png_announcing(2**31 - 1, 2**31 - 1), f"{BOMB}|{DAMAGED}"),
    "a JPEG of 65500 pixels a side": (lambda: jpeg_announcing(65500, 65500), BOMB),
    "a GIF of 65535 pixels a side": (lambda: gif_announcing(65535, 65535), BOMB),
    "a BMP of 2^31 pixels upside down": (lambda: bmp_announcing(2**31 - 1, -(2**31)), BOMB),
    "a WEBP of 16384 pixels a side": (lambda: webp_announcing(16384, 16384), f"{BOMB}|{DAMAGED}"),
    "a TIFF of 2^32 pixels a side": (lambda: tiff_of(2**32 - 1, 2**32 - 1), f"{BOMB}|{DAMAGED}"),
    "a PPM of ten digits a side": (lambda: b"P6 9999999999 9999999999 255 ", f"{BOMB}|{DAMAGED}"),
    "more than max_pixels": (lambda: png_announcing(8001, 8000), r"8001×8000 pixels are more than 64000000"),
    "a strip": (lambda: png_announcing(201, 1), r"201×1 pixels: more than 200 to 1"),
    "a standing strip": (lambda: png_announcing(3, 601), r"3×601 pixels: more than 200 to 1"),
    "a strip of 10000 pixels": (lambda: encode(Image.new("L", (1, 10000)), "PNG"), r"1×10000 pixels: more than 200 to"),
    "no width": (lambda: png_announcing(0, 5), f"edge is shorter|{DAMAGED}"),
    "no pixels behind the header": (lambda: png_header(5, 5) + chunk(b"IEND", b""), DAMAGED),
    "too few pixels": (lambda: png_announcing(50, 50), "damaged"),
    "a wrong checksum": (lambda: noise("PNG").replace(b"IDAT", b"IDAU", 1), DAMAGED),
    "a chunk of 2^31 bytes": (lambda: noise("PNG")[:33] + b"\x80\0\0\0tEXt" + bytes(50), DAMAGED),
    "a text that unpacks to a bomb": (lambda: png_with(packed(b"zTXt", b"k\0\0")), DAMAGED),
    "an international text that unpacks to a bomb": (lambda: png_with(packed(b"iTXt", b"k\0\1\0\0\0")), DAMAGED),
    "a PNG of a million texts": (
        lambda: png_with(chunk(b"tEXt", b"k\0v") * 10**6),
        "more than 10000 chunks without pixels",
    ),
    "a JPEG of a thousand scans": (lambda: jpeg_of_scans(1000), "a JPEG of more than 100 scans"),
    "a JPEG of a thousand scans behind a hidden end": (
        lambda: jpeg_of_scans(1000).replace(b"\xff\xda", segment(0xFE, b"\xff\xd9") + b"\xff\xda"),
        "a JPEG of more than 100 scans",
    ),
    "a JPEG of ten thousand parts of EXIF": (
        lambda: jpeg_with(segment(0xE1, b"Exif\0\0" + bytes(8)) * 10**4),
        "a JPEG of more than 2000 segments before its pixels",
    ),
    "a JPEG of ten thousand ends before its pixels": (
        lambda: jpeg_with(b"\xff\xd9" * 10**4),
        "a JPEG of more than 2000 segments before its pixels",
    ),
    "a JPEG of zeros before its pixels": (
        lambda: jpeg_with(bytes(2**20 + 1)),
        "more than 1048576 bytes between the segments before its pixels",
    ),
    "a JPEG of zeros": (lambda: b"\xff\xd8\xff" + bytes(2**20 + 1), "more than 1048576 bytes between the segments"),
    "a PNG of a million empty chunks of pixels": (
        lambda: png_with(chunk(b"IDAT", b"") * 10**6),
        "more than 100000 chunks of pixels",
    ),
    "a GIF of a comment of a million blocks": (
        lambda: gif_with(b"\x21\xfe" + b"\1c" * 10**6 + b"\0"),
        "a GIF of more than 300000 blocks",
    ),
    "a GIF of a million comments": (lambda: gif_with(b"\x21\xfe\0" * 10**6), "a GIF of more than 300000 blocks"),
    "a GIF of a million bytes between its parts": (lambda: gif_with(b"\1" * 10**6), "a GIF of more than 300000 blocks"),
    "a TIFF of 500000 strips": (
        lambda: tiff_of(8, 8, counts=500_000) + bytes(2_000_000),
        "a TIFF with 500000 numbers in one tag, more than 400000",
    ),
    "a TIFF of 500000 strips told in bytes": (
        lambda: tiff_of(8, 8, counts=500_000, kind=1) + bytes(500_000),
        "a TIFF with 500000 numbers in one tag, more than 400000",
    ),
    "a BigTIFF of 500000 strips": (
        lambda: big_tiff([(256, 3, 1, 8), (257, 3, 1, 8), (273, 16, 500_000, 200)]) + bytes(4_000_000),
        "a TIFF with 500000 numbers in one tag, more than 400000",
    ),
    "a JPEG of markers alone": (lambda: b"\xff\xd8" + b"\xff" * 5000, DAMAGED),
    "a PPM of spaces": (lambda: b"P6 " + b" " * 10**6, "header of the PPM has more than 4096 bytes"),
    "a PPM of comments": (lambda: b"P5 #" + b"x" * 10**6, "header of the PPM has more than 4096 bytes"),
    "a TIFF that leads to itself": (lambda: tiff([], following=8), DAMAGED),
    "a TIFF whose tags lie outside": (lambda: tiff([(k, 7, 2**32 - 1, 2**31) for k in range(254, 300)]), DAMAGED),
    "a TIFF that says 65535 tags": (lambda: tiff([(256, 4, 1, 5)], count=65535), DAMAGED),
    "a TIFF whose pixels lie outside": (lambda: tiff_of(8, 8, place=2**31), DAMAGED),
    "a TIFF of 2^30 strips": (lambda: tiff_of(8, 8, counts=2**30), DAMAGED),
    "a directory of TIFF at the end": (lambda: b"II*\0" + struct.pack("<I", 2**32 - 1), DAMAGED),
    "a BMP with runs beyond its edge": (lambda: bmp_announcing(4, 4, 8, 1)[:-16] + b"\xff\x01" * 200, DAMAGED),
    "a BMP of 3 bits": (lambda: bmp_announcing(4, 4, 3), DAMAGED),
    "truncated PNG": (lambda: truncated("PNG"), "damaged"),
    "truncated JPEG": (lambda: truncated("JPEG"), "damaged: image file is truncated"),
    "truncated BMP": (lambda: truncated("BMP"), "damaged"),
    "truncated GIF": (lambda: truncated("GIF"), "damaged"),
    "truncated WEBP": (lambda: truncated("WEBP"), DAMAGED),
    "truncated TIFF": (lambda: truncated("TIFF"), DAMAGED),
    "truncated PPM": (lambda: truncated("PPM"), "damaged"),
    "animated GIF": (lambda: animated("GIF"), "a GIF of several frames"),
    "animated PNG": (lambda: animated("PNG"), "a PNG of several frames"),
    "animated WEBP": (lambda: animated("WEBP"), "a WEBP of several frames"),
    "TIFF of several pages": (lambda: animated("TIFF"), "a TIFF of several frames.*read as slides:FILE"),
}

#: What is odd, and good: each is counted.
ODD: dict[str, Callable[[], bytes]] = {
    "one pixel": lambda: encode(Image.new("RGB", (1, 1), "red"), "PNG"),
    "a strip of 200": lambda: encode(Image.new("L", (200, 1), 9), "PNG"),
    "rotated by EXIF": with_exif,
    "sixteen bits": lambda: encode(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900), "PNG"),
    "sixteen bits TIFF": lambda: encode(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 900), "TIFF"),
    "palette with alpha": lambda: noise("PNG", "P", transparency=bytes(range(256))),
    "alpha": lambda: noise("PNG", "RGBA"),
    "grey with alpha": lambda: noise("PNG", "LA"),
    "one bit": lambda: noise("PNG", "1"),
    "CMYK": lambda: noise("JPEG", "CMYK"),
    "progressive": lambda: noise("JPEG", progressive=True),
    "further pictures behind": lambda: noise("MPO", save_all=True, append_images=[Image.new("RGB", (7, 9))]),
    "a film behind": lambda: noise("JPEG") + np.random.default_rng(3).bytes(10**7),
    "scans behind the end": lambda: noise("JPEG") + b"\xff\xda\0\2" * 200,
    "a film with its scans in a comment": lambda: jpeg_with(segment(0xFE, b"\xff\xda" * 200)),
    "nine hundred texts": lambda: png_with(*(chunk(b"tEXt", b"k%d\0v" % number) for number in range(900))),
    "a GIF of long comments": lambda: gif_with(b"\x21\xfe" + (b"\xff" + b"c" * 255) * 5000 + b"\0"),
    "an archive behind": lambda: noise("PNG") + zipped(),
    "zeros behind": lambda: noise("PNG") + bytes(200_000),
    "markup in a text": lambda: png_with(chunk(b"tEXt", b"Comment\0<script>alert(1)</script>")),
    "a damaged profile": lambda: noise("PNG", icc_profile=b"\xff" * 300),
    "GIF of one frame": lambda: noise("GIF"),
    "WEBP without loss": lambda: noise("WEBP", lossless=True),
    "BMP": lambda: noise("BMP"),
    "PPM with a comment": lambda: b"P6 # <b>\n2 1\n255\n" + bytes(6),
    "PPM of spaces": lambda: b"P5 80 80 255\n" + b" " * 6400,
}


def cuts(kind: str) -> Iterator[tuple[str, bytes]]:
    """A picture that ends at each boundary of its structure: behind each chunk of PNG, before each marker of JPEG."""
    whole = noise(kind)
    if kind == "PNG":
        place = 8
        while place < len(whole) - 12:
            yield f"PNG cut at {place}", whole[:place]
            place += 12 + int.from_bytes(whole[place : place + 4], "big")
        return
    marker = {"JPEG": b"\xff", "GIF": b"\x2c", "TIFF": b"\0\0"}[kind]
    place = whole.find(marker, 4)
    while 0 < place < len(whole) - 2:
        yield f"{kind} cut at {place}", whole[:place]
        place = whole.find(marker, place + 1)

"""Image files whose structure, not whose size, would cost hours or gigabytes: found from their bytes before decoding.

A JPEG of 8,000 × 8,000 pixels takes a fifth of a second for each of its scans, and a progressive one has about ten; a
scan of nothing but zeros takes a hundred bytes. Pillow keeps each segment of a JPEG, each block of a comment in a GIF
and each place of a strip in a TIFF as an object, copies all earlier parts of EXIF with each further one, reads each
text in a PNG, and reads the header of a PPM byte by byte. The limits are far beyond what cameras and programs write;
what lies behind a picture, as the film that telephones put there, is not checked.
"""

from __future__ import annotations

import re

from snellen.core.errors import RejectedImageError

#: Most scans of a JPEG, most segments before the first, and most bytes before it that belong to none.
MAX_SCANS, MAX_SEGMENTS, MAX_JUNK = 100, 2_000, 2**20

#: Most chunks of a PNG that hold no pixels, and that hold some.
MAX_CHUNKS, MAX_PIXEL_CHUNKS = 10_000, 100_000

#: Most blocks of a GIF up to its second frame: 64 MiB in blocks of the usual 255 bytes are fewer.
MAX_BLOCKS = 300_000

#: Most strips, tiles or other numbers in one tag of a TIFF: 64 million pixels in tiles of 16 × 16 are fewer.
MAX_NUMBERS = 400_000

#: Longest header of a PPM, comments included, bytes.
MAX_PPM_HEADER = 4096

_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff[^\x00\xff]")
# Inside the data of a scan a byte 255 is followed by 0 or a restart, so any other marker ends it.
_MARKER_BEHIND_SCAN = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
_WITHOUT_LENGTH = frozenset({0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
_END_OF_PICTURE = 0xD9

# Types of TIFF that are kept as they are stored, and tags that say where strips and tiles lie.
_BYTES, _PLACES = (1, 2, 7), (273, 324)


def refuse_costly(content: bytes) -> None:
    """Refuse a file that would cost far more than its size.

    >>> refuse_costly(b"P6 " + b" " * 5000)
    Traceback (most recent call last):
    snellen.core.errors.RejectedImageError: the header of the PPM has more than 4096 bytes

    Raises:
        RejectedImageError: with the reason.
    """
    if content.startswith(b"\xff\xd8"):
        _check_jpeg(content)
    elif content.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_png(content)
    elif content.startswith((b"GIF87a", b"GIF89a")) and len(content) > 13:
        _check_gif(content)
    elif content.startswith((b"II", b"MM")):
        _check_tiff(content)
    elif content[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6") and not _short_header(content[:MAX_PPM_HEADER]):
        raise RejectedImageError(f"the header of the PPM has more than {MAX_PPM_HEADER} bytes")


def _check_jpeg(content: bytes) -> None:
    place, segments, junk = 2, 0, 0
    while True:
        found = _MARKER.search(content, place)
        junk += (found.start() if found else len(content)) - place
        if junk > MAX_JUNK:
            raise RejectedImageError(f"a JPEG with more than {MAX_JUNK} bytes between the segments before its pixels")
        if found is None:
            return
        segments += 1
        if segments > MAX_SEGMENTS:
            raise RejectedImageError(f"a JPEG of more than {MAX_SEGMENTS} segments before its pixels")
        if found[0] == _SCAN:
            break
        place = _behind_segment(content, found)
    # Many of these pairs are no scans where something lies behind the picture, hence the second look.
    if content.count(_SCAN, found.start()) > MAX_SCANS and _many_scans(content, found.start()):
        raise RejectedImageError(f"a JPEG of more than {MAX_SCANS} scans")


def _behind_segment(content: bytes, marker: re.Match[bytes]) -> int:
    place = marker.end()
    if marker[0][1] in _WITHOUT_LENGTH:
        return place
    return place + max(int.from_bytes(content[place : place + 2], "big"), 2)


def _many_scans(content: bytes, place: int) -> bool:
    scans = 0
    while scans <= MAX_SCANS and (found := _MARKER_BEHIND_SCAN.search(content, place)):
        if found[0][1] == _END_OF_PICTURE:
            break
        scans += found[0] == _SCAN
        place = _behind_segment(content, found)
    return scans > MAX_SCANS


def _check_png(content: bytes) -> None:
    place, pixels, others = 8, 0, 0
    while place + 8 <= len(content):
        kind = content[place + 4 : place + 8]
        if kind == b"IEND":  # what follows, such as zeros to a round length, is not checked
            return
        if kind in (b"IDAT", b"fdAT"):
            pixels += 1
        else:
            others += 1
        if others > MAX_CHUNKS or pixels > MAX_PIXEL_CHUNKS:
            held = f"{MAX_CHUNKS} chunks without" if others > MAX_CHUNKS else f"{MAX_PIXEL_CHUNKS} chunks of"
            raise RejectedImageError(f"a PNG of more than {held} pixels")
        place += 12 + int.from_bytes(content[place : place + 4], "big")


def _check_gif(content: bytes) -> None:
    place, blocks, frames = 13 + _palette_bytes(content[10]), 0, 0
    while place < len(content) and content[place] != 0x3B and frames < 2:
        kind, blocks = content[place], blocks + 1
        if kind == 0x2C:  # a frame
            frames += 1
            place += 11 + _palette_bytes(content[place + 9] if place + 9 < len(content) else 0)
        elif kind == 0x21:  # an extension
            place += 2
        else:
            place += 1
        while kind in (0x21, 0x2C) and blocks <= MAX_BLOCKS and place < len(content):
            size = content[place]
            place, blocks = place + 1 + size, blocks + 1
            if not size:
                break
        if blocks > MAX_BLOCKS:
            raise RejectedImageError(f"a GIF of more than {MAX_BLOCKS} blocks")


def _palette_bytes(packed: int) -> int:
    return 3 << (packed & 7) + 1 if packed & 0x80 else 0


def _check_tiff(content: bytes) -> None:
    def number(place: int, size: int) -> int:
        return int.from_bytes(content[place : place + size], "little" if content[:2] == b"II" else "big")

    # Sizes of a number of entries, of an entry, and of a count or place in it.
    big = 43 in content[2:4]
    counted, entry, wide = (8, 20, 8) if big else (2, 12, 4)
    start = number(8 if big else 4, wide)
    for place in range(start + counted, min(start + counted + entry * number(start, counted), len(content)), entry):
        tag, kind, count = number(place, 2), number(place + 2, 2), number(place + 4, wide)
        # Where a tag claims more than the file holds, Pillow leaves it out.
        if (tag in _PLACES or kind not in _BYTES) and MAX_NUMBERS < count <= len(content):
            raise RejectedImageError(f"a TIFF with {count} numbers in one tag, more than {MAX_NUMBERS}")


def _short_header(start: bytes) -> bool:
    """Whether a file is shorter than a header may be, or the header's numbers end within it."""
    if len(start) < MAX_PPM_HEADER:
        return True
    lines = (line.partition(b"#")[0] for line in start.replace(b"\r", b"\n").split(b"\n")[:-1])
    within = b" ".join(lines) + b" " + start.rpartition(b"\n")[2].partition(b"#")[0]
    words = within[2:].split(None, 3)
    return len(words) >= (2 if start[:2] in (b"P1", b"P4") else 3)

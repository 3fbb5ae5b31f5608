"""Image files whose structure, not whose size, would cost hours: told from their bytes before they are decoded.

A JPEG of 8,000 × 8,000 pixels takes a fifth of a second for each of its scans, of which a progressive one has about
ten; a scan of nothing but zeros takes a hundred bytes. Pillow looks at each text in a PNG, and reads the header of a
PPM byte by byte.
"""

from __future__ import annotations

from snellen.errors import RejectedImageError

#: Most scans of a JPEG, those of pictures inside and behind it included.
MAX_SCANS = 100

#: Most chunks of a PNG that hold no pixels.
MAX_CHUNKS = 1_000

#: Longest header of a PPM, comments included, bytes.
MAX_PPM_HEADER = 4096


def refuse_costly(content: bytes) -> None:
    """Refuse a file that would cost far more than its size.

    >>> refuse_costly(b"P6 " + b" " * 5000)
    Traceback (most recent call last):
    snellen.errors.RejectedImageError: the header of the PPM has more than 4096 bytes

    Raises:
        RejectedImageError: with the reason.
    """
    if content.startswith(b"\xff\xd8"):
        # Inside the data of a scan a byte 255 is followed by 0 or a restart, so this marker begins a scan.
        scans = content.count(b"\xff\xda")
        if scans > MAX_SCANS:
            raise RejectedImageError(f"a JPEG of {scans} scans, more than {MAX_SCANS}")
    elif content.startswith(b"\x89PNG\r\n\x1a\n"):
        if _more_chunks(content):
            raise RejectedImageError(f"a PNG of more than {MAX_CHUNKS} chunks without pixels")
    elif content[:2] in (b"P1", b"P2", b"P3", b"P4", b"P5", b"P6") and not _short_header(content[:MAX_PPM_HEADER]):
        raise RejectedImageError(f"the header of the PPM has more than {MAX_PPM_HEADER} bytes")


def _more_chunks(content: bytes) -> bool:
    place, others = 8, 0
    while place + 8 <= len(content) and others <= MAX_CHUNKS:
        kind = content[place + 4 : place + 8]
        if kind == b"IEND":  # what follows, such as zeros to a round length, is not looked at
            break
        others += kind not in (b"IDAT", b"fdAT")
        place += 12 + int.from_bytes(content[place : place + 4], "big")
    return others > MAX_CHUNKS


def _short_header(start: bytes) -> bool:
    """Whether a file is shorter than a header may be, or the header's numbers end within it."""
    if len(start) < MAX_PPM_HEADER:
        return True
    lines = (line.partition(b"#")[0] for line in start.replace(b"\r", b"\n").split(b"\n")[:-1])
    within = b" ".join(lines) + b" " + start.rpartition(b"\n")[2].partition(b"#")[0]
    words = within[2:].split(None, 3)
    return len(words) >= (2 if start[:2] in (b"P1", b"P4") else 3)

"""The bytes of a slide's file: whether it may be opened at all, and what tells it from others."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from snellen.core.errors import RejectedImageError

#: Endings of slides.
SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".scn", ".bif", ".czi")

#: What their files begin with: TIFF and BigTIFF of either order of bytes, and ZEISS CZI. Slides of several files
#: (MIRAX, VMS, DICOM) name the others by paths in a text, which could lead anywhere; they are not opened.
BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"ZISRAWFILE")

_PIECES, _PIECE = 64, 2**14


def check_beginning(path: Path, name: str) -> None:
    """See that a file begins as one of :data:`BEGINNINGS`; RejectedImageError where it does not."""
    try:
        with path.open("rb") as stream:
            beginning = stream.read(16)
    except OSError as error:
        raise RejectedImageError(f"slide {name} cannot be read: {error.strerror or error}") from error
    if not beginning.startswith(BEGINNINGS):
        raise RejectedImageError(
            f"{name} is no slide: it does not begin as TIFF, BigTIFF or CZI do. Slides of several files (MIRAX, VMS, "
            f"DICOM) are not read; convert them to a pyramidal TIFF"
        )


def sampled_hash(path: Path, name: str) -> str:
    """Hash (sha256, hex) of a file's size and of 64 pieces of 16 KiB, spread evenly from its first to its last byte.

    Files of up to 1 MiB are hashed as a whole; in larger ones, a change between the pieces is not seen.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            length = os.fstat(stream.fileno()).st_size
            digest.update(f"{length} ".encode())
            for piece in range(_PIECES):
                stream.seek(max(0, length - _PIECE) * piece // (_PIECES - 1))
                digest.update(stream.read(_PIECE))
    except OSError as error:
        raise RejectedImageError(f"slide {name} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()

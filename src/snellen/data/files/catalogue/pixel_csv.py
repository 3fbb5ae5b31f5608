"""Tables of pixels: a packed CSV file with one grey picture a line and its class in the last column."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.files.arrays import array_set
from snellen.data.files.contained_file import read_file

#: Largest packed file, and largest text that is unpacked, bytes.
MAX_FILE_BYTES = 64 * 2**20
MAX_TEXT_BYTES = 512 * 2**20


def load_pixel_csv(
    path: Path, *, side: int, largest: int, class_names: Sequence[str], name: str, max_text_bytes: int = MAX_TEXT_BYTES
) -> ImageSet:
    """Read a ``.csv.gz`` file of square grey pictures. Ids are "000017", by line.

    A value v becomes the byte round(255 v / largest), halves to even.

    Args:
        path: the file; each line has side² whole numbers from 0 to ``largest``, row by row from the upper left, and
            then the class.
        side: edge of the pictures, pixels.
        largest: value of white.
        class_names: names of the classes.
        name: shown in reports.
        max_text_bytes: files that unpack to more are refused.

    Raises:
        InputError: not such a file, damaged or too large.
    """
    values = _numbers(_unpacked(path, max_text_bytes), path)
    if values.shape[1] != side * side + 1:
        raise InputError(f"{path}: lines have {values.shape[1]} numbers; expected {side * side} pixels and a class")
    pixels, labels = values[:, :-1], values[:, -1]
    # Infinite numbers are whole to floor(), and what no integer holds must not be made one.
    sound = (values == np.floor(values)) & (np.abs(values) < 2**31)
    odd = ~(sound.all(1) & ((pixels >= 0) & (pixels <= largest)).all(1))
    if odd.any():
        raise InputError(f"{path}: line {int(odd.argmax()) + 1} holds what is no whole number from 0 to {largest}")
    pictures = np.rint(pixels * (255 / largest)).astype(np.uint8).reshape(-1, side, side)
    ids = [f"{position:06d}" for position in range(len(pictures))]
    what = f"classes of {path.name}"
    return array_set(pictures, labels.astype(np.int64), ids, name=name, class_names=class_names, what=what)


def _unpacked(path: Path, limit: int) -> bytes:
    try:
        packed = read_file(path.parent, path.name, MAX_FILE_BYTES)
    except RejectedImageError as error:
        raise InputError(f"{path}: {error}") from error
    unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        text = unpacker.decompress(packed, limit + 1)
    except zlib.error as error:
        raise InputError(f"{path} is not a readable .gz file: {error}") from error
    if len(text) > limit:
        raise InputError(f"{path} unpacks to more than {limit} bytes")
    if not unpacker.eof:
        raise InputError(f"{path} is damaged: it ends early")
    return text


def _numbers(text: bytes, path: Path) -> NDArray[np.float64]:
    """Numbers of all lines, float64 (n, m)."""
    lines = text.splitlines()
    if not lines or not lines[0].strip():
        raise InputError(f"{path} holds no lines")
    try:
        return np.loadtxt(lines, delimiter=",", dtype=np.float64, ndmin=2, comments=None)
    except ValueError as error:
        raise InputError(f"{path} is not a table of numbers between commas: {str(error)[:200]}") from error

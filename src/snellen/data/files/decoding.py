"""The one decoder: the bytes of an image file become an RGB picture, or a short reason why not.

Files are hostile until proven otherwise. Nothing is decoded before size, format, number of frames and shape are known
from the header, and no setting of Pillow is changed.

Pillow warns. ``warnings.catch_warnings`` swaps a list that all threads share, so two overlapping uses can leave the
wrong list in place for good. Here, filters that concern Pillow alone are put in front while at least one thread
decodes, and exactly those are taken out again.
"""

from __future__ import annotations

import io
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.Image import DecompressionBombWarning
from pydantic import BaseModel, ConfigDict, Field

from snellen.core.deep_picture import DeepPicture, from_shares
from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.costly_structure import refuse_costly

#: The whole range of 16 bits.
SIXTEEN_BIT = (0, 65535)

_ROWS = 512  # at once, so that a large picture does not need eight times its size


def to_sixteen_bits(values: NDArray[np.integer], grey_range: tuple[int, int] = SIXTEEN_BIT) -> NDArray[np.uint16]:
    """Scale integer values (h, w) or (h, w, 3) so that ``grey_range`` becomes 0 … 65,535, rounded to the nearest.

    >>> to_sixteen_bits(np.array([[0, 2048, 4095]], dtype=np.uint16), (0, 4095)).tolist()
    [[0, 32776, 65535]]

    Raises:
        RejectedImageError: a value lies outside the declared range. Cutting it off would hide a wrong declaration.
        InputError: the range is empty.
    """
    low, high = checked_range(grey_range)
    darkest, brightest = int(values.min()), int(values.max())
    if darkest < low or brightest > high:
        raise RejectedImageError(
            f"grey values from {darkest} to {brightest} lie outside the declared range {low} to {high}; "
            f"declare the right grey_range"
        )
    if (low, high) == SIXTEEN_BIT:
        return values.astype(np.uint16)
    scaled = np.empty(values.shape, dtype=np.uint16)
    for start in range(0, len(values), _ROWS):
        part = values[start : start + _ROWS].astype(np.float64)
        part -= low
        part /= high - low
        scaled[start : start + _ROWS] = from_shares(part)
    return scaled


def checked_range(grey_range: tuple[int, int]) -> tuple[int, int]:
    """The range, if its lower end is below its upper end."""
    low, high = grey_range
    if not low < high:
        raise InputError(f"a grey range goes from a lower to a higher value, got {low} to {high}")
    return low, high


# Modules that decode: a pattern that nobody else will write, so that only our own entries are taken out again.
_DECODERS = r"(?:PIL|pydicom|nibabel)(?:\.|$)"


@contextmanager
def pillow_warnings_contained() -> Iterator[None]:
    """Inside a ``with`` block Pillow's warnings are silent, and its warning of decompression bombs is raised.

    >>> with pillow_warnings_contained():
    ...     warnings.warn_explicit("odd tag", UserWarning, "TiffImagePlugin.py", 1, module="PIL.TiffImagePlugin")
    """
    _filters.enter()
    try:
        yield
    finally:
        _filters.leave()


class _Filters:
    """Counts the threads that decode; the first puts the filters in, the last takes them out."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.decoding = 0
        self.inserted_into: list[Any] = []

    def enter(self) -> None:
        with self.lock:
            self.decoding += 1
            if self.decoding == 1:
                self.remove()
                warnings.filterwarnings("ignore", module=_DECODERS)
                warnings.filterwarnings("error", category=DecompressionBombWarning, module=_DECODERS)
                self.inserted_into = warnings.filters  # type: ignore[assignment]

    def leave(self) -> None:
        with self.lock:
            self.decoding -= 1
            if self.decoding == 0:
                self.remove()
                self.inserted_into = []

    def remove(self) -> None:
        """Take them out of the list they went into, and of the copy that another thread may have put in its place."""
        current: list[Any] = warnings.filters  # type: ignore[assignment]
        for filters in (self.inserted_into, current):
            for entry in [entry for entry in filters if getattr(entry[3], "pattern", None) == _DECODERS]:
                filters.remove(entry)


_filters = _Filters()


#: Where files of DICOM say what they are, and why they are refused.
_DICOM_AT, NO_DICOM = 128, "DICOM files are read as dicom:FOLDER (pip install 'snellen[dicom]'), not among other images"

#: Formats that are tried, for any file name (Pillow's names; PPM covers PGM and PBM).
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")

_GREY_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")
_COLOUR_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


class DecodingLimits(BaseModel):
    """What a file may ask of the machine.

    >>> DecodingLimits(max_pixels=1_000_000).max_aspect
    200.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(64 * 2**20, ge=1, description="largest file, bytes")
    max_pixels: int = Field(64_000_000, ge=1, description="largest width × height, pixels")
    max_aspect: float = Field(
        200.0,
        ge=1,
        description="largest ratio of the longer to the shorter edge. Models scale the shorter edge to their size, so "
        "a thin strip within max_pixels would grow far beyond it: 1 × 1,000,000 pixels become 224 × 224,000,000",
    )
    min_edge: int = Field(1, ge=1, description="smallest width and height, pixels")
    first_frame: bool = Field(False, description="read the first of several frames or pages instead of rejecting")


DEFAULT_LIMITS = DecodingLimits()


def decode(
    content: bytes, *, limits: DecodingLimits = DEFAULT_LIMITS, grey_range: tuple[int, int] = SIXTEEN_BIT
) -> Image.Image:
    """Decode the bytes of one image file to RGB, at its own size.

    As the loaders of torchvision and timm do, everything of 8 bits goes through ``convert("RGB")``: alpha is dropped
    (not blended), palettes are resolved, CMYK is converted without colour profiles; the rotation in EXIF is *not*
    applied, but that of a TIFF is, by Pillow. Unlike them, grey of more than 8 bits is scaled from ``grey_range``,
    where they cut it off at 255, and keeps 16 bits, as does colour of 16 bits in PNG and TIFF: such a picture is a
    :class:`~snellen.core.deep_picture.DeepPicture`. Grey of 16 bits with alpha, and PPM of 16 bits, keep the upper
    byte. A JPEG with further pictures behind the first (MPO, as cameras write) is read as the JPEG that it begins with.

    >>> stream = io.BytesIO()
    >>> Image.new("L", (3, 2), 200).save(stream, "PNG")
    >>> decode(stream.getvalue()).getpixel((0, 0))
    (200, 200, 200)

    Args:
        content: the whole file.
        limits: what is refused.
        grey_range: values of black and white in grey images of more than 8 bits.

    Raises:
        RejectedImageError: the file breaks a limit, is damaged, or is not an image of :data:`FORMATS`. Truncated files
            are refused, unless the program has set Pillow to load them.
    """
    checked_range(grey_range)
    if not content:
        raise RejectedImageError("the file is empty")
    if len(content) > limits.max_bytes:
        raise RejectedImageError(f"the file has {len(content)} bytes, more than {limits.max_bytes} (max_bytes)")
    refuse_costly(content)
    try:
        with pillow_warnings_contained(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_shape(image, limits)
            _check_frames(image, limits)
            raw = _raw_mode(image)
            image.load()
            _check_shape(image, limits)  # a frame may be larger than its file announced
            return _deep_colour(content, image, raw) if raw in _OTHER_BYTE else to_rgb(image, grey_range)
    except RejectedImageError:
        raise
    except UnidentifiedImageError as error:
        if content[_DICOM_AT : _DICOM_AT + 4] == b"DICM":
            raise RejectedImageError(NO_DICOM) from error
        raise RejectedImageError(f"not a readable image of a known format ({', '.join(FORMATS)})") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RejectedImageError("far more pixels than its file size is plausible for (decompression bomb)") from error
    except Exception as error:  # Pillow's plugins raise many kinds of errors on damaged files
        text = " ".join(str(error).split())[:120]
        raise RejectedImageError(f"damaged: {text or type(error).__name__}") from error


#: How colour of 16 bits lies in a file, and the same bytes with the other of each two taken for the upper one: Pillow
#: unpacks the upper byte alone, so that the lower is read as if it were that.
_OTHER_BYTE = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}


def _raw_mode(image: Image.Image) -> str | None:
    """How the pixels of a file lie, while it is not loaded; None where that is no matter here."""
    if image.format not in ("PNG", "TIFF"):
        return None
    found = {args if isinstance(args, str) else args[0] for *_, args in getattr(image, "tile", ())}
    only = found.pop() if len(found) == 1 else None
    return only if isinstance(only, str) else None


def _deep_colour(content: bytes, upper: Image.Image, raw: str) -> Image.Image:
    """Colour of 16 bits, from a file whose upper bytes are read."""
    with Image.open(io.BytesIO(content), formats=FORMATS) as image:
        other = _OTHER_BYTE[raw]
        image.tile = [
            one._replace(args=(other, *one.args[1:]) if isinstance(one.args, tuple) else other) for one in image.tile
        ]
        image.load()
        high, low = (np.asarray(one)[..., :3].astype(np.uint16) for one in (upper, image))
    return DeepPicture(high * 256 + low)


def _check_shape(image: Image.Image, limits: DecodingLimits) -> None:
    width, height = image.size
    shorter, longer = min(width, height), max(width, height)
    if shorter < limits.min_edge:
        raise RejectedImageError(f"{width}×{height} pixels: an edge is shorter than {limits.min_edge} (min_edge)")
    if width * height > limits.max_pixels:
        raise RejectedImageError(f"{width}×{height} pixels are more than {limits.max_pixels} (max_pixels)")
    if longer > limits.max_aspect * shorter:
        raise RejectedImageError(f"{width}×{height} pixels: more than {limits.max_aspect:g} to 1 (max_aspect)")


def _check_frames(image: Image.Image, limits: DecodingLimits) -> None:
    several = bool(getattr(image, "is_animated", False)) and image.format != "MPO"
    if several and not limits.first_frame:
        slide = "; a slide of several levels is read as slides:FILE" if image.format == "TIFF" else ""
        raise RejectedImageError(
            f"a {image.format} of several frames, and it is unclear which one is meant; store the frame as an image "
            f"of its own, or set first_frame{slide}"
        )


def to_rgb(image: Image.Image, grey_range: tuple[int, int] = SIXTEEN_BIT) -> Image.Image:
    """A decoded image in RGB, as :func:`decode` says. Raises RejectedImageError for floating-point or odd pixels."""
    if image.mode in _GREY_MODES:
        return DeepPicture(to_sixteen_bits(np.asarray(image), grey_range))
    if image.mode == "F":
        raise RejectedImageError("floating-point pixels have no declared range; store 8 or 16-bit integers")
    if image.mode not in _COLOUR_MODES:
        raise RejectedImageError(f"pixels of mode {image.mode} are not supported; store RGB")
    return image.convert("RGB")

"""Pictures with transparency: what the decoder drops, read under the decoder's limits."""

from __future__ import annotations

import io

from PIL import Image

from snellen.core.errors import RejectedImageError
from snellen.data.files.decoding import DEFAULT_LIMITS, FORMATS, DecodingLimits, decode
from snellen.data.files.pillow_warnings import pillow_warnings_contained


def decode_with_alpha(content: bytes, *, limits: DecodingLimits = DEFAULT_LIMITS) -> Image.Image:
    """Decode the bytes of one image file to RGBA, at its own size; opaque where it has no transparency.

    The file is decoded twice: :func:`~snellen.data.files.decoding.decode` alone says what is refused, so that there are
    no other rules for pictures with transparency.

    >>> stream = io.BytesIO()
    >>> Image.new("RGBA", (3, 2), (10, 20, 30, 40)).save(stream, "PNG")
    >>> decode_with_alpha(stream.getvalue()).getpixel((0, 0))
    (10, 20, 30, 40)

    Raises:
        RejectedImageError: as :func:`~snellen.data.files.decoding.decode`, or grey of more than 8 bits.
    """
    decode(content, limits=limits)
    with pillow_warnings_contained(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if image.mode.startswith("I"):
            raise RejectedImageError("grey of more than 8 bits has no transparency here; store 8 bits per channel")
        return image.convert("RGBA")

"""Pictures on surfaces: found below the mesh's folder, and nowhere else."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import RejectedImageError
from snellen.data.files.contained_file import read_file
from snellen.data.files.decoding import FORMATS, DecodingLimits, decode
from snellen.data.files.pillow_warnings import pillow_warnings_contained

#: Longest edge that a texture keeps, pixels: at the sizes of classifiers, more cannot be seen.
LONGEST_EDGE = 1024

_LIMITS = DecodingLimits(max_pixels=40_000_000, max_aspect=4096.0)


def read_texture(folder: Path, named: str) -> NDArray[np.uint8]:
    """Texture uint8 (h, w, 4), the first row on top and alpha 0 or 255.

    Raises:
        RejectedImageError: no such file below ``folder``, or it is no image that can be read.
    """
    content = texture_file(folder, named)
    colours = decode(content, limits=_LIMITS)
    alpha = _alpha(content, colours.size)
    if max(colours.size) > LONGEST_EDGE:
        scale = LONGEST_EDGE / max(colours.size)
        size = (max(1, round(colours.width * scale)), max(1, round(colours.height * scale)))
        colours, alpha = colours.resize(size, Image.Resampling.BOX), alpha.resize(size, Image.Resampling.BOX)
    # Half transparent pixels cannot be sorted by distance in one pass: a texture covers, or is cut out.
    cut = np.where(np.asarray(alpha) >= 128, 255, 0).astype(np.uint8)
    return np.dstack([np.asarray(colours), cut])


def texture_file(folder: Path, named: str) -> bytes:
    """Bytes of a texture.

    Where a material names a path of the artist's own machine, the file of that name beside the mesh is taken, whatever
    the case of its letters.

    Raises:
        RejectedImageError: no such file below ``folder``, or too large.
    """
    relative = named.strip().strip('"').replace("\\", "/")
    try:
        return read_file(folder, relative, _LIMITS.max_bytes)
    except RejectedImageError:
        name = re.split(r"[/:]", relative)[-1].lower()
        beside = sorted(path.name for path in folder.iterdir() if path.name.lower() == name)
        if not beside:
            raise
        return read_file(folder, beside[0], _LIMITS.max_bytes)


def _alpha(content: bytes, size: tuple[int, int]) -> Image.Image:
    # The decoder has accepted these bytes; alone the channel that it drops is asked for.
    with pillow_warnings_contained(), Image.open(io.BytesIO(content), formats=FORMATS) as image:
        if "A" in image.getbands() or "transparency" in image.info:
            return image.convert("RGBA").getchannel("A")
    return Image.new("L", size, 255)

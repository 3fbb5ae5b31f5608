"""Pictures of a report, kept as small WebP files under the hash of their bytes."""

from __future__ import annotations

import hashlib
import io

import torch
from PIL import Image

from snellen.core.preparation import to_image

#: Longest side of a picture in the report, pixels. Smaller images stay as they are: the page enlarges them, sharply.
SIDE = 160

#: Up to this side, no pixel may change: compression would blur the very thing that is shown.
EXACT = 64


def keep_picture(blobs: dict[str, bytes], image: torch.Tensor) -> str:
    """Put an image (3, h, w) in [0, 1] among the pictures, as a small WebP file; returns its name (sha256)."""
    picture = to_image(image)
    scale = min(SIDE / max(picture.size), 1.0)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return keep_file(blobs, picture, lossless=max(size) <= EXACT, quality=85)


def keep_file(blobs: dict[str, bytes], picture: Image.Image, *, lossless: bool = False, quality: int = 80) -> str:
    """Put a picture of any size among the pictures, as a WebP file; returns its name (sha256)."""
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=lossless, quality=quality, method=4)
    key = hashlib.sha256(stream.getvalue()).hexdigest()
    blobs[key] = stream.getvalue()
    return key

"""Images that stand in for photographs and thumbnails, and what a copy of one may have gone through."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Picture = NDArray[np.uint8]


def pictures(count: int, *, size: int = 64, seed: int = 0) -> Tensor:
    """Smooth random images with a little texture: uint8 (n, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    planes = torch.zeros(count, 3, size, size)
    for cells, weight in ((4, 1.0), (8, 0.6), (16, 0.3), (32, 0.15)):
        coarse = torch.rand(count, 3, cells, cells, generator=generator)
        planes += weight * torch.nn.functional.interpolate(coarse, size, mode="bicubic")
    low, high = planes.amin((1, 2, 3), keepdim=True), planes.amax((1, 2, 3), keepdim=True)
    return (25 + 205 * (planes - low) / (high - low)).round().to(torch.uint8)


def jpeg(picture: Picture, quality: int) -> Picture:
    stream = io.BytesIO()
    Image.fromarray(picture.transpose(1, 2, 0)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream)).transpose(2, 0, 1)


def resized(picture: Picture, factor: float) -> Picture:
    height, width = picture.shape[1:]
    image = Image.fromarray(picture.transpose(1, 2, 0))
    small = image.resize((round(width * factor), round(height * factor)), Image.Resampling.BILINEAR)
    return np.asarray(small.resize((width, height), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


def brighter(picture: Picture, factor: float) -> Picture:
    return np.clip(np.rint(picture * factor), 0, 255).astype(np.uint8)


def cropped(picture: Picture, pixels: int) -> Picture:
    height, width = picture.shape[1:]
    image = Image.fromarray(picture[:, pixels:-pixels, pixels:-pixels].transpose(1, 2, 0))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).transpose(2, 0, 1)


#: Copies by what they went through.
KINDS: dict[str, Callable[[Picture], Picture]] = {
    "exact": lambda picture: picture.copy(),
    "jpeg 50": lambda picture: jpeg(picture, 50),
    "jpeg 75": lambda picture: jpeg(picture, 75),
    "jpeg 90": lambda picture: jpeg(picture, 90),
    "resize 90 %": lambda picture: resized(picture, 0.9),
    "brightness +10 %": lambda picture: brighter(picture, 1.1),
    "brightness −10 %": lambda picture: brighter(picture, 0.9),
    "crop 1 px": lambda picture: cropped(picture, 1),
    "crop 2 px": lambda picture: cropped(picture, 2),
    "mirrored": lambda picture: picture[:, :, ::-1].copy(),
}


def planted(images: Tensor, kind: str, sources: NDArray[np.int64]) -> Tensor:
    """Copies of some images: uint8 (m, 3, h, w)."""
    return torch.from_numpy(np.stack([KINDS[kind](images[one].numpy()) for one in sources]))

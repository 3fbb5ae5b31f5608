"""One image as another library holds it (PIL, array, tensor, path, bytes), as an RGB picture."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from snellen.core.deep_picture import DeepPicture
from snellen.core.errors import InputError, RejectedImageError
from snellen.data.files.decoding import DEFAULT_LIMITS, decode, to_rgb

#: Channels of a grey and of a colour picture.
_CHANNELS = (1, 3)

#: So far outside of the declared range a value may lie, as a share of the range: what float16 rounds.
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Values:
    """What floating-point pixels mean: ``value · std + mean`` lies in [low, high], from black to white.

    Attributes:
        low: value of black.
        high: value of white.
        mean: that was subtracted from each channel, in the same units; empty where none was.
        std: that each channel was divided by; empty where it was not.
    """

    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise InputError(f"value_range is (black, white), such as (0, 1); got ({self.low}, {self.high})")

    def to_bytes(self, pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Floating-point pixels (..., c), channels last, rounded to bytes of the same shape.

        Raises:
            RejectedImageError: NaN, or values outside of the range.
        """
        plain = pixels.astype(np.float64)
        if self.std:
            plain = plain * np.asarray(self.std) + np.asarray(self.mean)
        low, high = float(plain.min()), float(plain.max())
        slack = _TOLERANCE * (self.high - self.low)
        # Written so that NaN fails too.
        if not (low >= self.low - slack and high <= self.high + slack):
            raise RejectedImageError(
                f"pixels from {low:.4g} to {high:.4g} leave the declared range from {self.low:g} to {self.high:g}"
            )
        return (255 * ((plain - self.low) / (self.high - self.low)).clip(0, 1)).round().astype(np.uint8)


def picture_of(value: object, values: Values | None = None) -> Image.Image:
    """Make an RGB picture of any object that holds one image.

    >>> picture_of(np.full((1, 2, 3), 7, dtype=np.uint8)).getpixel((0, 0))
    (7, 7, 7)

    Args:
        value: a PIL image; an array or tensor (h, w), (h, w, c) or (c, h, w) with c of 1 or 3; a path; the bytes of a
            file; or a mapping with ``bytes`` or ``path``, as Hugging Face stores images.
        values: what floating-point pixels mean.

    Raises:
        RejectedImageError: it cannot be read, with the reason.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, Image.Image):
        return to_rgb(value)
    if isinstance(value, bytes):
        return decode(value)
    if isinstance(value, str | os.PathLike):
        return decode(_content(Path(value)))
    if isinstance(value, Tensor):
        value = (value.float() if value.is_floating_point() else value).detach().cpu().numpy()
    if not hasattr(value, "__array__"):
        raise RejectedImageError(f"a {type(value).__name__} is no image")
    return _of_array(np.asarray(value), values)


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > DEFAULT_LIMITS.max_bytes:
            raise RejectedImageError(f"the file has {size} bytes, more than {DEFAULT_LIMITS.max_bytes} (max_bytes)")
        if not path.is_file():
            raise RejectedImageError("not a file")
        return path.read_bytes()
    except OSError as error:
        raise RejectedImageError(f"the file cannot be read: {error.strerror or error}") from error


def _of_array(pixels: NDArray[Any], values: Values | None) -> Image.Image:
    shape = tuple(pixels.shape)
    if pixels.ndim == 3:
        pixels = _channels_last(pixels)
    if pixels.ndim not in (2, 3) or 0 in shape:
        raise RejectedImageError(f"an array of shape {shape}; expected (h, w), (h, w, c) or (c, h, w), c of 1 or 3")
    if pixels.dtype.kind == "f":
        if values is None:
            raise RejectedImageError(
                "floating-point pixels of no declared range; give value_range=(black, white), such as (0, 1)"
            )
        whole: NDArray[Any] = values.to_bytes(pixels if pixels.ndim == 3 else pixels[..., None])
    elif pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        whole = pixels
    else:
        raise RejectedImageError(f"pixels of {pixels.dtype}; expected uint8 or uint16, or floats with a declared range")
    if whole.ndim == 3 and whole.shape[2] == 1:
        whole = whole[..., 0]
    if whole.dtype.itemsize == 2:
        return DeepPicture(whole.astype(np.uint16))
    return Image.fromarray(np.ascontiguousarray(whole)).convert("RGB")


def _channels_last(pixels: NDArray[Any]) -> NDArray[Any]:
    first, last = pixels.shape[0] in _CHANNELS, pixels.shape[2] in _CHANNELS
    either = last and pixels.shape[0] == 3  # a picture of 1 pixel's height is read with its channels last
    if either or not (first or last):
        why = "either axis may be the channels" if either else "no axis has 1 or 3 channels"
        raise RejectedImageError(f"an array of shape {tuple(pixels.shape)}, in which {why}")
    return pixels if last else pixels.transpose(1, 2, 0)

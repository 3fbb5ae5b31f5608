"""What happens to images on their way: real JPEG, down and up again, noise; and error levels, the oldest baseline.

arXiv 2511.19111 measures robustness after JPEG and resizing. Distortions work on bytes, before any normalisation. Where
an image keeps its size its labels stay; where it is resized for good, they are resized by the nearest pixel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from snellen.core.errors import InputError
from snellen.core.preprocessing import to_image, to_unit
from snellen.core.randomness import Randomness
from snellen.methods.corruptions.digital import jpeg_compression
from snellen.systems.edited_regions.labels import resized_labels

#: Strengths of the published robustness table.
JPEG_QUALITIES, RESIZE_FACTORS = (95, 90, 80, 70, 60, 50), (0.9, 0.75, 0.5)

#: Quality at which error levels are taken, and side of the window that they are smoothed by.
ELA_QUALITY, ELA_WINDOW = 90, 7


@dataclass(frozen=True)
class Distortion:
    """One distortion: ``jpeg:70`` (quality), ``resize:0.75`` (down and up again), ``scale:0.75`` (down), ``noise:4``
    (standard deviation, of 255).

    >>> Distortion.read("jpeg:70")
    Distortion(kind='jpeg', strength=70.0)
    """

    kind: Literal["jpeg", "resize", "scale", "noise"]
    strength: float

    @classmethod
    def read(cls, text: str) -> Distortion:
        """Read ``KIND:STRENGTH``.

        Raises:
            InputError: another form, or a strength that cannot be.
        """
        found = re.fullmatch(r"(jpeg|resize|scale|noise):([0-9]*\.?[0-9]+)", text)
        if found is None:
            raise InputError(f"{text!r} is no distortion; expected jpeg:70, resize:0.75, scale:0.75 or noise:4")
        kind, strength = found[1], float(found[2])
        limits = {"jpeg": (1, 100), "resize": (0.05, 1), "scale": (0.05, 1), "noise": (0, 128)}[kind]
        if not limits[0] <= strength <= limits[1]:
            raise InputError(f"{text!r}: the strength of {kind} lies between {limits[0]} and {limits[1]}")
        return cls(kind, strength)  # type: ignore[arg-type]

    def images(self, images: Tensor, rng: Randomness) -> Tensor:
        """Distort byte images (n, 3, h, w); the noise of an image follows from its id."""
        if self.kind == "jpeg":
            return _bytes(jpeg_compression(to_unit(images), rng, quality=self.strength))
        if self.kind == "noise":
            noise = rng.bind(len(images)).normal("noise", tuple(images.shape[1:])) * self.strength / 255
            return _bytes((to_unit(images) + noise).clamp(0, 1))
        return torch.stack([self._resized(image) for image in images])

    def _resized(self, image: Tensor) -> Tensor:
        picture = to_image(image)
        small = picture.resize(self._size(picture.size), Image.Resampling.BICUBIC)
        shown = small if self.kind == "scale" else small.resize(picture.size, Image.Resampling.BICUBIC)
        return torch.from_numpy(np.array(shown)).permute(2, 0, 1).contiguous()

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        return max(1, round(size[0] * self.strength)), max(1, round(size[1] * self.strength))

    def labels(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The label map (h, w) of a distorted image: the same, or resized by the nearest pixel."""
        return (
            resized_labels(labels, self._size((labels.shape[1], labels.shape[0]))) if self.kind == "scale" else labels
        )


def _bytes(images: Tensor) -> Tensor:
    return images.mul(255).round().to(torch.uint8)


def error_levels(image: Tensor, *, quality: int = ELA_QUALITY, window: int = ELA_WINDOW) -> NDArray[np.float32]:
    """How much each pixel changes when the image is saved as JPEG once more (error level analysis, Krawetz 2007).

    Args:
        image: bytes (3, h, w).
        quality: of the JPEG file.
        window: odd side of the box that the differences are averaged over.

    Returns:
        float32 (h, w): the mean absolute difference of the channels, of 255. Editors leave less noise than a camera, so
        that a *low* level is the sign of an edit there.
    """
    again = jpeg_compression(to_unit(image)[None], Randomness(0), quality=quality)[0]
    levels = (again - to_unit(image)).abs().mean(0).mul(255)
    padded = functional.pad(levels[None, None], (window // 2,) * 4, mode="replicate")
    return functional.avg_pool2d(padded, window, 1)[0, 0].numpy()


#: Quantile of the residual levels of an image that stands for its smoothest part.
LOW = 0.05


def residual_levels(image: Tensor) -> NDArray[np.float32]:
    """How much of each pixel its four neighbours do not explain, smoothed: bytes (3, h, w) → float32 (h, w).

    A decoder writes smoothly and a sensor does not: low where something was edited. Nothing is trained.
    """
    kernel = torch.tensor([[0.0, 0.25, 0.0], [0.25, -1.0, 0.25], [0.0, 0.25, 0.0]]).expand(3, 1, 3, 3)
    padded = functional.pad(to_unit(image)[None], (1, 1, 1, 1), mode="reflect")
    levels = functional.conv2d(padded, kernel, groups=3).abs().mean(1, keepdim=True)
    half = ELA_WINDOW // 2
    smooth = functional.avg_pool2d(functional.pad(levels, (half,) * 4, mode="reflect"), ELA_WINDOW, 1)
    return smooth[0, 0].numpy()


def residual_score(image: Tensor) -> float:
    """Minus a low quantile of the residual levels: high where a part of the image is smooth."""
    return -float(np.quantile(residual_levels(image), LOW))

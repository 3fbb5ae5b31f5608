"""Images as numbers, and properties of single ones: light, contrast, sharpness, colour, clipping, noise and more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.in_float64 import lacks_float64

#: Smallest side of an image that is inspected, pixels.
SMALLEST_SIDE = 8

#: Weights of red, green and blue in luma (ITU-R BT.601).
LUMA_WEIGHTS = (0.299, 0.587, 0.114)


def eight_bits(images: Tensor) -> Tensor:
    """Check images and give them in eight bits: uint8 (n, 3, h, w); uint8 images come back as they are.

    >>> eight_bits(torch.full((1, 3, 8, 8), 0.5)).unique()
    tensor([128], dtype=torch.uint8)

    Args:
        images: uint8, or floating point in [0, 1], (n, 3, h, w) with sides of at least 8 pixels.

    Raises:
        InputError: another shape or type, or values outside the range.
    """
    refuse_other_than_images(images)
    if lacks_float64(images.device):  # what is computed of them needs it
        images = images.cpu()
    return images if images.dtype == torch.uint8 else (images.float() * 255).round().to(torch.uint8)


def refuse_other_than_images(images: Tensor) -> None:
    """Check images as :func:`eight_bits` does, without making any."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"expected images (n, 3, h, w), got {tuple(images.shape)}; repeat a grey channel three times")
    if min(images.shape[2:]) < SMALLEST_SIDE:
        size = f"{images.shape[2]} × {images.shape[3]}"
        raise InputError(f"images of {size} pixels are too small; each side needs at least {SMALLEST_SIDE}")
    if images.dtype == torch.uint8:
        return
    if not images.is_floating_point():
        raise InputError(f"expected images of type uint8 or floating point, got {images.dtype}; convert them first")
    # Written so that NaN fails too.
    if not bool(((images >= 0) & (images <= 1)).all()):
        raise InputError("images of floating point must lie in [0, 1] and be finite; divide 8-bit values by 255")


def unit_luma(images: Tensor) -> Tensor:
    """Luma of eight-bit images: uint8 (n, 3, h, w) → float64 (n, h, w) in [0, 1].

    >>> unit_luma(torch.full((1, 3, 8, 8), 51, dtype=torch.uint8)).unique().numpy().round(6)
    array([0.2])
    """
    red, green, blue = (weight / 255 * images[:, channel].double() for channel, weight in enumerate(LUMA_WEIGHTS))
    return (red + green + blue).clamp_(0, 1)


@lru_cache(maxsize=64)
def area_matrix(size: int, cells: int) -> Tensor:
    """Matrix that averages an axis over equal cells, shares of pixels included: float64 (cells, size), rows sum to 1.

    >>> area_matrix(3, 2)
    tensor([[0.6667, 0.3333, 0.0000],
            [0.0000, 0.3333, 0.6667]], dtype=torch.float64)
    """
    edges = torch.arange(cells + 1, dtype=torch.float64) * size / cells
    pixels = torch.arange(size, dtype=torch.float64)
    ends = torch.minimum(edges[1:, None], pixels + 1)
    covered = (ends - torch.maximum(edges[:-1, None], pixels)).clamp(min=0)
    return covered / covered.sum(1, keepdim=True)


def area_means(planes: Tensor, rows: int, columns: int) -> Tensor:
    """Means of planes over a grid of equal cells: floating point (…, h, w) → (…, rows, columns).

    >>> area_means(torch.arange(4.0).reshape(1, 2, 2), 1, 2)
    tensor([[[1., 2.]]])
    """
    above = area_matrix(planes.shape[-2], rows).to(planes)
    beside = area_matrix(planes.shape[-1], columns).to(planes)
    return above @ planes @ beside.T


def deviation(planes: Tensor) -> Tensor:
    """Standard deviation of each plane, over all its pixels: (n, h, w) → (n); no planes are allowed.

    >>> deviation(torch.tensor([[[0.0, 2.0]]]))
    tensor([1.])
    """
    return (planes - planes.mean((1, 2), keepdim=True)).square().mean((1, 2)).sqrt()


#: Luma up to 1/255 is clipped to black, from 254/255 on to white: compression moves clipped pixels by a step.
CLIPPED_STEPS = 1

#: Variance of the Laplacian of what rounding to eight bits leaves: 1/12 of a squared step, times 1 + 1 + 1 + 1 + 16.
ROUNDING = 20 / 12 / 255**2


@dataclass(frozen=True, eq=False)
class ImageProperties:
    """Properties of n images, float64 (n,) each. Luma is that of ITU-R BT.601, in [0, 1].

    Attributes:
        brightness: mean luma, in [0, 1].
        contrast: standard deviation of luma, in [0, 0.5].
        shadow: luma that 1 % of the pixels do not exceed, in [0, 1].
        highlight: luma that 99 % of the pixels do not exceed, in [0, 1].
        sharpness: fine over coarse detail, from 0 on: 0.5 to 1 in photographs, 2 for white noise, at most 0.25 where
            all is smooth (second differences fall to a quarter when the step is halved), 0 when constant. The part of
            rounding to eight bits is taken off.
            The standard deviation of the Laplacian over that of the same image at half size. Unlike the variance of the
            Laplacian (Pech-Pacheco et al. 2000) it changes neither with contrast nor with the amount of texture.
        saturation: mean of (largest − smallest channel) / largest channel, in [0, 1]; black pixels count 0.
        colourfulness: M³ of Hasler and Süsstrunk, "Measuring colourfulness in natural images" (2003), on [0, 1]: 0 is
            grey, 0.06 slightly, 0.23 quite, 0.43 extremely colourful (their values over 255).
        clipped_black: share of pixels with luma of at most 1/255, in [0, 1].
        clipped_white: share of pixels with luma of at least 254/255, in [0, 1].
        noise: standard deviation of noise in luma (Immerkær, "Fast noise variance estimation", 1996), from 0 on; fine
            texture counts as noise.
        entropy: of the histogram of luma in 256 steps, bits, in [0, 8].
    """

    brightness: NDArray[np.float64]
    contrast: NDArray[np.float64]
    shadow: NDArray[np.float64]
    highlight: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    saturation: NDArray[np.float64]
    colourfulness: NDArray[np.float64]
    clipped_black: NDArray[np.float64]
    clipped_white: NDArray[np.float64]
    noise: NDArray[np.float64]
    entropy: NDArray[np.float64]

    def __post_init__(self) -> None:
        shapes = {field.name: np.shape(getattr(self, field.name)) for field in fields(self)}
        if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
            raise InputError(f"each property needs one value per image, (n,); got {shapes}")

    def __len__(self) -> int:
        return len(self.brightness)

    def by_name(self) -> dict[str, NDArray[np.float64]]:
        """All properties by their names."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def select(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> ImageProperties:
        """Properties of some images, by positions or by a mask."""
        return ImageProperties(*(values[rows] for values in self.by_name().values()))

    @classmethod
    def joined(cls, parts: Sequence[ImageProperties]) -> ImageProperties:
        """Properties of several batches in one.

        Raises:
            InputError: no parts.
        """
        if not parts:
            raise InputError("joining properties needs at least one part, got none")
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def image_properties(images: Tensor) -> ImageProperties:
    """Measure a batch; how images are batched does not matter.

    >>> half = torch.full((1, 3, 8, 8), 51, dtype=torch.uint8)
    >>> half[..., 4:] = 255
    >>> found = image_properties(half)
    >>> round(float(found.brightness[0]), 6), round(float(found.contrast[0]), 6), float(found.entropy[0])
    (0.6, 0.4, 1.0)
    >>> float(found.clipped_white[0]), float(found.saturation[0])
    (0.5, 0.0)

    Args:
        images: uint8, or floating point in [0, 1] (rounded to eight bits), (n, 3, h, w), sides of 8 pixels or more.

    Raises:
        InputError: another shape or type, or values outside the range.
    """
    pixels = eight_bits(images)
    luma = unit_luma(pixels)
    histogram = _histogram(luma)
    running = histogram.cumsum(1)
    present = histogram.clamp(min=1e-300)
    measured = {
        "brightness": luma.mean((1, 2)),
        "contrast": deviation(luma),
        "shadow": (running < 0.01).sum(1) / 255,
        # A margin for sums of shares such as 0.99 that miss it in the last digit.
        "highlight": (running < 0.99 - 1e-12).sum(1) / 255,
        "sharpness": _sharpness(luma),
        "saturation": _saturation(pixels),
        "colourfulness": _colourfulness(pixels),
        "clipped_black": histogram[:, : CLIPPED_STEPS + 1].sum(1),
        "clipped_white": histogram[:, 255 - CLIPPED_STEPS :].sum(1),
        "noise": _noise(luma),
        "entropy": (-histogram * present.log2()).sum(1).clamp(min=0),
    }
    return ImageProperties(**{name: values.cpu().double().numpy() for name, values in measured.items()})


def _histogram(luma: Tensor) -> Tensor:
    """Shares of pixels in 256 steps of luma: (n, 256)."""
    steps = (luma * 255).round().long().flatten(1)
    offsets = 256 * torch.arange(len(steps), device=luma.device)[:, None]
    counts = torch.bincount((steps + offsets).flatten(), minlength=256 * len(steps))
    return counts.reshape(len(steps), 256).double() / max(steps.shape[1], 1)


def _sharpness(luma: Tensor) -> Tensor:
    height, width = luma.shape[1:]
    fine = deviation(_laplacian(luma)).square() - ROUNDING
    coarse = deviation(_laplacian(area_means(luma, height // 2, width // 2))).square() - ROUNDING / 4
    # Detail below that of rounding cannot be distinguished from it: a smooth image must not pass for a grainy one.
    return (fine.clamp(min=0) / coarse.clamp(min=ROUNDING / 4)).sqrt()


def _laplacian(luma: Tensor) -> Tensor:
    inner = luma[:, 1:-1, 1:-1]
    return luma[:, :-2, 1:-1] + luma[:, 2:, 1:-1] + luma[:, 1:-1, :-2] + luma[:, 1:-1, 2:] - 4 * inner


def _saturation(pixels: Tensor) -> Tensor:
    largest, smallest = pixels.amax(1).float(), pixels.amin(1).float()
    return ((largest - smallest) / largest.clamp(min=1)).double().mean((1, 2))


def _colourfulness(pixels: Tensor) -> Tensor:
    red, green, blue = (pixels[:, channel].double() / 255 for channel in range(3))
    axes = [red - green, (red + green) / 2 - blue]
    spread = torch.stack([deviation(axis) ** 2 for axis in axes]).sum(0).sqrt()
    middle = torch.stack([axis.mean((1, 2)) ** 2 for axis in axes]).sum(0).sqrt()
    return spread + 0.3 * middle


def _noise(luma: Tensor) -> Tensor:
    mask = torch.tensor([1.0, -2.0, 1.0], dtype=torch.float64, device=luma.device)
    response = F.conv2d(luma[:, None], (mask[:, None] * mask)[None, None]).abs().mean((1, 2, 3))
    return math.sqrt(math.pi / 2) / 6 * response

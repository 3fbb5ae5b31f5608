"""Changes of a batch's colours and sharpness, each example with its own draw: jitter of colours, and blur.

They are the operations of torchvision's ``ColorJitter`` (in one order: brightness, contrast, saturation, hue) and
``GaussianBlur``, for a whole batch at once.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training.transforms import BatchTransform

#: Shares of red, green and blue in a grey.
_LUMA = (0.2989, 0.587, 0.114)


def colour_jitter(
    brightness: float, contrast: float, saturation: float, hue: float, *, share: float = 1.0
) -> BatchTransform:
    """Change the colours of a share of the images: factors are uniform in 1 ± the value, the hue turns by up to ± hue.

    >>> jitter = colour_jitter(0.4, 0.4, 0.4, 0.1)
    >>> changed, _ = jitter(torch.full((2, 3, 4, 4), 0.5), torch.zeros(2), Randomness(0).bind(2))
    >>> bool((changed[0] != changed[1]).any())
    True

    Args:
        brightness: in [0, 1], as the next two.
        contrast: around the mean grey of the image.
        saturation: around the grey of each pixel.
        hue: turns of the colour circle, in [0, 0.5].
        share: of the images that are changed.

    Raises:
        InputError: a value out of range.
    """
    if not all(0 <= value <= 1 for value in (brightness, contrast, saturation, share)) or not 0 <= hue <= 0.5:
        raise InputError(
            f"colour jitter takes brightness, contrast, saturation and share in [0, 1] and hue in [0, 0.5]; got "
            f"{brightness}, {contrast}, {saturation}, {share} and {hue}"
        )

    def jitter(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        drawn = rng.uniform("jitter", (5,), like=images)
        chosen = (drawn[:, 4] < share).float()[:, None]
        ranges = torch.tensor([brightness, contrast, saturation, hue], device=images.device)
        offsets = (2 * drawn[:, :4] - 1) * ranges * chosen
        factors = (1 + offsets[:, :3])[..., None, None, None]
        changed = (images * factors[:, 0]).clamp(0, 1)
        changed = _towards(grey(changed).mean((1, 2, 3), keepdim=True), changed, factors[:, 1])
        changed = _towards(grey(changed), changed, factors[:, 2])
        return (turn_hue(changed, offsets[:, 3]) if hue else changed), targets

    return jitter


def random_blur(least: float, largest: float) -> BatchTransform:
    """Blur every image by a Gaussian whose standard deviation is uniform in [least, largest], in pixels.

    Raises:
        InputError: a deviation out of range.
    """
    if not 0 < least <= largest:
        raise InputError(f"a blur takes standard deviations 0 < least ≤ largest, in pixels; got {least}, {largest}")

    def blur(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        return gaussian_blur(images, rng.uniform("blur", (), least, largest, like=images)), targets

    return blur


def grey(images: Tensor) -> Tensor:
    """Luma of images (n, 3, h, w) → (n, 1, h, w)."""
    return (images * torch.tensor(_LUMA, device=images.device).view(3, 1, 1)).sum(1, keepdim=True)


def turn_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn the hue of images (n, 3, h, w) in [0, 1] by a part of the colour circle (n,); value and saturation stay.

    >>> turn_hue(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1), torch.tensor([1 / 3])).flatten().round().tolist()
    [0.0, 1.0, 0.0]
    """
    red, green, blue = images.unbind(1)
    value, lowest = images.amax(1), images.amin(1)
    spread = value - lowest
    safe = spread.clamp_min(1e-12)
    sixth = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = sixth + 6 * turns.to(images)[:, None, None]
    # Smith 1978: each channel falls from the value by the spread where its hue is far.
    channels = [
        value - spread * torch.minimum(k, 4 - k).clamp(0, 1) for k in ((hue + shift) % 6 for shift in (5.0, 3.0, 1.0))
    ]
    return torch.stack(channels, 1)


def gaussian_blur(images: Tensor, deviations: Tensor) -> Tensor:
    """Blur images (n, c, h, w), each with its own standard deviation (n,), pixels; edges are mirrored."""
    count, channels, height, width = images.shape
    radius = min(math.ceil(3 * float(deviations.max())), min(height, width) - 1) if count else 0
    if not radius:
        return images
    at = torch.arange(-radius, radius + 1, device=images.device)
    spread = deviations.to(images)[:, None]
    # Each kernel ends at its own three deviations: an image's blur does not depend on the others of its batch.
    weights = torch.exp(-0.5 * (at / spread) ** 2) * (at.abs() <= (3 * spread).ceil())
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    padded = F.pad(images, (radius,) * 4, mode="reflect").reshape(1, count * channels, height + 2 * radius, -1)
    rows = F.conv2d(padded, weights[:, None, None, :], groups=count * channels)
    return F.conv2d(rows, weights[:, None, :, None], groups=count * channels).view(images.shape)


def _towards(grey_level: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Blend with a grey: factor 1 leaves the image, 0 gives the grey, more exaggerates; clipped to [0, 1]."""
    return (grey_level + (images - grey_level) * factor).clamp(0, 1)

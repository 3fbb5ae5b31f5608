"""Where an image is unlike its surroundings, and mixing by pasting what is there.

Saliency: the spectral residual of Hou and Zhang, "Saliency detection: A spectral residual approach", CVPR 2007: what
the logarithm of the amplitude spectrum has beyond its own local mean, back in the image. Mixing: Uddin, Monira, Shin,
Chung and Bae, "SaliencyMix: A saliency guided data augmentation strategy for better regularization", ICLR 2021, arXiv
2006.01791, section 3.2: the box of CutMix, around the most salient pixel of the image that it is taken from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.training.mixing import boxes_around, check_share, mixed_targets, partners, paste
from snellen.training.transforms import BatchTransform

#: Longest side at which saliency is computed, and the deviation of its smoothing at that side, pixels.
LONGEST_SIDE, SMOOTHING = 64, 2.5

#: Amplitudes below this share of the mean count as this share.
FAINT = 1e-3


def spectral_residual(images: Tensor) -> Tensor:
    """Saliency of each pixel: images (n, c, h, w) → (n, h, w), at least 0, with a maximum of 1.

    An image without structure is salient nowhere more than elsewhere: 1 everywhere.

    >>> image = torch.zeros(1, 3, 32, 32)
    >>> image[:, :, 20:24, 6:10] = 1.0
    >>> place = int(spectral_residual(image).argmax())
    >>> 18 <= place // 32 <= 25 and 4 <= place % 32 <= 11
    True
    """
    height, width = images.shape[2:]
    grey = images.float().mean(1, keepdim=True)
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    if scale < 1:
        small = (max(1, round(height * scale)), max(1, round(width * scale)))
        grey = F.interpolate(grey, size=small, mode="bilinear", align_corners=False, antialias=True)
    spectrum = torch.fft.fft2(grey)
    # A drawn shape has frequencies of amplitude 0, whose logarithms would outweigh all others.
    amplitude = spectrum.abs()
    logarithm = amplitude.clamp_min(FAINT * amplitude.mean((2, 3), keepdim=True) + 1e-12).log()
    # The spectrum is periodic, so is its local mean.
    residual = logarithm - F.avg_pool2d(F.pad(logarithm, (1, 1, 1, 1), mode="circular"), 3, stride=1)
    back = torch.fft.ifft2(torch.polar(residual.exp(), spectrum.angle())).abs().square()
    saliency = _smoothed(back, SMOOTHING * max(grey.shape[2:]) / LONGEST_SIDE)
    flat = grey.amax((2, 3), keepdim=True) - grey.amin((2, 3), keepdim=True) < 1e-6
    saliency = torch.where(flat, torch.ones_like(saliency), saliency)
    if scale < 1:
        saliency = F.interpolate(saliency, size=(height, width), mode="bilinear", align_corners=False)
    return (saliency / saliency.amax((2, 3), keepdim=True))[:, 0]


def _smoothed(planes: Tensor, deviation: float) -> Tensor:
    """Gaussian smoothing of (n, 1, h, w); outside, the border goes on."""
    radius = max(1, round(3 * deviation))
    offsets = torch.arange(-radius, radius + 1, device=planes.device, dtype=planes.dtype)
    kernel = torch.exp(-0.5 * (offsets / max(deviation, 1e-3)) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(planes, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))


def salient_pixels(images: Tensor) -> Tensor:
    """Row and column of the most salient pixel of each image: int64 (n, 2); the middle, where none stands out."""
    saliency = spectral_residual(images)
    height, width = saliency.shape[1:]
    place = saliency.flatten(1).argmax(1)
    even = saliency.flatten(1).amin(1) == 1
    found = torch.stack([place // width, place % width], 1)
    return torch.where(even[:, None], torch.tensor([height // 2, width // 2], device=images.device), found)


def saliency_mix(class_count: int, alpha: float = 1.0, probability: float = 1.0) -> BatchTransform:
    """The most salient part of a partner pasted into each image, at the same place; labels follow the area.

    Each image draws its own share and has its own box; the published code has one for a whole batch, from the saliency
    of one image.

    >>> rng = Randomness(0).for_examples(["a", "b"])
    >>> images, targets = saliency_mix(2)(torch.rand(2, 3, 16, 16), torch.arange(2), rng)
    >>> targets.sum(1).tolist()
    [1.0, 1.0]

    Args:
        class_count: k; targets become probabilities (n, k).
        alpha: of the Beta distribution of the share that is kept, above 0.
        probability: of mixing an image at all, in [0, 1].
    """
    check_share(alpha, probability)

    def mix(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        partner = partners(rng).to(images.device)
        kept = rng.beta("share", alpha, alpha, like=images)
        mixes = rng.uniform("mixes", (), like=images) < probability
        boxes = boxes_around(salient_pixels(images)[partner], torch.where(mixes, kept, torch.ones_like(kept)), images)
        share = 1 - boxes.flatten(1).mean(1)
        return paste(images, images[partner], boxes), mixed_targets(targets, partner, share, class_count)

    return mix

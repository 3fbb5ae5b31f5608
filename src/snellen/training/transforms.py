"""Changes of training batches: (images (n, 3, h, w), targets, rng) → (images, targets), one draw for each example."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import import_extra
from snellen.core.randomness import Randomness

BatchTransform = Callable[[Tensor, Tensor, Randomness], tuple[Tensor, Tensor]]


def random_flips(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
    """Mirror half of the images, left to right."""
    mirrored = rng.uniform("flip", (1, 1, 1), like=images) < 0.5
    return torch.where(mirrored, images.flip(3), images), targets


def random_shifts(pixels: int) -> BatchTransform:
    """Move every image by up to ``pixels`` in each direction; what comes in from outside is black.

    >>> rng = Randomness(0).for_examples(["a"])
    >>> moved, _ = random_shifts(1)(torch.ones(1, 3, 4, 4), torch.zeros(1), rng)
    >>> int(moved.sum()) in {3 * 9, 3 * 12, 3 * 16}
    True
    """

    def shift(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        count, channels, height, width = images.shape
        offsets = rng.integers("shift", (2,), 0, 2 * pixels + 1, like=images)
        rows = offsets[:, :1] + torch.arange(height, device=images.device)
        columns = offsets[:, 1:] + torch.arange(width, device=images.device)
        padded = F.pad(images, (pixels,) * 4)
        which = torch.arange(count, device=images.device)[:, None, None, None]
        channel = torch.arange(channels, device=images.device)[None, :, None, None]
        return padded[which, channel, rows[:, None, :, None], columns[:, None, None, :]], targets

    return shift


def rand_augment(operations: int = 2, magnitude: int = 9) -> BatchTransform:
    """RandAugment (Cubuk et al. 2020, arXiv 1909.13719) as torchvision has it: ``operations`` of 14 at one magnitude.

    Each image draws its own, from its own seed.

    Raises:
        MissingExtraError: torchvision is not installed.
    """
    transforms = import_extra("torchvision.transforms.v2", "models", "RandAugment")
    return _each_alone(transforms.RandAugment(num_ops=operations, magnitude=magnitude), "rand augment")


def aug_mix(*, severity: int = 3, width: int = 3) -> BatchTransform:
    """AugMix (Hendrycks et al. 2020, arXiv 1912.02781) as torchvision has it: a mixture of chains of 1 to 3 operations.

    Operations that resemble the corruptions of ImageNet-C are left out, as published. Each image draws its own.

    Raises:
        MissingExtraError: torchvision is not installed.
    """
    transforms = import_extra("torchvision.transforms.v2", "models", "AugMix")
    return _each_alone(transforms.AugMix(severity=severity, mixture_width=width, all_ops=False), "augmix")


def _each_alone(augment: Callable[[Tensor], Tensor], stream: str) -> BatchTransform:
    """Apply a transform of torchvision to each image as bytes, under a seed of its own."""

    def apply(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        seeds = rng.integers(stream, (), 0, 2**62).tolist()
        pixels = (images * 255).round().to(torch.uint8)
        changed = []
        with torch.random.fork_rng(devices=[]):
            for image, seed in zip(pixels, seeds, strict=True):
                torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed every GPU too
                changed.append(augment(image))
        return torch.stack(changed).to(images.dtype) / 255, targets

    return apply


def in_sequence(*transforms: BatchTransform) -> BatchTransform:
    """Apply transforms one after the other, each with its own randomness."""

    def apply(images: Tensor, targets: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        for position, transform in enumerate(transforms):
            images, targets = transform(images, targets, rng.child("transform", position))
        return images, targets

    return apply

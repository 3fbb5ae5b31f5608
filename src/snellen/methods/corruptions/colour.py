"""Brightness, contrast and saturation of ImageNet-C (arXiv 1903.12261, appendix B).

The published code goes to HSV and back; here the same is done in closed form on red, green and blue. Strengths are
numbers, or tensors (n, 1, 1, 1) with one for each image. Images are (n, 3, h, w) in [0, 1].
"""

from __future__ import annotations

from torch import Tensor

from snellen.core.randomness import Randomness

#: Values up to this are black, which has neither hue nor saturation.
_BLACK = 1e-12


def brightness(images: Tensor, rng: Randomness, *, amount: float | Tensor) -> Tensor:
    """Add to the value channel of HSV, hue and saturation kept.

    Scaling RGB by new value / old value is that; black has no hue and turns grey.
    """
    value = images.amax(1, keepdim=True)
    black = (value <= _BLACK).to(images.dtype)
    # Black counts as white of value 0, so that one product serves all.
    gain = (value + amount).clamp_(0, 1).div_(value + black)
    return (images + black).mul_(gain).clamp_(0, 1)


def contrast(images: Tensor, rng: Randomness, *, factor: float | Tensor) -> Tensor:
    """Scale the distance to each channel's mean over the image."""
    mean = images.mean((2, 3), keepdim=True)
    return (images * factor).add_(mean * (1 - factor)).clamp_(0, 1)


def saturate(images: Tensor, rng: Randomness, *, factor: float | Tensor, offset: float | Tensor) -> Tensor:
    """Change HSV saturation s to s · factor + offset, clipped to [0, 1]; hue and value kept.

    Grey has no hue; as published it counts as red, which shows where ``offset`` > 0.

    >>> import torch
    >>> pixel = torch.tensor([0.8, 0.6, 0.4]).view(1, 3, 1, 1)
    >>> saturate(pixel, Randomness(0), factor=2.0, offset=0.0).flatten()
    tensor([0.8000, 0.4000, 0.0000])
    """
    value = images.amax(1, keepdim=True)
    chroma = value - images.amin(1, keepdim=True)
    saturation = chroma / value.clamp(min=_BLACK)
    changed_chroma = saturation.mul_(factor).add_(offset).clamp_(0, 1).mul_(value)
    grey = chroma == 0
    # Hue is kept where the distances of the channels to the value keep their ratios.
    gain = changed_chroma / chroma.masked_fill_(grey, 1.0)
    changed = (images - value).mul_(gain).add_(value)
    changed[:, 1:] -= changed_chroma.masked_fill_(~grey, 0.0)
    return changed.clamp_(0, 1)

"""SmoothGrad: the mean gradient over noisy copies of the image.

Smilkov, Thorat, Kim, Viégas and Wattenberg, "SmoothGrad: removing noise by adding noise", 2017, arXiv 1706.03825.
Noisy copies are cut to [0, 1], because a classifier takes nothing else; the published code does not cut them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.attribution.attributed import Attributed
from snellen.attribution.gradients import gradients_at
from snellen.attribution.score import TargetScore
from snellen.errors import InputError
from snellen.randomness import Randomness


def smooth_grad(
    score: TargetScore, images: Tensor, *, rng: Randomness, sigma: float = 0.15, samples: int = 32
) -> Attributed:
    """Mean gradients of prepared images under noise: maps (n, 3, h, w), signed; no completeness is promised.

    Args:
        score: the explained score, of all n images.
        images: (n, 3, h, w) in [0, 1].
        rng: bound to the images, or not bound.
        sigma: standard deviation of the noise, in [0, 1] pixel units; the paper advises 0.1 to 0.2.
        samples: noisy copies of each image.

    Raises:
        UnsupportedError: the classifier gives no gradients.
        InputError: no samples, or no noise.
    """
    if samples < 1 or not 0 < sigma < float("inf"):
        raise InputError(f"noise needs sigma above 0 and at least one sample; got sigma={sigma}, samples={samples}")
    bound = rng.bind(len(images))
    total = torch.zeros_like(images)
    with score.classifier.counting() as spent:
        value = score.of_images(images)
        for group in torch.arange(len(images)).split(max(score.chunk // samples, 1)):
            if not len(group):
                continue
            noise = bound[group].normal("noise", (samples, *images.shape[1:]), like=images)
            noisy = (images[group][:, None] + sigma * noise).clamp(0, 1).flatten(0, 1)
            rows = group.repeat_interleave(samples)
            for some, of in zip(noisy.split(score.chunk), rows.split(score.chunk), strict=True):
                _, slopes = gradients_at(score, some, of)
                total.index_add_(0, of.to(images.device), slopes)
    return Attributed.of(total / samples, value, spent=spent())

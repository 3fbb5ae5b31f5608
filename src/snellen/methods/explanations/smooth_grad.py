"""SmoothGrad: the mean gradient over noisy copies of the image.

Smilkov, Thorat, Kim, Viégas and Wattenberg, "SmoothGrad: removing noise by adding noise", 2017, arXiv 1706.03825.
Noisy copies are cut to [0, 1], because a classifier takes nothing else; the published code does not cut them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.method import Need
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import Attributed
from snellen.methods.explanations.by_map import MapExplanation
from snellen.methods.explanations.gradient import gradients_at, magnitude
from snellen.methods.explanations.score import Explained, TargetScore


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


class SmoothGrad(MapExplanation):
    """The mean gradient of noisy copies of the image: less speckled than one gradient, no more complete.

    >>> import torch
    >>> from torch import nn
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)), class_names=["a", "b"])
    >>> SmoothGrad(samples=4).explain(classifier, torch.rand(2, 3, 4, 4), torch.tensor([0, 1])).maps["evidence"].shape
    torch.Size([2, 4, 4])
    """

    name: ClassVar[str] = "smooth_grad"
    needs: ClassVar[frozenset[Need]] = frozenset({"scores", "gradients"})

    of: Explained = Field("score", description="what is explained: the classifier's score, or its probability")
    sigma: float = Field(
        0.15, gt=0, allow_inf_nan=False, description="standard deviation of the noise, in [0, 1] pixel units"
    )
    samples: int = Field(32, ge=1, description="noisy copies of each image")
    signed: bool = Field(False, description="sum the channels with their signs, in place of the largest magnitude")

    def attribute(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Attributed:
        """``samples`` gradients an image; see :meth:`MapExplanation.attribute`."""
        found = smooth_grad(
            self._score(classifier, targets), images, rng=rng or Randomness(0), sigma=self.sigma, samples=self.samples
        )
        return found if self.signed else replace(found, maps=magnitude(found.maps))

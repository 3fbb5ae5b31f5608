"""SmoothGrad (Smilkov et al. 2017, arXiv 1706.03825), the largest magnitude of the channels."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from snellen.attribution.attributed import Attributed
from snellen.attribution.gradients import magnitude
from snellen.attribution.score import Explained
from snellen.attribution.smooth_grad import smooth_grad
from snellen.classifier import Classifier
from snellen.explanations.by_map import MapExplanation
from snellen.method import Need
from snellen.randomness import Randomness


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

"""Occlusion by a moving window (Zeiler and Fergus, ECCV 2014, arXiv 1311.2901, section 4.2)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from snellen.attribution.attributed import Attributed
from snellen.attribution.filling import FillName, filling
from snellen.attribution.occlusion import occlusion
from snellen.classifier import Classifier
from snellen.explanations.by_map import MapExplanation
from snellen.randomness import Randomness


class Occlusion(MapExplanation):
    """How much of the score is lost when a window is covered; any classifier that gives scores will do.

    What two places show alike is not lost when one of them is covered, and then neither counts.

    >>> import torch
    >>> from torch import nn
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)), class_names=["a", "b"])
    >>> Occlusion().explain(classifier, torch.rand(2, 3, 4, 4), torch.tensor([0, 1])).maps["evidence"].shape
    torch.Size([2, 4, 4])
    """

    name: ClassVar[str] = "occlusion"

    fill: FillName = Field("grey", description="what covers the window")
    window: float = Field(0.2, gt=0, le=1, description="side of the window, as a share of the image's shorter edge")
    overlap: float = Field(0.5, ge=0, lt=1, description="how far the next window lies on the last, as a share of it")

    def attribute(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Attributed:
        """One query for each place of the window; see :meth:`MapExplanation.attribute`."""
        window = max(round(self.window * min(images.shape[2:])), 1)
        stride = max(round(window * (1 - self.overlap)), 1)
        score = self._score(classifier, targets)
        return occlusion(score, images, filling(self.fill, images), window=window, stride=stride)

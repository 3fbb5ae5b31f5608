"""Integrated gradients (Sundararajan, Taly and Yan, ICML 2017, arXiv 1703.01365), channels summed."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.attribution.attributed import Attributed
from snellen.attribution.filling import FillName, filling
from snellen.attribution.integrated_gradients import Rule, integrated_gradients
from snellen.attribution.score import Explained
from snellen.classifier import Classifier
from snellen.explanations.by_map import MapExplanation
from snellen.method import Need
from snellen.randomness import Randomness


class IntegratedGradients(MapExplanation):
    """Contributions of pixels on the straight way from a baseline: they add up to the change of the score.

    A pixel that looks like the baseline gets nothing, however much it matters.

    >>> from torch import nn
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)), class_names=["a", "b"])
    >>> explained = IntegratedGradients().explain(classifier, torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))
    >>> bool((explained.figures["completeness_gap"] < 1e-5).all())
    True
    """

    name: ClassVar[str] = "integrated_gradients"
    needs: ClassVar[frozenset[Need]] = frozenset({"scores", "gradients"})

    of: Explained = Field("score", description="what is explained: the classifier's score, or its probability")
    steps: int = Field(50, ge=1, description="points on the way from the baseline to the image")
    rule: Rule = Field("gauss-legendre", description="where these points lie")
    baseline: FillName = Field("black", description="where the way begins: the image with all of it filled like this")

    def attribute(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Attributed:
        """``steps`` gradients an image; see :meth:`MapExplanation.attribute`."""
        nothing = torch.zeros(len(images), *images.shape[2:], dtype=torch.bool)
        baseline = filling(self.baseline, images)(torch.arange(len(images)), nothing)
        score = self._score(classifier, targets)
        return integrated_gradients(score, images, baseline=baseline, steps=self.steps, rule=self.rule)

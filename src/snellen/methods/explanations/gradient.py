"""Gradients of the score at the pixels, as a map.

Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", ICLR 2014 workshop, arXiv 1312.6034, section 3.1:
the largest |gradient| over the channels of each pixel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.method import Need
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import Attributed
from snellen.methods.explanations.by_map import MapExplanation
from snellen.methods.explanations.gradients import gradient, magnitude
from snellen.methods.explanations.score import Explained


class Gradient(MapExplanation):
    """How steeply the score changes with each pixel: where a small change matters, not what the decision rests on.

    >>> import torch
    >>> from torch import nn
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)), class_names=["a", "b"])
    >>> Gradient().explain(classifier, torch.rand(2, 3, 4, 4), torch.tensor([0, 1])).maps["evidence"].shape
    torch.Size([2, 4, 4])
    """

    name: ClassVar[str] = "gradient"
    needs: ClassVar[frozenset[Need]] = frozenset({"scores", "gradients"})

    of: Explained = Field("score", description="what is explained: the classifier's score, or its probability")
    signed: bool = Field(False, description="sum the channels with their signs, in place of the largest magnitude")

    def attribute(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Attributed:
        """One gradient an image; see :meth:`MapExplanation.attribute`."""
        found = gradient(self._score(classifier, targets), images)
        return found if self.signed else replace(found, maps=magnitude(found.maps))

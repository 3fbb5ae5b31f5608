"""Gradients of the score at the pixels, as a map.

Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", ICLR 2014 workshop, arXiv 1312.6034, section 3.1:
the largest |gradient| over the channels of each pixel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import UnsupportedError
from snellen.core.method import Need
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import Attributed
from snellen.methods.explanations.by_map import MapExplanation
from snellen.methods.explanations.score import Explained, TargetScore


def gradients_at(score: TargetScore, candidates: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and their gradients in one pass: candidates (m, 3, h, w) → float32 (m,) and (m, 3, h, w).

    The caller cuts candidates into chunks. Where the score does not depend on an image, its gradient is zero.

    Raises:
        UnsupportedError: the classifier gives no gradients.
    """
    if not score.classifier.differentiable:
        raise UnsupportedError(
            f"{score.classifier.name} gives no gradients; occlusion, RISE and Partition SHAP need none"
        )
    with torch.enable_grad():
        leaves = candidates.detach().requires_grad_()
        values = score(leaves, rows)
        (gradients,) = torch.autograd.grad(values.sum(), leaves)
    return values.detach(), gradients


def gradient(score: TargetScore, images: Tensor) -> Attributed:
    """The gradient at each image: maps (n, 3, h, w), signed, in score units per unit of brightness.

    It shows how the score changes for a small change, and promises no completeness.

    Raises:
        UnsupportedError: the classifier gives no gradients.
    """
    values, maps = [torch.zeros(0)], [images.new_zeros(0, *images.shape[1:])]
    with score.classifier.counting() as spent:
        for rows in torch.arange(len(images)).split(score.chunk):
            if len(rows):
                value, slope = gradients_at(score, images[rows], rows)
                values.append(value.cpu())
                maps.append(slope)
    return Attributed.of(torch.cat(maps), torch.cat(values).double(), spent=spent())


def magnitude(maps: Tensor) -> Tensor:
    """How steep at each pixel, without sign: the largest |gradient| of its channels, (n, 3, h, w) → (n, h, w)."""
    return maps.abs().amax(1)


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

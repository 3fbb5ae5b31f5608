"""Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391)."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from snellen.attribution.attributed import Attributed
from snellen.attribution.grad_cam import grad_cam
from snellen.attribution.score import Explained
from snellen.classifier import Classifier
from snellen.explanations.by_map import MapExplanation
from snellen.method import Need
from snellen.randomness import Randomness


class GradCAM(MapExplanation):
    """The channels of a late layer, weighted by the mean gradient of the score: coarse, cheap, of one class.

    >>> import torch
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    >>> classifier = Classifier(model, class_names=["a", "b"])
    >>> GradCAM().explain(classifier, torch.rand(2, 3, 4, 4), torch.tensor([0, 1])).maps["evidence"].shape
    torch.Size([2, 4, 4])
    """

    name: ClassVar[str] = "grad_cam"
    needs: ClassVar[frozenset[Need]] = frozenset({"scores", "gradients", "layers"})

    of: Explained = Field("score", description="what is explained: the classifier's score, or its probability")
    layer: str | None = Field(
        None, description="layer whose output is a map, or tokens of a square of patches; by default the last map"
    )
    positive: bool = Field(True, description="keep evidence for the class alone, as the paper does")

    def attribute(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Attributed:
        """One gradient an image, down to the layer; see :meth:`MapExplanation.attribute`."""
        return grad_cam(
            classifier, images, targets, layer=self.layer, of=self.of, positive=self.positive, chunk=self.chunk
        )

"""Partition SHAP over the blocks of an image: Owen values, where the score changes most first.

Lundberg's PartitionExplainer and Image masker in ``shap`` (MIT); see :mod:`snellen.attribution.partition_shap`.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from snellen.attribution.attributed import Attributed
from snellen.attribution.filling import FillName, filling
from snellen.attribution.partition_shap import partition_shap
from snellen.classifier import Classifier
from snellen.explanations.by_map import MapExplanation
from snellen.randomness import Randomness


class PartitionSHAP(MapExplanation):
    """Contributions of blocks to the score, halved where they matter: they add up at any budget.

    Any classifier that gives scores will do. What is not halved within the budget has one value throughout.

    >>> import torch
    >>> from torch import nn
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)), class_names=["a", "b"])
    >>> explained = PartitionSHAP(budget=40).explain(classifier, torch.rand(2, 3, 4, 4), torch.tensor([0, 1]))
    >>> bool((explained.figures["completeness_gap"] < 1e-9).all())
    True
    """

    name: ClassVar[str] = "partition_shap"

    fill: FillName = Field("blur", description="what shows where a block is masked; telea: inpainted from its edge")
    budget: int = Field(500, ge=2, description="evaluations for each image, the whole and the masked one included")
    smallest: int = Field(1, ge=1, description="edges of this length and less are not halved, pixels")

    def attribute(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Attributed:
        """``budget`` queries an image, and some in advance; see :meth:`MapExplanation.attribute`."""
        score, filled = self._score(classifier, targets), filling(self.fill, images)
        return partition_shap(score, images, filled, budget=self.budget, smallest=self.smallest)

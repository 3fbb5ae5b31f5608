"""RISE (Petsiuk, Das and Saenko, BMVC 2018, arXiv 1806.07421)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from snellen.attribution.attributed import Attributed
from snellen.attribution.filling import filling
from snellen.attribution.rise import rise
from snellen.classifier import Classifier
from snellen.explanations.by_map import MapExplanation
from snellen.randomness import Randomness


class RISE(MapExplanation):
    """The mean of random masks, weighted by the score of what each lets through; for any classifier with scores.

    The map is a score to be expected, not a contribution: it is positive throughout, and only differences within it
    mean something.

    >>> import torch
    >>> from torch import nn
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2)), class_names=["a", "b"])
    >>> RISE(masks=20).explain(classifier, torch.rand(2, 3, 4, 4), torch.tensor([0, 1])).maps["evidence"].shape
    torch.Size([2, 4, 4])
    """

    name: ClassVar[str] = "rise"

    #: Inpainting takes hard edges, and these masks have none.
    fill: Literal["black", "grey", "mean", "blur"] = Field("black", description="what shows where a mask is closed")
    masks: int = Field(1000, ge=1, description="random masks of each image; the paper takes 4,000 to 8,000")
    cells: int = Field(7, ge=1, description="cells of a mask along each edge, before it is enlarged")
    keep: float = Field(0.5, gt=0, lt=1, description="probability that a cell lets through")

    def attribute(
        self, classifier: Classifier, images: Tensor, targets: Tensor, *, rng: Randomness | None = None
    ) -> Attributed:
        """``masks`` queries an image; see :meth:`MapExplanation.attribute`."""
        return rise(
            self._score(classifier, targets),
            images,
            filling(self.fill, images),
            rng=rng or Randomness(0),
            masks=self.masks,
            cells=self.cells,
            keep=self.keep,
        )

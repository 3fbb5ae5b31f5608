"""Occlusion: how much of the score is lost when a window of the image is covered, for every place of the window.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, arXiv 1311.2901, section 4.2.
"""

from __future__ import annotations

import itertools
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.attributed import Attributed
from snellen.methods.explanations.by_map import MapExplanation
from snellen.methods.explanations.filling import Filling, FillName, filling
from snellen.methods.explanations.score import TargetScore


def occlusion(score: TargetScore, images: Tensor, filled: Filling, *, window: int, stride: int) -> Attributed:
    """Losses of score under a moving window: maps (n, h, w), each pixel the mean over the windows that cover it.

    Only scores are used, and no completeness is promised. At the right and lower edge windows are cut off.

    Args:
        score: the explained score, of all n images.
        images: (n, 3, h, w) in [0, 1].
        filled: what covers, bound to the images.
        window: side of the window, pixels.
        stride: step from one window to the next, at most the window, so that every pixel is covered.

    Raises:
        InputError: a window or stride that leaves pixels uncovered.
    """
    if not 1 <= stride <= window:
        raise InputError(f"a window moves by at least 1 pixel and at most its side; got {window=}, {stride=}")
    height, width = images.shape[-2:]
    corners = list(itertools.product(_starts(height, window, stride), _starts(width, window, stride)))
    covered = torch.zeros(len(corners), height, width, dtype=torch.bool)
    for mask, (top, left) in zip(covered, corners, strict=True):
        mask[top : top + window, left : left + window] = True
    lost = torch.zeros(len(images), len(corners), dtype=torch.float64)
    with score.classifier.counting() as spent, torch.no_grad():
        value = score.of_images(images)
        for pair in torch.arange(lost.numel()).split(score.chunk):
            if len(pair):
                rows, place = pair // len(corners), pair % len(corners)
                lost.view(-1)[pair] = value[rows] - score.values(filled(rows, ~covered[place]), rows)
    maps = torch.einsum("np,pyx->nyx", lost, covered.double()) / covered.sum(0)
    scores = torch.cat([value[:, None], value[:, None] - lost], 1)
    extremes = (scores.amin(1), scores.amax(1))
    return Attributed.of(maps.float().to(images.device), value, spent=spent(), extremes=extremes)


def _starts(length: int, window: int, stride: int) -> range:
    """Where windows begin along one edge: the last is the first that reaches the end."""
    return range(0, max(length - window, 0) + stride, stride)


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

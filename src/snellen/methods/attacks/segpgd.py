"""SegPGD: projected gradient descent on a model that decides each pixel, with weights by what is wrong already.

J. Gu, H. Zhao, V. Tresp and P. Torr, "SegPGD: An Effective and Efficient Adversarial Attack for Evaluating and
Boosting Segmentation Robustness", ECCV 2022, arXiv 2207.12391, eq. 4 and 5: pixels that are still right weigh 1 − λ,
wrong ones λ, and λ rises from 0 to ½ over the steps, so that the attack ends as PGD.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from snellen.core.errors import InputError
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.pixel_search import by_decision


class SegPGD(PGD):
    """PGD whose loss counts pixels by whether they are right; classifiers, which decide once, are refused.

    >>> import torch
    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> segmenter = Classifier(nn.Conv2d(3, 2, 3, padding=1), class_names=["sky", "ground"], task="segment")
    >>> images, labels = torch.rand(2, 3, 8, 8), torch.zeros(2, 8, 8, dtype=torch.int64)
    >>> attacked = SegPGD(steps=5).attack(segmenter, images, labels)
    >>> bool((attacked.distance <= 8 / 255 + 1e-6).all())
    True
    """

    name: ClassVar[str] = "segpgd"
    #: The starts are those of PGD: attacks are compared from the same points.
    _stream: ClassVar[str | None] = "pgd"

    takes_classifiers: ClassVar[bool] = False

    def _weigh(self, scores: Tensor, labels: Tensor, done: float, targeted: bool) -> Tensor:
        if labels.is_floating_point():
            raise InputError("segpgd weighs pixels by their class, and this model gives values; use pgd or cospgd")
        return by_decision(scores, labels, done, targeted)

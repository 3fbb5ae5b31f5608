"""CosPGD: projected gradient descent on a model that decides each pixel, with weights by how well each agrees.

S. Agnihotri, S. Jung and M. Keuper, "CosPGD: an efficient white-box adversarial attack for pixel-wise prediction
tasks", ICML 2024, arXiv 2302.02213, eq. 4 to 7: the loss of each pixel is multiplied by the cosine between
softmax(prediction) and the label before the mean is taken. The weights must meet a map of losses: a mean loss times any
weight has the sign of PGD's gradient.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from snellen.core.errors import InputError
from snellen.methods.attacks.pgd import PGD
from snellen.methods.attacks.pixel_search import by_alignment


class CosPGD(PGD):
    """PGD whose loss counts pixels by their agreement with the label; classifiers, which decide once, are refused.

    Maps of one channel are refused too: softmax over one channel is 1, and every weight would be the same.

    >>> import torch
    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> restorer = Classifier(nn.Conv2d(3, 3, 3, padding=1), class_names=["red", "green", "blue"], task="score")
    >>> blurred, sharp = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    >>> attacked = CosPGD(steps=5).attack(restorer, blurred, sharp)
    >>> bool((attacked.distance <= 8 / 255 + 1e-6).all())
    True
    """

    name: ClassVar[str] = "cospgd"
    #: The starts are those of PGD: attacks are compared from the same points.
    _stream: ClassVar[str | None] = "pgd"

    takes_classifiers: ClassVar[bool] = False

    def _weigh(self, scores: Tensor, labels: Tensor, done: float, targeted: bool) -> Tensor:
        if scores.shape[1] == 1:
            raise InputError(
                "cospgd weighs pixels by a softmax over their channels, and this model gives one channel; use pgd"
            )
        return by_alignment(scores, labels, done, targeted)

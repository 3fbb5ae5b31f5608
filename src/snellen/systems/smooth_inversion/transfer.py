"""What a change of one image does to others: how often the bare classifier then names the target."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import regularised_incomplete_beta
from snellen.metrics.intervals import Interval, clopper_pearson

#: Images in one pass.
CHUNK = 1000


@dataclass(frozen=True)
class Transfer:
    """How many images a change sends to a target.

    Attributes:
        sent: images that the classifier takes for the target with the change.
        already: those of them that it takes for the target without it too.
        counted: images of other classes than the target.
    """

    sent: int
    already: int
    counted: int

    @property
    def rate(self) -> float:
        """Share of the images that are sent; 0 where none was counted."""
        return self.sent / self.counted if self.counted else 0.0

    def interval(self, confidence: float = 0.95) -> Interval:
        """Clopper and Pearson's interval of the share, over the draw of the images."""
        return clopper_pearson(self.sent, self.counted, confidence)

    def p_value(self, tolerated: float) -> float:
        """How likely so many are sent by a change that sends a share of ``tolerated``: exact binomial test.

        >>> Transfer(sent=2, already=0, counted=2).p_value(0.3)
        0.09
        """
        if not self.sent:
            return 1.0
        return float(regularised_incomplete_beta(tolerated, self.sent, self.counted - self.sent + 1))

    def harm(self, confidence: float) -> float:
        """One-sided lower bound of the share of the images that are sent and would not be without the change."""
        return clopper_pearson(self.sent - self.already, self.counted, 2 * confidence - 1).low


def decisions(classifier: Classifier, images: Tensor, changes: Tensor) -> Tensor:
    """The bare classifier's decision on every image with every change.

    Args:
        classifier: without noise.
        images: (n, 3, h, w) in [0, 1].
        changes: (b, 3, h, w), added and cut to [0, 1].

    Returns:
        int64 (b, n), on the CPU.
    """
    if not len(images) or not len(changes):
        return torch.zeros(len(changes), len(images), dtype=torch.int64)
    rows = []
    with torch.inference_mode():
        for change in changes:
            parts = [classifier.predict(classifier((part + change).clamp(0, 1))).cpu() for part in images.split(CHUNK)]
            rows.append(torch.cat(parts))
    return torch.stack(rows)


def transfer(
    classifier: Classifier,
    change: Tensor,
    images: Tensor,
    labels: Tensor,
    target: int,
) -> Transfer:
    """Count images of *other* classes than the target that a change sends to it. The bare classifier decides.

    Images whose class is the target are left out: they would count as successes, one in ten of them in ten classes.

    Args:
        classifier: without noise.
        change: (3, h, w).
        images: other images than the one that the change was made on, (n, 3, h, w) in [0, 1].
        labels: their classes (n,), true ones where they are known.
        target: class.

    Raises:
        InputError: as many labels as images are needed.
    """
    if len(labels) != len(images):
        raise InputError(f"{len(images)} images came with {len(labels)} labels")
    others = labels.cpu() != target
    chosen = images[others.to(images.device)]
    named = decisions(classifier, chosen, torch.stack([torch.zeros_like(change), change])) == target
    return Transfer(sent=int(named[1].sum()), already=int((named[0] & named[1]).sum()), counted=int(others.sum()))

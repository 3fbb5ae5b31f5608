"""Whether an adversarial image survives being saved: most files keep bytes, not floats."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion, Misclassified
from snellen.core.deep_picture import WHITE, is_deep
from snellen.core.outcomes import Attacked


def to_bytes(images: Tensor, originals: Tensor | None = None) -> Tensor:
    """Round to the nearest of 256 levels: (n, 3, h, w) in [0, 1] → the same shape, multiples of 1/255.

    >>> to_bytes(torch.tensor([0.5, 1.0])).mul(255).tolist()
    [128.0, 255.0]

    Args:
        images: that would be saved.
        originals: what they were made of: those of 16 bits are saved with as many, and rounded to multiples of 1/65535.
    """
    rounded = (images * 255).round() / 255
    if originals is None or not bool((deep := is_deep(originals)).any()):
        return rounded
    return torch.where(deep.view(-1, 1, 1, 1), (images * WHITE).round() / WHITE, rounded)


def rounded_success(
    classifier: Classifier,
    attacked: Attacked,
    labels: Tensor,
    *,
    criterion: Criterion | None = None,
    originals: Tensor | None = None,
    batch_size: int = 256,
) -> Tensor:
    """Which successes of an attack are still successes after rounding to bytes: bool (n,); one query for each success.

    The smallest changes do not survive: an attack that minimises a distance stops just behind the boundary. Report both
    rates.

    >>> from torch import nn
    >>> from snellen.methods.attacks.pgd import PGD
    >>> _ = torch.manual_seed(0)
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), class_names=["a", "b"])
    >>> images = torch.rand(4, 3, 4, 4)
    >>> labels = classifier(images).argmax(1)
    >>> attacked = PGD(epsilon=0.3).attack(classifier, images, labels)
    >>> rounded_success(classifier, attacked, labels).shape
    torch.Size([4])

    Args:
        classifier: the one that was attacked.
        attacked: what the attack returned; n images.
        labels: those of the attack: (n,), targets for a targeted criterion, or 0/1 (n, k).
        criterion: that of the attack, by default misclassification.
        originals: the images that were attacked; those of 16 bits are rounded to as many.
        batch_size: images evaluated at once.
    """
    criterion = criterion or Misclassified()
    survived = torch.zeros_like(attacked.success)
    if not bool(attacked.success.any()):
        return survived
    with torch.no_grad():
        for positions in attacked.success.nonzero().flatten().split(batch_size):
            of = None if originals is None else originals[positions]
            scores = classifier(to_bytes(attacked.images[positions], of))
            finite = scores.isfinite().flatten(1).all(1)
            survived[positions] = finite & criterion.success(scores, labels[positions])
    return survived

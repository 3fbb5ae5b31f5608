"""Which range of values a model of MAITE takes, where neither it nor the images say so beyond doubt: both are tried."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.files.labels import align_labels
from snellen.metrics.paired_test import mcnemar

#: Labelled images that both ranges are tried on, and the p value below which the other range is taken.
PROBED, SURE = 64, 0.01


def in_likelier_range(classifier: Classifier, images: ImageSet, other: Callable[[], Classifier]) -> Classifier:
    """The classifier, or the one that gets values in the other range if that is right on significantly more images.

    What was tried stands in the notes of the result.

    Args:
        classifier: in the range that the images suggest.
        images: that it is used on; without labels, nothing is tried.
        other: makes the classifier in the other range.
    """
    if not images.has_labels or classifier.task != "single":
        return classifier
    found = _labelled(classifier, align_labels(images.limit(PROBED), classifier.class_names))
    if found is None:
        return classifier
    batch, labels = found
    own = _right(classifier, batch, labels)
    try:
        rival = other()
        theirs = _right(rival, batch, labels)
    except Exception:  # a model of the user that does not take such values raises what it likes
        return classifier
    alone = int((theirs & ~own).sum()), int((own & ~theirs).sum())
    clear = mcnemar(*alone, alternative="greater") < SURE
    chosen, right, left = (rival, theirs, own) if clear else (classifier, own, theirs)
    figures = f"with these it is right on {right.sum()} of {len(own)} images, with the other range on {left.sum()}"
    chosen.notes = tuple(f"{note}: {figures}" if "is given" in note else note for note in chosen.notes)
    return chosen


def _labelled(classifier: Classifier, images: ImageSet) -> tuple[Tensor, Tensor] | None:
    """Prepared images with their labels; None without any, or if they cannot be stacked."""
    prepared: list[Tensor] = []
    labels: list[int] = []
    for row, label in enumerate(images.labels.tolist()):
        try:
            image = classifier.prepare(images.read(row))
        except RejectedImageError:
            continue
        if label >= 0 and (not prepared or image.shape == prepared[0].shape):
            prepared.append(image)
            labels.append(label)
    return (torch.stack(prepared), torch.tensor(labels)) if prepared else None


def _right(classifier: Classifier, batch: Tensor, labels: Tensor) -> NDArray[np.bool_]:
    with torch.no_grad():
        scores = classifier(batch.to(classifier.device)).cpu()
    if not bool(scores.isfinite().all()):
        raise InputError(f"{classifier.name} gives no finite scores for values in this range")
    right: NDArray[np.bool_] = (scores.argmax(1) == labels).numpy()
    return right

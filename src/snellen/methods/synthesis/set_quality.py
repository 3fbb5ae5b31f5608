"""Recognisability and diversity of a generated set, by a scorer that is no student.

R is the F1 of the scorer against the intended labels, V the spread of its features around the class means. The scorer
was trained on real images alone: a student judged by itself would call recognisable what it learnt.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.preprocessing import to_unit
from snellen.data.loading import prepared_batches
from snellen.methods.generation.made_images import weights_of
from snellen.metrics.set_quality import diversity, recognisability
from snellen.models.classifiers.pooled_features import pooled_features

_TOGETHER = 128


class SetQuality(BaseModel):
    """R and V of one set.

    Attributes:
        images: that were scored.
        recognisability: mean F1 over the classes, in [0, 1].
        diversity: mean standard deviation over classes and dimensions.
        by_class: F1 and standard deviation of each class; None where a class has too few images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int
    recognisability: float
    diversity: float
    by_class: dict[str, tuple[float | None, float | None]]


def set_quality(images: ImageSet, scorer: Classifier) -> SetQuality:
    """Score a labelled set.

    Args:
        images: with labels; a class is matched by name.
        scorer: trained on real images, with scores.

    Raises:
        InputError: no labels, a class that the scorer does not know, labels alone as output, or no image that can be
            read.
    """
    names = images.class_names or ()
    if not images.has_labels:
        raise InputError(f"{images.name} has no labels, so nothing can be recognised in it")
    unknown = next((name for name in names if name not in scorer.class_names), None)
    if unknown is not None:
        raise InputError(f"the scorer {scorer.name} does not know the class {unknown!r} of {images.name}")
    to_own = torch.full((len(scorer.class_names),), -1, dtype=torch.int64)
    for number, name in enumerate(names):
        to_own[scorer.class_names.index(name)] = number
    predictions, features, labels = [], [], []
    for batch in prepared_batches(images, scorer.preparation, _TOGETHER):
        if not batch.indices:
            continue
        scores, found = pooled_features(scorer, to_unit(batch.pixels).to(scorer.device))
        if found is None:
            raise InputError(f"the scorer {scorer.name} gives labels alone; take one that gives scores")
        predictions.append(to_own[scores.argmax(1).cpu()].numpy())
        features.append(found.cpu().numpy())
        labels.append(images.labels[batch.indices])
    if not labels:
        raise InputError(f"none of the images of {images.name} can be read")
    truth = np.concatenate(labels)
    known = truth >= 0
    r = recognisability(np.concatenate(predictions)[known], truth[known], len(names))
    v = diversity(np.concatenate(features)[known], truth[known], len(names))
    return SetQuality(
        images=int(known.sum()),
        recognisability=float(np.nanmean(r)),
        diversity=float(np.nanmean(v)) if np.isfinite(v).any() else 0.0,
        by_class={name: (_number(r[row]), _number(v[row])) for row, name in enumerate(names)},
    )


def check_independent(scorer: Classifier, student: Classifier) -> None:
    """Refuse a scorer that is the student.

    Raises:
        InputError: both have the same weights.
    """
    own = weights_of(scorer)
    if own is not None and own == weights_of(student):
        raise InputError(
            f"the scorer {scorer.name} has the weights of the student {student.name}: recognisability needs a "
            f"classifier of its own, trained on real images"
        )


def promise(quality: SetQuality, real: SetQuality) -> float:
    """One figure to rank settings by before any student is trained: √(R · min(1, V / V of real images)).

    The paper finds that neither R nor V alone predicts how a set scales; this combination is ours.
    """
    if real.diversity <= 0:
        return quality.recognisability
    return float(np.sqrt(quality.recognisability * min(1.0, quality.diversity / real.diversity)))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None

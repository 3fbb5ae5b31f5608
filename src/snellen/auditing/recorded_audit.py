"""An audit of predictions that were made elsewhere: no model runs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snellen.auditing.checks import build_check, default_checks
from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.data.factors import Columns, Groups
from snellen.data.files.labels import numbered_class_names
from snellen.data.references import Labels, load_images
from snellen.models.classifiers.recorded_predictions import (
    class_count,
    prediction_count,
    recorded_classifier,
    unseen_images,
)
from snellen.runs.given import Images, given_images

#: Passes through a model, for each image, below which a check runs none of its own.
_NO_PASS = 1.0

#: What checks read from pixels alone.
_OF_PIXELS = frozenset({"fingerprints", "pixel_hashes", "properties"})


def recorded_audit(
    predictions: object,
    images: Images | None,
    labels: Labels | None,
    class_names: Sequence[str] | None,
    columns: Columns | None,
    groups: Groups | None = None,
) -> tuple[Classifier, ImageSet]:
    """Predictions as a classifier, and the images that they are of; without any, a set with known labels.

    Raises:
        InputError: predictions or labels that cannot be, or labels of nothing.
    """
    if images is not None:
        audited = given_images(images, labels, columns, groups=groups)
    else:
        if labels is None:
            raise InputError("predictions need labels to be compared with: give labels=..., or images that have some")
        if any(np.size(label) > 1 for label in labels):
            raise InputError(
                "labels of predictions are one class for each image, (n,), and several for each came; give the model "
                'itself: load_classifier(model, names, task="multi_label")'
            )
        plain = [label.item() if hasattr(label, "item") else label for label in labels]
        named = class_names is not None or any(isinstance(label, str) for label in plain)
        numbered = None if named else numbered_class_names(class_count(predictions, plain))
        audited = unseen_images(prediction_count(predictions), plain, class_names=class_names or numbered)
        if groups is not None:
            audited = load_images(audited, groups=groups)
    return recorded_classifier(predictions, audited, class_names=class_names), audited


def checks_without_model(seen: bool) -> list[str]:
    """Names of the default checks that run no model; of images that are not seen, those that need no pixels."""
    return [
        name
        for name in default_checks()
        if (check := build_check(name, {})).cost() < _NO_PASS
        and not check.measures
        and not index.checks()[name].listed
        and (seen or not _OF_PIXELS & check.reads)
    ]

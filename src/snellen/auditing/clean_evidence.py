"""What is measured of every image under any checks: decision and confidence, and what the checks ask to keep."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import torch
from torch import Tensor

from snellen.checks.check import Batch, Kept
from snellen.checks.label_sets import set_columns
from snellen.checks.per_image import (
    FEATURES,
    PIXEL_HASH,
    SCORES,
    array_column,
    fingerprint_columns,
    property_columns,
)
from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.images import COLUMNS
from snellen.metrics.inspection.fingerprints import fingerprint, pixel_hashes
from snellen.metrics.inspection.properties import image_properties
from snellen.models.classifiers.pooled_features import pooled_features

#: Images below this many pixels a side have neither fingerprints nor properties.
SMALLEST_SIDE = 8


def score_batch(classifier: Classifier, images: Tensor, keep: Collection[Kept]) -> tuple[Tensor, Tensor | None]:
    """Clean scores (n, k), and the features (n, d) where they are to be kept: (n, 3, h, w) → both.

    See :func:`~snellen.models.classifiers.pooled_features.pooled_features`.
    """
    if "features" in keep:
        return pooled_features(classifier, images)
    with torch.no_grad():
        return classifier(images), None


def clean_evidence(
    batch: Batch, keep: Collection[Kept], carried: Mapping[str, Sequence[object]] | None = None
) -> Evidence:
    """One row for each image of a batch, setting "clean": decision, confidence, and the columns that are kept.

    A segmenter has no decision about an image: both are unknown. A model of several labels an image has one for each
    label, in columns of :mod:`~snellen.checks.label_sets`.

    Args:
        batch: n images.
        keep: which columns.
        carried: columns of the image set that the evidence carries along, such as each image's group, (n,) each; of
            what the set does not know at all there is no column.
    """
    several = batch.classifier.task == "multilabel"
    undecided = several or batch.classifier.task == "segment"
    unknown = undecided or batch.classifier.output == "labels"
    confidence = None if unknown else batch.classifier.probabilities(batch.scores).amax(1).tolist()
    extra: dict[str, pa.Array] = {name: pa.array(values, COLUMNS[name]) for name, values in (carried or {}).items()}
    if several:
        extra |= set_columns(batch.classifier, batch.scores, batch.label_sets)
    elif "scores" in keep:
        extra[SCORES] = array_column(batch.scores.detach().float().cpu().numpy())
    if "features" in keep and batch.features is not None:
        extra[FEATURES] = array_column(batch.features.detach().float().cpu().numpy())
    large = min(batch.images.shape[2:]) >= SMALLEST_SIDE
    if {"fingerprints", "pixel_hashes"} & set(keep) and large:
        extra[PIXEL_HASH] = pa.array(pixel_hashes(batch.images), pa.string())
    if "fingerprints" in keep and large:
        extra |= fingerprint_columns(fingerprint(batch.images))
    if "properties" in keep and large:
        extra |= property_columns(image_properties(batch.images))
    return Evidence.of(
        batch.ids,
        setting="clean",
        model=batch.classifier.name,
        unit_ids=batch.unit_ids,
        label=[None if label < 0 else label for label in batch.labels.tolist()],
        prediction=None if undecided else batch.classifier.predict(batch.scores).tolist(),
        value=confidence,
        extra=extra,
    )

"""Corrupted images under a model of several labels an image: one pass decides all labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from snellen.checks.check import Batch
from snellen.checks.label_sets import set_columns
from snellen.core.evidence import Evidence
from snellen.metrics.sweep import Transformation, setting_name


def measured_sets(batch: Batch, kinds: Mapping[str, Transformation], severities: Sequence[float]) -> Evidence:
    """A row for each image, kind and severity, with the columns of :mod:`~snellen.checks.label_sets`.

    Args:
        batch: n images, with a model of several labels an image.
        kinds: what is done to the images, by name.
        severities: how strongly.
    """
    parts = []
    for kind, transformation in kinds.items():
        bound = batch.rng.child(kind).for_examples(batch.ids).remembering()  # the same draws serve every severity
        for severity in severities:
            images = transformation(batch.images, severity, bound)
            with batch.classifier.counting() as spent, torch.no_grad():
                scores = batch.classifier(images)
                used = spent()
            finite = torch.isfinite(scores).all(1)
            parts.append(
                Evidence.of(
                    batch.ids,
                    setting=setting_name(kind, severity),
                    model=batch.classifier.name,
                    unit_ids=batch.unit_ids,
                    status=["ok" if usable else "failed" for usable in finite.tolist()],
                    reason=[None if usable else "the model's scores are not finite" for usable in finite.tolist()],
                    extra=set_columns(batch.classifier, torch.nan_to_num(scores), batch.label_sets),
                    spent=used,
                    control="the same images as they are",
                )
            )
    return Evidence.merge(parts)

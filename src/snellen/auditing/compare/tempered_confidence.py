"""Confidence of each image after temperature scaling, computed again from the evidence of a run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.compare.run_record import RunRecord
from snellen.checks.halves import halves
from snellen.checks.per_image import PerImage
from snellen.metrics.temperature import fit_temperature, tempered_probabilities


def tempered_confidence(record: RunRecord, images: PerImage) -> NDArray[np.float64] | None:
    """Largest probability (n,) with a temperature of other images; None without scores, or without those images.

    As the check does it: the tuning images where the run had some, else the other half of the images, in turn. The
    temperature is then taken as given.

    Args:
        record: the run.
        images: labelled images of it, (n,).
    """
    if images.scores is None:
        return None
    if "tune" in record.plan.get("companions", {}):
        tuning = record.tuning
        if tuning is None or tuning.scores is None:
            return None
        if tuning.labelled.any():
            rows = tuning.labelled
            fitted = fit_temperature(tuning.scores[rows], tuning.labels[rows]).temperature
            return tempered_probabilities(images.scores, fitted).max(1)
    first, sure = halves(images.unit_ids), np.empty(len(images))
    for fitted_on in (first, ~first):
        labels = images.labels[fitted_on]
        temperature = fit_temperature(images.scores[fitted_on], labels).temperature if len(labels) else 1.0
        sure[~fitted_on] = tempered_probabilities(images.scores[~fitted_on], temperature).max(1)
    return sure

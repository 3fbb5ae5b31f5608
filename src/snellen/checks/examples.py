"""Which images show a finding."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snellen.checks.per_image import PerImage
from snellen.core.finding import FindingExample


def confident_mistakes(
    images: PerImage,
    names: tuple[str, ...],
    count: int,
    *,
    predictions: NDArray[np.int64] | None = None,
    confidence: NDArray[np.float64] | None = None,
) -> tuple[FindingExample, ...]:
    """Images whose prediction is not the label, most confident first, ties by id.

    Args:
        images: those to choose from.
        names: class names.
        count: how many at most.
        predictions: (n,) decisions to judge, −1 where there is none; by default those on the clean images.
        confidence: (n,) of those decisions, NaN where there is none.
    """
    decided = images.predictions if predictions is None else predictions
    sure = images.confidence if predictions is None else confidence
    wrong = np.flatnonzero(images.labelled & (decided >= 0) & (decided != images.labels))
    weight = np.zeros(len(images)) if sure is None else np.nan_to_num(sure)
    ranked = sorted(wrong.tolist(), key=lambda row: (-weight[row], images.ids[row]))
    return tuple(
        FindingExample(example_id=images.ids[row], caption=f"{names[images.labels[row]]} → {names[decided[row]]}")
        for row in ranked[:count]
    )

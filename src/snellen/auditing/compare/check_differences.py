"""Quantities that a check's own rule finds in its evidence, image by image: masked gradients, and second classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.checks.masking import seen_signs
from snellen.auditing.checks.multi_label import seen_windows
from snellen.auditing.compare.difference import Difference
from snellen.auditing.compare.pairing import Pair, Side, mean_difference
from snellen.core.outcomes import ZERO_GRADIENT
from snellen.metrics.inspection.shown_classes import FEWEST, shown_classes, windows

MASKING, ADVERSARIAL, MULTI_LABEL = "masking", "adversarial", "multi_label"

#: Settings of the evidence that name a threat.
PLAIN, ONE_STEP = ".pgd", ".fgsm"


def compare_masking(pair: Pair) -> dict[str, Difference]:
    """Share of the images on which any sign of masked gradients is seen, by threat, of images that are right.

    The signs are those of the check: a gradient that is exactly zero, and what another attack breaks and the plain one
    leaves standing. Pairs are images that are right in both runs.
    """
    found = {}
    for label in _threats(pair, MASKING, PLAIN):
        values = [
            seen_signs(
                label,
                side.record.images,
                side.record.evidence[MASKING],
                float(side.record.parameters[MASKING]["tolerance"]),
            ).apparent[side.rows]
            for side in (pair.first, pair.second)
        ]
        difference = mean_difference(pair, values)
        if difference is not None:
            found[f"gradient_masking:{label}"] = difference
    return found


def compare_stuck_searches(pair: Pair) -> dict[str, Difference]:
    """Share of the searches of the check adversarial whose gradient is exactly zero, on images that both attacked."""
    labels = _threats(pair, ADVERSARIAL, ONE_STEP)
    if not labels:
        return {}
    values = [
        np.mean([side.marked(ADVERSARIAL, f"{label}{ONE_STEP}", {ZERO_GRADIENT}) for label in labels], axis=0)
        for side in (pair.first, pair.second)
    ]
    difference = mean_difference(pair, values)
    return {} if difference is None else {"gradient_masking": difference}


def compare_second_classes(pair: Pair) -> dict[str, Difference]:
    """Share of the images that show a second class, over images whose label both models know well enough to judge."""
    sides = pair.first, pair.second
    if not all(MULTI_LABEL in side.record.parameters for side in sides):
        return {}
    difference = mean_difference(pair, [_shows_second(side) for side in sides])
    if difference is None:
        return {}
    return {
        MULTI_LABEL: replace(
            difference,
            remark="each run judges by its own model's scores for windows; on images that both can judge"
            if pair.paired
            else difference.remark,
        )
    }


def _shows_second(side: Side) -> NDArray[np.float64]:
    """1 where an image shows a second class, 0 where not, NaN where it is not judged, (n,)."""
    images, chosen = side.record.images, side.record.parameters[MULTI_LABEL]
    found = np.full(len(images), np.nan)
    known, winners, strengths = seen_windows(images, side.record.evidence[MULTI_LABEL])
    if len(known) >= FEWEST:
        boxes = windows(int(chosen["per_side"]))
        shown = shown_classes(winners, strengths, known.labels, boxes, typical=float(chosen["typical"]))
        places = {key: row for row, key in enumerate(images.ids)}
        found[[places[key] for key in known.ids]] = np.where(shown.judged, shown.second >= 0, np.nan)
    return found[side.rows]


def _threats(pair: Pair, check: str, ending: str) -> list[str]:
    """Labels of the threats that both runs measured."""
    ours, theirs = (
        side.record.evidence[check].settings
        if check in side.record.evidence and check in side.record.parameters
        else []
        for side in (pair.first, pair.second)
    )
    return [one.removesuffix(ending) for one in ours if one in theirs and one.endswith(ending)]

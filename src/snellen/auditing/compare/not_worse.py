"""Whether the later of two audits is shown to be worse by less than a margin: non-inferiority of a named figure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from snellen.auditing.compare.better_side import direction
from snellen.auditing.compare.difference import Difference, Mean
from snellen.auditing.compare.figures import (
    absence,
    compare_classes,
    compare_figure,
    estimate,
    per_image,
)
from snellen.auditing.compare.label_differences import label_figures, several
from snellen.auditing.compare.margins import NotWorse
from snellen.auditing.compare.pairing import Pair
from snellen.auditing.compare.requirement import Verdict
from snellen.core.errors import InputError
from snellen.metrics.non_inferiority import LEVEL, paired_worsening, unpaired_worsening

#: Figure that a margin alone is about, by task; of every other task the accuracy.
ACCURACY = "clean.accuracy"
LEADING_BY_TASK: Mapping[str, str] = {"segment": "segmentation.miou", "multilabel": "labels.right_decisions"}


def not_worse(pair: Pair, margins: Mapping[str, float], *, resamples: int) -> tuple[NotWorse, ...]:
    """Judge each margin, one-sided at 2.5 %.

    Shares of right decisions are judged by score tests (:mod:`snellen.metrics.non_inferiority`), other figures by the
    95 % interval of their difference. Where several figures are named, all must be met, so that nothing is corrected
    for their number (intersection–union: Berger, Technometrics 24, 1982, 295–300).

    Raises:
        InputError: a figure without a better side, or one that neither run has.
    """
    leading = LEADING_BY_TASK.get(pair.first.record.report.model["task"], ACCURACY)
    return tuple(_judged(name or leading, margin, pair, resamples) for name, margin in margins.items())


def _judged(name: str, margin: float, pair: Pair, resamples: int) -> NotWorse:
    side = direction(name)
    if not side:
        raise InputError(f"a margin of {name}: this figure has no better side, so that it cannot be worse")
    if several(pair):
        found = next((one for one in label_figures(pair, resamples=resamples) if one.name == name), None)
    elif name.startswith("class."):
        found = next((one for one in compare_classes(pair) if one.name == name), None)
    else:
        held = any(name in one.record.report.metrics for one in (pair.first, pair.second))
        found = compare_figure(name, pair, resamples=resamples) if held else None
    idle = None if found is not None else _idle(name, pair)
    if idle is not None:
        return NotWorse(name=name, margin=margin, verdict="not measured", reason=idle)
    if found is None:
        known = sorted(one for one in pair.second.record.report.metrics if direction(one))
        if name.startswith("class."):
            known = [f"class.{one}.accuracy" for one in pair.first.record.class_names]
        raise InputError(
            f"a margin of {name}: neither run has a figure of this name; these are: {', '.join(known[:12])}"
            + (", …" if len(known) > 12 else "")
        )
    if found.difference is None:
        return NotWorse(name=name, margin=margin, verdict="not measured", reason=found.reason)
    low, high, p_value = _loss(name, margin, pair, found.difference, side, resamples)
    verdict: Verdict = "met" if high < margin else "not met" if low >= margin else "undecided"
    return NotWorse(
        name=name,
        margin=margin,
        first=found.difference.first,
        second=found.difference.second,
        loss=-side * found.difference.value + 0.0,  # and no negative zero
        low=low if math.isfinite(low) else None,
        high=high if math.isfinite(high) else None,
        p_value=p_value,
        n=found.difference.n,
        paired=found.difference.paired,
        verdict=verdict,
        reason=None if math.isfinite(high) else "too few images or units: nothing bounds the loss",
    )


def _idle(name: str, pair: Pair) -> str | None:
    """Why the check of a figure gave nothing in either run, where it did not run to its end."""
    check = name.partition(".")[0]
    for which, side in (("second", pair.second), ("first", pair.first)):
        if any(one.name == check and one.status != "done" for one in side.record.report.checks):
            return absence(check, side.record, which)
    return None


def _loss(
    name: str, margin: float, pair: Pair, difference: Difference, side: int, resamples: int
) -> tuple[float, float, float | None]:
    """95 % interval of how much worse the later run is, and the p value of "by the margin or more"."""
    shares = _shares(name, pair, resamples)
    if shares is None or side < 0:
        low, high = sorted((-side * difference.low, -side * difference.high))
        if low == high:  # no image differs: of as many units, so large a share might and is not seen
            count = difference.n if pair.units is None else len(np.unique(pair.units))
            unseen = 1 - LEVEL ** (1 / max(count, 1))
            low, high = low - unseen, high + unseen
        return low, high, None
    (first, units), (second, others) = shares
    if pair.paired:
        found = paired_worsening(first, second, margin, units)
    else:
        found = unpaired_worsening(first, second, margin, units, others)
    return -found.high, -found.low, found.p_value


def _shares(name: str, pair: Pair, resamples: int) -> list[tuple[np.ndarray, np.ndarray | None]] | None:
    """Right decisions of each side, 0 or 1, with the units of the images; None where the figure is no share of them."""
    if several(pair):  # an image has several decisions
        return None
    sides = pair.first, pair.second
    if name.startswith("class."):
        label = pair.first.record.class_names.index(name.removeprefix("class.").removesuffix(".accuracy"))
        masks = [side.images.labels == label for side in sides]
        values = [side.images.correct[mask].astype(np.float64) for side, mask in zip(sides, masks, strict=True)]
    else:
        known = [~np.isnan(per_image(name, side)) for side in sides]
        masks = [known[0] & known[1]] * 2 if pair.paired else known
        made = [estimate(name, side, mask, resamples) for side, mask in zip(sides, masks, strict=True)]
        if not all(isinstance(one, Mean) and np.isin(one.values, (0, 1)).all() for one in made):
            return None
        values = [np.asarray(one.values, dtype=np.float64) for one in made if isinstance(one, Mean)]
    return [(one, side.images.units_of(mask)) for one, side, mask in zip(values, sides, masks, strict=True)]

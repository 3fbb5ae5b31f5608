"""Images without labels of a stretch of time: the estimated accuracy, the drift, and what the estimate is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from snellen.checks.check import CheckFigure
from snellen.checks.per_image import PerImage
from snellen.core.errors import InputError
from snellen.metrics.inspection.drift import FEWEST_UNITS, feature_drift
from snellen.metrics.inspection.foreign_share import foreign_share
from snellen.metrics.shifted_accuracy import Decisions, shifted_accuracy

#: Level up to which drift beyond another mix of classes is called shown.
LEVEL = 0.01

#: Lower bounds from which on no accuracy is estimated: of the area with which a simple classifier separates the images
#: from audited ones of the same mix of classes, and of the share of images that no audited image is like.
REFUSED_AREA, REFUSED_SHARE = 0.9, 0.1

#: Fewest units that are judged.
FEWEST = FEWEST_UNITS

#: Resamples of an estimate, and classes from which on a quarter of them is taken.
RESAMPLES, MANY = 200, 100

#: Permutations of the drift test.
PERMUTATIONS = 199

Judged = Literal["estimated", "uncertain", "refused", "too few"]


class Window(BaseModel):
    """Images of a stretch of time, or all of them, without labels.

    Attributes:
        start, end: first and last day; None for all images.
        images: that could be used. units: independent units of them.
        verdict: whether the accuracy could be estimated.
        accuracy: the estimate with its 95 % interval. by_classes, by_confidence: under each supposition.
        area: of a simple classifier between these images and audited ones of the same mix of classes; 0.5 is chance.
        foreign: share of images like no audited one, beyond what is usual.
        p_value: of "the decisions, and the features, are a mix of the audited classes".
        reason: of the verdict, in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: str | None = None
    end: str | None = None
    images: int
    units: int
    verdict: Judged
    accuracy: CheckFigure | None = None
    by_classes: CheckFigure | None = None
    by_confidence: CheckFigure | None = None
    area: CheckFigure | None = None
    foreign: float | None = None
    foreign_low: float | None = Field(None, description="lower end of the 95 % interval")
    p_value: float | None = None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Reference:
    """The audited images, and how others are judged by them."""

    known: PerImage
    classes: int
    seed: int

    def judged(self, new: PerImage, span: tuple[str, str] | None) -> tuple[Window, NDArray[np.float64] | None]:
        """The window of some images, and the estimated shares of the classes where they could be estimated."""
        units = len(set(new.unit_ids))
        start, end = span or (None, None)
        window = Window(start=start, end=end, images=len(new), units=units, verdict="too few")
        if units < FEWEST:
            reason = f"{units} independent images or units; {FEWEST} are needed"
            return window.model_copy(update={"reason": reason}), None
        found = shifted_accuracy(
            _decisions(self.known, labels=True),
            _decisions(new, labels=False),
            self.classes,
            # A thousand classes take a minute with all of them.
            resamples=RESAMPLES if self.classes <= MANY else RESAMPLES // 4,
            seed=self.seed,
        )
        first, second = _features(self.known, new)
        area, p_value, excess, low = self._drift(first, second, new, found.shares)
        joint = min(2 * min(p_value, found.fit_p_value), 1.0)
        values = {
            "area": area,
            "foreign": excess,
            "foreign_low": low,
            "p_value": joint,
        }
        if low >= REFUSED_SHARE or (area is not None and area.low >= REFUSED_AREA):
            reason = f"at least {low:.0%} of the images are like no audited image"
            if low < REFUSED_SHARE and area is not None:
                reason = (
                    f"a simple classifier separates them from audited images of the classes (area {area.value:.2f})"
                )
            return window.model_copy(update={**values, "verdict": "refused", "reason": reason}), None
        n = len(new)
        # Images like no audited one may all be wrong.
        ends = max(found.interval.low - max(excess, 0.0), 0.0), found.interval.high
        estimates = {
            "accuracy": _measured(found.value, ends, n),
            "by_classes": _measured(*found.by_classes, n),
            "by_confidence": _measured(*found.by_confidence, n),
        }
        # The smallest p value of the decisions' draws, doubled, is just the level.
        verdict, words = "estimated", "a mix of the audited classes explains them"
        if joint <= LEVEL:
            verdict, words = "uncertain", "they differ from every mix of the audited classes"
        elif area is None:
            verdict = "uncertain"
            words = f"fewer than {FEWEST} audited images or units of these classes: drift of features was not tested"
        return window.model_copy(update={**values, **estimates, "verdict": verdict, "reason": words}), found.shares

    def _drift(
        self, first: NDArray[np.floating], second: NDArray[np.floating], new: PerImage, shares: NDArray[np.float64]
    ) -> tuple[CheckFigure | None, float, float, float]:
        """Area and p value against audited images of the same mix of classes, and the share of foreign images."""
        labels = self.known.labels
        held = np.bincount(labels, minlength=self.classes) / len(labels)
        weights = np.divide(shares, held, out=np.zeros(self.classes), where=held > 0)[labels]
        foreign = foreign_share(first, second, weights, new.units, known_units=self.known.units, seed=self.seed)
        # Thinned by unit, so that images of one unit stay or go together as far as their classes allow.
        codes = self.known.units if self.known.units is not None else np.arange(len(labels))
        drawn = np.random.default_rng(self.seed).random(int(codes.max()) + 1)[codes]
        kept = drawn * weights.max() < weights
        units = len(np.unique(codes[kept]))
        if units < FEWEST_UNITS:
            return None, 1.0, foreign.excess, foreign.low
        found = feature_drift(
            first[kept],
            second,
            first_units=None if self.known.units is None else codes[kept],
            second_units=new.units,
            permutations=PERMUTATIONS,
            seed=self.seed,
        )
        ends = found.interval
        area = CheckFigure(value=found.auroc, low=max(ends.low, 0.0), high=min(ends.high, 1.0), n=len(new))
        return area, found.p_value, foreign.excess, foreign.low


def _decisions(images: PerImage, *, labels: bool) -> Decisions:
    if images.confidence is None:
        raise InputError("the model gave no confidences for the images")
    return Decisions(images.predictions, images.confidence, images.units, images.labels if labels else None)


def _features(known: PerImage, new: PerImage) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Features of both sets, of the last layer where both have them, else the scores."""
    if known.features is not None and new.features is not None and known.features.shape[1] == new.features.shape[1]:
        return known.features, new.features
    if known.scores is None or new.scores is None:
        raise InputError("neither features nor scores of both sets are known: run the audit again")
    return known.scores, new.scores


def _measured(value: float, interval: tuple[float, float], n: int) -> CheckFigure:
    return CheckFigure(value=value, low=interval[0], high=interval[1], n=n)

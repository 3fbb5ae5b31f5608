"""Whose opinion judges the labels: the model's and held-out heads', or heads' alone where the model saw the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binom

from snellen.metrics.inspection.confident_joint import checked
from snellen.metrics.inspection.error_share import TOLERATED, ErrorShare, estimated_error_share
from snellen.metrics.inspection.fingerprints import Fingerprints
from snellen.metrics.inspection.label_opinions import (
    LEAST,
    kernel_opinion,
    linear_opinion,
    neighbour_opinion,
    pooled_opinion,
)
from snellen.metrics.temperature import fit_temperature, tempered_probabilities

#: Largest chance of each of the two signs of a model in sample to occur by accident.
ACCIDENT = 0.01

#: A model that errs less than this share as often as a head on thumbnails, and hardly at all, may have seen the labels.
MUCH_LESS = 0.25


@dataclass(frozen=True, eq=False)
class LabelJudgement:
    """What :func:`judge_labels` finds.

    Attributes:
        probabilities: (n, k), the opinion that judges the labels.
        share: share of wrong labels by that opinion, over the independent images.
        agreement: share of all labels that the model ranks first.
        confidence: the model's mean largest probability.
        held_out_agreement: share of the labels that the head on thumbnails ranks first; None without thumbnails.
        in_sample: whether the model agrees with the labels as one that was trained on them.
        voices: whose opinions were joined.
    """

    probabilities: NDArray[np.float64]
    share: ErrorShare
    agreement: float
    confidence: float
    held_out_agreement: float | None
    in_sample: bool
    voices: tuple[str, ...]


def judge_labels(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    features: NDArray[np.floating] | None = None,
    thumbnails: NDArray[np.floating] | None = None,
    units: NDArray[np.int64] | None = None,
    independent: NDArray[np.bool_] | None = None,
    tolerated: float = TOLERATED,
    seed: int = 0,
) -> LabelJudgement:
    """Judge labels by the best opinion that does not follow them blindly.

    A model that did not see the labels is joined with a linear head on its features and a kernel head on thumbnails,
    both held out, by the weights that make the labels most likely. Such a head knows what the model was not trained
    for: classes as they are labelled here.

    A model that was trained on these labels agrees with them, right or wrong. There are two signs of it:

    1. It disagrees with no more than the tolerated share of the labels, and less than a quarter as often as the head
       on thumbnails (binomial, at 1 %). It may be excellent instead; then, too, it has nothing to say against labels.
    2. It is right more often than it says itself, finds nothing, and held-out heads find wrong labels (p < 1 %), with
       most of which the model agrees all the same (binomial, at 1 %).

    In either case the labels are judged by heads: kernel and neighbours on thumbnails, which saw no label, times
    neighbours in the model's features. These features saw the labels, and pull wrong ones to their own side. So the
    share is too small rather than too large.

    Args:
        probabilities: (n, k) in [0, 1], each row with sum 1, of the model.
        labels: int (n,) in 0 … k−1.
        features: (n, d), finite, of a layer of the model; None: there are none apart from its scores.
        thumbnails: (n, e), finite, of the images (:func:`thumbnail_features`); None: there are none, and nothing can
            be said of whether the model saw the labels.
        units: (n,), images of one patient, lot or video share a number and are held out together.
        independent: (n,), images that count for the share; None: all.
        tolerated: share in [0, 0.5) of wrong labels that counts for nothing.
        seed: of the kernel's landmarks.

    Raises:
        InputError: wrong shapes or values.
    """
    sure, given = checked(probabilities, labels)
    counted = np.ones(len(given), dtype=np.bool_) if independent is None else independent
    classes, first = sure.shape[1], sure.max(1)
    agrees = sure[np.arange(len(sure)), given] == first
    opinions, voices, blind = [sure], ["model"], None
    if thumbnails is not None:
        blind = kernel_opinion(thumbnails, given, classes=classes, units=units, seed=seed)

    def judged(opinion: NDArray[np.float64]) -> ErrorShare:
        return estimated_error_share(opinion[counted], given[counted], tolerated=tolerated)

    def result(opinion: NDArray[np.float64], share: ErrorShare, names: list[str], in_sample: bool) -> LabelJudgement:
        held_out = None if blind is None else float((blind.argmax(1) == given).mean())
        agreement, confidence = float(agrees.mean()), float(first.mean())
        return LabelJudgement(opinion, share, agreement, confidence, held_out, in_sample, tuple(names))

    def held_out(pictures: NDArray[np.floating], blind: NDArray[np.float64]) -> tuple[NDArray[np.float64], list[str]]:
        near = neighbour_opinion(pictures, given, classes=classes, units=units)
        opinion, names = pooled_opinion([blind, near], given)[0], ["kernel on thumbnails", "neighbours in thumbnails"]
        if features is not None:
            own = neighbour_opinion(features, given, classes=classes, units=units)
            # Weights fitted to the labels would take the features' word for all of them.
            logs = np.log(np.maximum(opinion, LEAST)) + np.log(np.maximum(own, LEAST))
            opinion = tempered_probabilities(logs, fit_temperature(logs, given).temperature)
            names.append("neighbours in the model's features")
        return opinion, names

    examined = thumbnails is not None and blind is not None
    if examined and _hardly_errs(agrees[counted], (blind.argmax(1) == given)[counted], tolerated):
        opinion, names = held_out()
        return result(opinion, judged(opinion), names, True)
    if features is not None:
        opinions.append(linear_opinion(features, given, classes=classes, units=units))
        voices.append("linear head on the model's features")
    if blind is not None:
        opinions.append(blind)
        voices.append("kernel on thumbnails")
    opinion = sure if len(opinions) == 1 else pooled_opinion(opinions, given)[0]
    share = judged(opinion)
    if blind is not None and share.p_value >= ACCIDENT and agrees.mean() > first.mean():
        other, names = held_out()
        against = judged(other)
        suspects = against.wrong > 0.5
        sides = int(agrees[counted][suspects].sum())
        if against.p_value < ACCIDENT and binom.sf(sides - 1, int(suspects.sum()), 0.5) < ACCIDENT:
            return result(other, against, names, True)
    return result(opinion, share, voices, False)


def thumbnail_features(fingerprints: Fingerprints) -> NDArray[np.float64]:
    """Luma (16 × 16) and colour differences (2 × 4 × 4) of each image as one row, (n, 288), in about [−0.5, 1].

    A cell of colour stands for 16 pixels of luma, and weighs as much as they do.
    """
    luma = fingerprints.thumbnails.reshape(len(fingerprints), -1) / 255
    colour = fingerprints.chroma.reshape(len(fingerprints), -1) / 255 * 4
    return np.concatenate([luma, colour], axis=1)


def _hardly_errs(agrees: NDArray[np.bool_], blind: NDArray[np.bool_], tolerated: float) -> bool:
    missed, n = int((~agrees).sum()), len(agrees)
    expected = MUCH_LESS * float((~blind).mean())
    return missed <= tolerated * n and float(binom.cdf(missed, n, expected)) < ACCIDENT

"""Whose opinion judges the labels: the model with a held-out head, or heads alone where the model saw the labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from snellen.metrics.inspection.confident_joint import checked
from snellen.metrics.inspection.error_share import (
    TOLERATED,
    ErrorShare,
    estimated_error_share,
)
from snellen.metrics.inspection.fingerprints import Fingerprints
from snellen.metrics.inspection.label_errors import Rule
from snellen.metrics.inspection.label_opinions import (
    LEAST,
    kernel_opinion,
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
        probabilities: (n, k), the opinion that ranks the labels.
        share: share of wrong labels over the independent images.
        tested: (n, k), the opinion that the share is tested by: that of the model alone, or of the held-out kernel on
            thumbnails.
        rule: of confident learning, by which that opinion suspects labels: ``both`` spares more of the right ones, and
            misses more where wrong labels fall on the classes that the model confuses.
        agreement: share of all labels that the model ranks first.
        confidence: the model's mean largest probability.
        held_out_agreement: share of the labels that the head on thumbnails ranks first; None without thumbnails.
        memorised: whether it is certain that the model was trained on these labels: heads find wrong ones, and the
            model agrees with most of them.
        in_sample: whether the model agrees with the labels as one that was trained on them.
        voices: whose opinions were joined.
    """

    probabilities: NDArray[np.float64]
    share: ErrorShare
    tested: NDArray[np.float64]
    rule: Rule
    agreement: float
    confidence: float
    held_out_agreement: float | None
    in_sample: bool
    memorised: bool
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

    A model that did not see the labels is joined with a held-out kernel head on thumbnails, by the weights that make
    the labels most likely: the head errs elsewhere, and the two rank labels better. The share is tested by the model
    alone. A head learns what is wrong in many labels of one class as if it were right, and the model does not.

    A model that was trained on these labels agrees with them, right or wrong. There are two signs of it:

    1. It disagrees with the tolerated share of the labels or less, and less than a quarter as often as the head on
       thumbnails (both binomial, at 1 %). It may be excellent instead; then, too, it has nothing to say against labels.
    2. It is right as often as it says itself or more, finds nothing, and the head on thumbnails finds wrong labels
       (p < 1 %), and the model agrees with most of them all the same (binomial, at 1 %).

    In either case the labels are tested by the kernel on thumbnails alone, and ranked by heads: kernel and neighbours
    on thumbnails, times neighbours in the model's features. These features saw the labels, and pull wrong ones to their
    own side, but less than the model itself does.

    Args:
        probabilities: (n, k) in [0, 1], each row with sum 1, of the model.
        labels: int (n,) in 0 … k−1.
        features: (n, d), finite, of a layer of the model; None: there are none apart from its scores.
        thumbnails: (n, e), finite, of the images (:func:`thumbnail_features`); None: there are none, so it stays open
            whether the model saw the labels.
        units: (n,), images of one patient, lot or video share a number and are held out together.
        independent: (n,), images that count for the share; None: all.
        tolerated: share in [0, 0.5) of wrong labels that counts for nothing.
        seed: of the kernel's landmarks.

    Raises:
        InputError: wrong shapes or values.
    """
    sure, given = checked(probabilities, labels)
    counted = np.ones(len(given), dtype=np.bool_) if independent is None else independent
    first = sure.max(1)
    agrees = sure[np.arange(len(sure)), given] == first
    heads = None if thumbnails is None else _Heads.of(thumbnails, given, sure.shape[1], units, seed)

    def share_by(opinion: NDArray[np.float64]) -> ErrorShare:
        return estimated_error_share(opinion[counted], given[counted], tolerated=tolerated)

    def result(opinion: NDArray[np.float64], tested: NDArray[np.float64], *voices: str) -> LabelJudgement:
        share = share_by(tested)
        ranked = share if opinion is tested else share_by(opinion)
        return LabelJudgement(
            probabilities=opinion,
            share=share,
            memorised=tested is not sure and _contradicted(share, agrees[counted]),
            tested=tested,
            rule="both" if ranked.anywhere else "prune_by_noise_rate",
            agreement=float(agrees.mean()),
            confidence=float(first.mean()),
            held_out_agreement=None if heads is None else float(heads.agrees.mean()),
            in_sample=tested is not sure,
            voices=voices,
        )

    if heads is None:
        return result(sure, sure, "model")
    if _hardly_errs(agrees[counted], heads.agrees[counted], tolerated):
        opinion, voices = heads.opinion(features)
        return result(opinion, heads.kernel, *voices)
    found = result(pooled_opinion([sure, heads.kernel], given)[0], sure, "model", "kernel on thumbnails")
    # A model that says 99 % may be right in 98.9 % by chance.
    spread = float(np.sqrt((first * (1 - first)).sum())) / len(first)
    silent = found.share.p_value >= ACCIDENT and found.agreement > found.confidence - 2 * spread
    if silent and _contradicted(share_by(heads.kernel), agrees[counted]):
        opinion, voices = heads.opinion(features)
        return result(opinion, heads.kernel, *voices)
    return found


@dataclass(frozen=True, eq=False)
class _Heads:
    """What the heads on thumbnails are made of, and the opinion of the kernel, which is always needed."""

    thumbnails: NDArray[np.floating]
    given: NDArray[np.int64]
    units: NDArray[np.int64] | None
    seed: int
    kernel: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        thumbnails: NDArray[np.floating],
        given: NDArray[np.int64],
        classes: int,
        units: NDArray[np.int64] | None,
        seed: int,
    ) -> _Heads:
        kernel = kernel_opinion(thumbnails, given, classes=classes, units=units, seed=seed)
        return cls(thumbnails, given, units, seed, kernel)

    @property
    def agrees(self) -> NDArray[np.bool_]:
        return self.kernel.argmax(1) == self.given

    def opinion(self, features: NDArray[np.floating] | None) -> tuple[NDArray[np.float64], tuple[str, ...]]:
        """Kernel and neighbours on thumbnails, times neighbours in the features; and what they are called."""
        near = self._near(self.thumbnails)
        opinion, _ = pooled_opinion([self.kernel, near], self.given)
        voices = "kernel on thumbnails", "neighbours in thumbnails"
        if features is None:
            return opinion, voices
        # Weights fitted to the labels would take the features' word for all of them.
        logs = np.log(np.maximum(opinion, LEAST)) + np.log(np.maximum(self._near(features), LEAST))
        opinion = tempered_probabilities(logs, fit_temperature(logs, self.given).temperature)
        return opinion, (*voices, "neighbours in the model's features")

    def _near(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        classes = self.kernel.shape[1]
        return neighbour_opinion(features, self.given, classes=classes, units=self.units, seed=self.seed)


def thumbnail_features(fingerprints: Fingerprints) -> NDArray[np.float64]:
    """Luma (16 × 16) and colour differences (2 × 4 × 4) of each image as one row, (n, 288), in about [−0.5, 1].

    A cell of colour stands for 16 pixels of luma, and weighs as much as they do.
    """
    luma = fingerprints.thumbnails.reshape(len(fingerprints), -1) / 255
    colour = fingerprints.chroma.reshape(len(fingerprints), -1) / 255 * 4
    return np.concatenate([luma, colour], axis=1)


def _hardly_errs(agrees: NDArray[np.bool_], heads_agree: NDArray[np.bool_], tolerated: float) -> bool:
    missed, n = int((~agrees).sum()), len(agrees)
    more = float(scipy.special.bdtrc(missed - 1, n, tolerated)) < ACCIDENT
    expected = MUCH_LESS * float((~heads_agree).mean())
    return not more and float(scipy.special.bdtr(missed, n, expected)) < ACCIDENT


def _contradicted(share: ErrorShare, agrees: NDArray[np.bool_]) -> bool:
    """Whether heads find wrong labels, and the model agrees with most of these."""
    suspects = share.wrong > 0.5
    sides = int(agrees[suspects].sum())
    return share.p_value < ACCIDENT and float(scipy.special.bdtrc(sides - 1, int(suspects.sum()), 0.5)) < ACCIDENT

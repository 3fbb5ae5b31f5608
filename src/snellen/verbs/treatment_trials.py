"""Treatments tried on a copy and judged on validation images: by the checks that found what they are to mend."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from snellen.auditing.compare.run_record import RunRecord
from snellen.checks.check import Check, Companion
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError, RunConflictError
from snellen.core.finding import LEVELS, Finding
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.treatments.treatment import Patient, Treatment, treat_together
from snellen.models.classifiers.trainable import copied, trained_classifier
from snellen.verbs.treatment_costs import OF_CLEAN_DECISIONS, clean_costs, measured_in_costs
from snellen.verbs.treatment_measures import (
    BY_ERROR,
    OF_ITS_IMAGES,
    SUSPECTS,
    audit_again,
    borne,
    clean_level,
    harm_of,
    level_of,
    measured,
)

#: Share of what a finding measures that may be left on the validation images where nothing more is tried against it.
#: The second is of findings about the images, which no classifier takes away, or that are named by their images, in
#: whose place others may be found; of all others no more than a note may be left, too.
LEFT, LEFT_OF_IMAGES = 0.5, 0.25

#: Weight of a finding without harm, beside those with some.
LEAST_WEIGHT = 0.005

#: Findings that the words about a trial name.
NAMED = 3

#: Resamples of the bootstraps; only their estimates are used here.
RESAMPLES = 50


@dataclass(frozen=True, eq=False)
class Trial:
    """One candidate, and what it does on the validation images.

    Attributes:
        treatments: that were carried out together.
        classifier: the candidate.
        quantities: by key of finding: what the finding measures, before and after; lower is better.
        mended: keys of findings that are mended on the validation images.
        cost: accuracy before less accuracy after, on clean validation images; not a number where there is no candidate.
            Of several labels an image, the mean balanced accuracy counts: see
            :func:`~snellen.verbs.treatment_measures.clean_level`.
            Where errors do not cost alike, what the mean decision costs after less before, as a share of the costliest
            error.
        seconds: of treating and judging.
        failed: why there is no candidate; empty where there is one.
        lost: accuracy before less accuracy after, where ``cost`` is not that but by the costs of errors.
    """

    treatments: tuple[Treatment, ...]
    classifier: Classifier
    quantities: Mapping[str, tuple[float, float]]
    mended: frozenset[str]
    cost: float
    seconds: float
    failed: str = ""
    lost: float | None = None

    def gain(self, findings: Sequence[Finding]) -> float:
        """Share of what the findings measure that is gone, weighted by their harm: 1 is all of it."""
        return self._gone(findings) / sum(max(one.harm, LEAST_WEIGHT) for one in findings)

    def worth(self, findings: Sequence[Finding]) -> float:
        """By which the best of several is chosen: the gain.

        Where errors do not cost alike, the harm that is gone less what clean decisions cost more; both are shares of
        the costliest error. Findings of clean decisions, such as of a class, count in the latter alone.
        """
        if self.lost is None:
            return self.gain(findings)
        return self._gone([one for one in findings if one.kind not in OF_CLEAN_DECISIONS]) - self.cost

    def _gone(self, findings: Sequence[Finding]) -> float:
        """Harm that is gone; less than 0 where there is more of it."""
        gone = 0.0
        for finding in findings:
            before, after = self.quantities.get(finding.key, (0.0, 0.0))
            if before > 0:
                gone += max(finding.harm, LEAST_WEIGHT) * min(1 - after / before, 1.0)
        return gone

    @property
    def words(self) -> str:
        """What was tried, and what it did; the findings that measured most are named."""
        names = " + ".join(one.words for one in self.treatments)
        if self.failed:
            return f"{names}: not possible here: {self.failed}"
        worst = sorted(self.quantities.items(), key=lambda one: -one[1][0])
        changes = [f"{key} {before:.3f} to {after:.3f}" for key, (before, after) in worst[:NAMED]]
        if len(worst) > NAMED:
            left = [after / before for _, (before, after) in worst[NAMED:] if before > 0]
            changes.append(f"{len(worst) - NAMED} more to {float(np.mean(left)) if left else 1:.0%} on average")
        if self.lost is None:
            clean = "balanced accuracy" if self.classifier.task == "multilabel" else "accuracy"
            return f"{names}: {', '.join(changes)}; {clean} {-self.cost:+.3f}"
        return (
            f"{names}: {', '.join(changes)}; a decision costs {self.cost:+.3f} of the costliest error, accuracy "
            f"{-self.lost:+.3f}"
        )


@dataclass(frozen=True, eq=False)
class Bench:
    """Where candidates are made and judged.

    Attributes:
        patient: the classifier, its findings, and images.
        val: validation images, for audits.
        companions: training and validation images, for checks that need them.
        checks: that measure the findings.
        folder: of audits and weights; the same call continues from what lies in it.
        seed: of everything random.
        progress: who is shown how far it is.
    """

    patient: Patient
    val: ImageSet
    companions: Mapping[Companion, ImageSet]
    checks: Sequence[Check]
    folder: Path
    seed: int
    progress: Progress | None = None

    def before(self) -> RunRecord:
        """The audited classifier on the validation images."""
        return self.audited(self.patient.classifier, "val-before")

    def audited(self, classifier: Classifier, name: str) -> RunRecord:
        """An audit of a classifier on the validation images, with the checks of the findings."""
        return audit_again(
            classifier,
            self.val,
            self.checks,
            self.companions,
            self.folder / "audits" / name,
            seed=self.seed,
            save_images=False,
            progress=self.progress,
        )

    def tried(self, treatments: Sequence[Treatment], number: int, before: RunRecord) -> Trial:
        """Treat a copy, going on with a training that was stopped, and judge it.

        A treatment that finds, on its way, that it cannot treat this classifier is a trial without a gain: others may
        mend what it could not.
        """
        started = time.perf_counter()
        place = self.folder / "candidates"
        place.mkdir(parents=True, exist_ok=True)
        try:
            network = treat_together(
                treatments,
                copied(self.patient.classifier),
                self.patient,
                rng=Randomness(self.seed).child("treatment", number),
                checkpoint=place / f"{number}.safetensors",
                progress=self.progress,
            )
        except RunConflictError:
            raise
        except (InputError, ModelError) as error:
            seconds = time.perf_counter() - started
            return Trial(tuple(treatments), self.patient.classifier, {}, frozenset(), math.nan, seconds, str(error))
        names = " + ".join(one.name for one in treatments)
        candidate = trained_classifier(self.patient.classifier, network, f"treated by {names}")
        after = self.audited(candidate, f"val-{number}")
        quantities, mended = judged(self.patient.findings, before, after)
        lost = accuracy_lost(clean_level(before), clean_level(after))
        priced = clean_costs(before, after)
        seconds = time.perf_counter() - started
        if priced is None:
            return Trial(tuple(treatments), candidate, quantities, mended, lost, seconds)
        dearer = round(priced[1] - priced[0], 12)  # as of accuracies, without the noise of floats
        return Trial(tuple(treatments), candidate, quantities, mended, dearer, seconds, lost=lost)


def judged(
    findings: Sequence[Finding], before: RunRecord, after: RunRecord
) -> tuple[dict[str, tuple[float, float]], frozenset[str]]:
    """What each finding measures before and after, and which are mended as far as validation images show.

    A finding that these images neither measure nor show before counts as it was: that it is not shown after says
    nothing.
    """
    differences = measured(before, after, findings, resamples=RESAMPLES)
    priced = measured_in_costs(before, after, findings)
    quantities, mended = dict[str, tuple[float, float]](), set[str]()
    for finding in findings:
        key = finding.key
        if key in priced:
            quantities[key] = priced[key]
        elif key in differences:
            quantities[key] = (differences[key].first, differences[key].second)
        elif (shown := harm_of(finding, before)) is not None:
            quantities[key] = (shown, harm_of(finding, after) or 0.0)
        else:
            quantities[key] = (finding.harm, finding.harm)
        first, second = quantities[key]
        if finding.kind in BY_ERROR | OF_ITS_IMAGES or finding.kind == SUSPECTS:
            gone = second <= LEFT_OF_IMAGES * first
        else:
            # Few validation images show little of what is left: as much of the harm is left as of what is measured.
            left = finding.harm * second / first - borne(finding) if first > 0 else 0.0
            gone = second <= LEFT * first and left < LEVELS["mild"] and level_of(finding, after) in (None, "note")
        if first > 0 and gone:
            mended.add(key)
    return quantities, frozenset(mended)


def accuracy_lost(before: float, after: float) -> float:
    """What a candidate costs: three of 150 images are 0.02, and not the little more that a difference of floats is.

    >>> 143 / 150 - 140 / 150 <= 0.02, accuracy_lost(143 / 150, 140 / 150) <= 0.02
    (False, True)
    """
    return round(before - after, 12)

"""Treatments tried on a copy and judged on validation images: by the checks that found what they are to mend."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snellen.auditing.audit import audit
from snellen.auditing.compare.finding_differences import compare_quantities
from snellen.auditing.compare.pairing import pair_runs
from snellen.auditing.compare.run_record import RunRecord
from snellen.checks.check import Check, Companion
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.methods.treatments.treatment import Patient, Treatment, treat_together
from snellen.models.classifiers.trainable import trainable, trained_classifier
from snellen.verbs.treatment_matching import harm_of, level_of, quantity_of
from snellen.verbs.treatment_plan import Prescription

#: Share of what a finding measures that may be left on the validation images where nothing more is tried against it; of
#: a finding that is no longer there, the larger share.
LEFT, LEFT_UNSEEN = 0.25, 0.5

#: Resamples of the bootstraps, of which only the estimates are used here.
RESAMPLES = 50


@dataclass(frozen=True, eq=False)
class Trial:
    """One candidate, and what it does on the validation images.

    Attributes:
        treatments: that were carried out together.
        classifier: the candidate.
        quantities: by key of finding: what the finding measures, before and after; lower is better.
        mended: keys of findings that are mended on the validation images.
        cost: accuracy before less accuracy after, on clean validation images.
        seconds: of treating and judging.
    """

    treatments: tuple[Treatment, ...]
    classifier: Classifier
    quantities: Mapping[str, tuple[float, float]]
    mended: frozenset[str]
    cost: float
    seconds: float

    def gain(self, findings: Sequence[Finding]) -> float:
        """Share of the findings' harm that is gone, weighted by harm: 1 is all of it."""
        total = sum(finding.harm for finding in findings) or 1.0
        gone = 0.0
        for finding in findings:
            before, after = self.quantities.get(finding.key, (0.0, 0.0))
            if before > 0:
                gone += finding.harm * min(1 - after / before, 1.0)
        return gone / total

    @property
    def words(self) -> str:
        """What was tried, and what it did."""
        changes = [f"{key} {before:.3f} to {after:.3f}" for key, (before, after) in self.quantities.items()]
        return f"{' + '.join(one.name for one in self.treatments)}: {', '.join(changes)}; accuracy {-self.cost:+.3f}"


@dataclass(frozen=True, eq=False)
class Bench:
    """Where candidates are made and judged.

    Attributes:
        patient: the classifier, its findings, and images.
        val: validation images, for audits.
        companions: training and tuning images, for checks that need them.
        checks: that measure the findings.
        folder: of audits and weights; the same call goes on from what lies in it.
        seed: of everything random.
        progress: hears of everything.
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
        out = self.folder / "audits" / name
        audit(
            classifier,
            self.val,
            out=out,
            checks=list(self.checks),
            seed=self.seed,
            allow_rejected=True,
            train=self.companions.get("train"),
            save_images=False,
            progress=self.progress,
        )
        return RunRecord.read(out)

    def tried(self, treatments: Sequence[Treatment], number: int, before: RunRecord) -> Trial:
        """Treat a copy, going on with a training that was stopped, and judge it."""
        started = time.perf_counter()
        place = self.folder / "candidates"
        place.mkdir(parents=True, exist_ok=True)
        network = treat_together(
            treatments,
            trainable(self.patient.classifier),
            self.patient,
            rng=Randomness(self.seed).child("treatment", number),
            checkpoint=place / f"{number}.safetensors",
            progress=self.progress,
        )
        names = " + ".join(one.name for one in treatments)
        candidate = trained_classifier(self.patient.classifier, network, f"treated by {names}")
        after = self.audited(candidate, f"val-{number}")
        quantities, mended = judged(self.patient.findings, before, after)
        cost = before.report.metrics["clean.accuracy"].value - after.report.metrics["clean.accuracy"].value
        return Trial(tuple(treatments), candidate, quantities, mended, cost, time.perf_counter() - started)


def judged(
    findings: Sequence[Finding], before: RunRecord, after: RunRecord
) -> tuple[dict[str, tuple[float, float]], frozenset[str]]:
    """What each finding measures before and after, and which are mended as far as validation images can tell.

    A finding that these images neither measure nor show before counts as it was: that it is not shown after says
    nothing.
    """
    differences = compare_quantities(pair_runs(before, after), resamples=RESAMPLES)
    quantities, mended = dict[str, tuple[float, float]](), set[str]()
    for finding in findings:
        key, level = finding.key, level_of(finding, after)
        measured = quantity_of(finding, before, differences)
        if measured is not None:
            quantities[key] = (measured.first, measured.second)
        elif (shown := harm_of(finding, before)) is not None:
            quantities[key] = (shown, harm_of(finding, after) or 0.0)
        else:
            quantities[key] = (finding.harm, finding.harm)
        first, second = quantities[key]
        told = level not in (None, "note")
        if first > 0 and second <= (LEFT if told else LEFT_UNSEEN) * first:
            mended.add(key)
    return quantities, frozenset(mended)


def next_treatments(prescriptions: Sequence[Prescription], rungs: Mapping[str, int]) -> tuple[Treatment, ...]:
    """The treatments on the given rungs of the ladders, each once."""
    chosen = [one.ladder[rungs[one.kind]] for one in prescriptions if one.ladder]
    return tuple({one.name: one for one in chosen}.values())


def climbed(
    prescriptions: Sequence[Prescription], rungs: Mapping[str, int], trial: Trial, max_loss: float
) -> dict[str, int] | None:
    """The rungs of the next trial; None where nothing else is left to try.

    A kind goes on to its next treatment where one of its findings is not mended. Where all are, and the accuracy lost
    is too much, the kind with the costliest treatment goes on.
    """
    higher = dict(rungs)
    open_kinds = [one for one in prescriptions if one.ladder and rungs[one.kind] + 1 < len(one.ladder)]
    unmended = [one for one in open_kinds if any(finding.key not in trial.mended for finding in one.findings)]
    if not unmended and trial.cost > max_loss:
        unmended = sorted(open_kinds, key=lambda one: one.ladder[rungs[one.kind]].passes)[-1:]
    for one in unmended:
        higher[one.kind] += 1
    return higher if unmended else None

"""Proof that a treatment helped: on images that it did not see, a weakness that other images find by themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.compare.compare import compare_records
from snellen.auditing.compare.comparison import MARGIN, Comparison, FindingVerdict, believed, finding_verdict
from snellen.auditing.compare.difference import RESAMPLES, Difference
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.subject import without_copies
from snellen.checks.check import Check, Companion
from snellen.checks.independent import in_first_half
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.finding import Finding, Level
from snellen.core.images import ImageSet
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Progress
from snellen.verbs.treated import Outcome, TreatedFinding
from snellen.verbs.treatment_measures import audit_again, harm_of, left_of, level_beside, level_of, measured
from snellen.verbs.treatment_plan import searching

#: Fewer labelled images prove nothing.
FEWEST = 50


@dataclass(frozen=True, eq=False)
class ProvingImages:
    """Images that a treatment is proven on.

    Attributes:
        proving: both classifiers are compared on these.
        selecting: the other half of the audited images; what it finds by itself may be proven on ``proving``. None:
            ``proving`` took no part in the audit at all.
        notes: where they come from.
    """

    proving: ImageSet
    selecting: ImageSet | None
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        audited: ImageSet,
        test: ImageSet | None,
        used: Sequence[ImageSet],
        companions: Sequence[ImageSet] = (),
        *,
        preparation: Preprocessing,
    ) -> ProvingImages:
        """Images of a test set, or half of the audited ones.

        Args:
            audited: by the audit that found the weakness.
            test: other images; None: there are none.
            used: by the treatment. None of these proves anything, nor others of their units.
            companions: training and validation images of the audit, likewise. With ``test``, the audited ones, too.
            preparation: of the classifier; copies from other kinds of sources are known by their prepared pixels.

        Raises:
            InputError: too few are left.
        """
        given = audited if test is None else test
        left, known = without_copies(given, [*used, *companions, *([] if test is None else [audited])], preparation)
        notes = []
        if known:
            notes.append(
                f"{known} of {len(given)} images of {given.name} are also among the images of training, validation or "
                f"audit, or of their units. They prove nothing and were left out."
            )
        labelled = int(labelled_images(left).sum())
        needed = FEWEST if test is not None else 2 * FEWEST
        if labelled < needed:
            raise InputError(
                f"{labelled} labelled images are left to prove a treatment on, and {needed} are needed at least"
                f": give {'others' if test is None else 'more'} with test=... (--test DATA)"
            )
        if test is not None:
            return cls(left, None, (*notes, f"Proven on {len(left)} images of {left.name}."))
        first = in_first_half(left.units)
        selecting, proving = (left.select(np.flatnonzero(half)) for half in (first, ~first))
        notes.append(
            f"Proven on half of the audited images ({len(proving)}): a finding counts where the other half finds it by "
            f"itself. Images that took no part in the audit (--test) prove more."
        )
        return cls(proving, selecting, tuple(notes))


def labelled_images(images: ImageSet) -> NDArray[np.bool_]:
    """Which images have a label, or one of several, (n,)."""
    if "labels" in images.table.column_names and not images.hidden:
        return np.asarray((images.label_sets >= 0).any(1))
    return np.asarray(images.known_labels >= 0)


@dataclass(frozen=True, eq=False)
class Proof:
    """What was found on the proving images.

    Attributes:
        outcomes: of each finding.
        comparison: of the audits before and after.
        before: audit of the classifier as it was.
        after: audit of the treated one.
    """

    outcomes: tuple[TreatedFinding, ...]
    comparison: Comparison
    before: RunRecord
    after: RunRecord


def proven(
    classifier: Classifier,
    treated: Classifier,
    findings: Sequence[Finding],
    treatments: Mapping[str, str],
    images: ProvingImages,
    companions: Mapping[Companion, ImageSet],
    checks: Sequence[Check],
    folder: Path,
    *,
    seed: int,
    save_images: bool = True,
    progress: Progress | None = None,
) -> Proof:
    """Audit both classifiers on the proving images, and say what became of each finding.

    Args:
        classifier: as it was audited.
        treated: the one candidate that validation images chose.
        findings: that were treated.
        treatments: name of the treatment of each, by key.
        images: that prove.
        companions: training and validation images, for checks that need them.
        checks: that measure the findings; those that search do so in the treated classifier alone.
        folder: of the audits.
        seed: of these.
        save_images: whether they may keep pictures.
        progress: who is shown how far it is.
    """

    def audited(model: Classifier, part: ImageSet, name: str, run: Sequence[Check] = checks) -> RunRecord:
        place = folder / "audits" / name
        return audit_again(model, part, run, companions, place, seed=seed, save_images=save_images, progress=progress)

    selected = None
    if images.selecting is not None:
        record = audited(classifier, images.selecting, "selected")
        selected = {
            one.key
            for one in findings
            if (level := level_of(one, record)) is not None and (level != "note" or one.level == "note")
        }
    before = audited(classifier, images.proving, "before")
    after = audited(treated, images.proving, "after", searching(checks))
    comparison = compare_records(before, after)
    verdicts = _verdicts(before, after, findings, comparison)
    outcomes = []
    for finding in findings:
        key = finding.key
        change, verdict = verdicts.get(key, (None, None))
        left = left_of(finding, after)
        outcome, reason = _outcome(verdict, level_beside(finding, left), selected is None or key in selected)
        outcomes.append(
            TreatedFinding(
                key=key,
                title=finding.title,
                treatment=treatments[key],
                outcome=outcome,
                reason=reason,
                first_harm=harm_of(finding, before),
                second_harm=None if left is None else left.harm,
                first=None if change is None else change.first,
                second=None if change is None else change.second,
                difference=None if change is None else change.value,
                low=None if change is None or not math.isfinite(change.low) else change.low,
                high=None if change is None or not math.isfinite(change.high) else change.high,
            )
        )
    return Proof(tuple(outcomes), comparison, before, after)


def _verdicts(
    before: RunRecord, after: RunRecord, findings: Sequence[Finding], comparison: Comparison
) -> dict[str, tuple[Difference | None, FindingVerdict]]:
    """Difference and verdict of each finding that was treated.

    They are corrected for the number of findings that were treated, which were named before these images were measured;
    the comparison of everything else stands beside it.
    """
    changes, by_key = measured(before, after, findings, resamples=RESAMPLES), {one.key: one for one in findings}
    lost, gained = believed([one.rise for one in changes.values()], [one.fall for one in changes.values()])
    found: dict[str, tuple[Difference | None, FindingVerdict]] = {
        one.key: (None, one.verdict) for one in comparison.findings
    }
    for (key, difference), fell, rose in zip(changes.items(), gained, lost, strict=True):
        shown = harm_of(by_key[key], before) is not None, left_of(by_key[key], after) is not None
        verdict = finding_verdict(difference, before=shown[0], after=shown[1], lost=rose, gained=fell, margin=MARGIN)
        found[key] = (difference, verdict)
    return found


def _outcome(verdict: FindingVerdict | None, level: Level | None, selected: bool) -> tuple[Outcome, str]:
    """What became of a finding, and why where that is not plain."""
    if not selected:
        return "unproven", "half of the audited images do not find it by themselves; give others with test=... (--test)"
    if verdict is None:
        return "unproven", "the proving images do not show it before the treatment; more are needed"
    if verdict == "mended" or (verdict == "better" and level in (None, "note")):
        return "mended", ""
    if verdict in ("better", "worse", "new"):
        return ("smaller" if verdict == "better" else "worse"), ""
    return "unchanged", "no difference that these images can show"

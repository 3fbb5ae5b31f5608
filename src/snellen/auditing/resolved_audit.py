"""A resolved audit: which model, which images, which checks run, and why others do not."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snellen.auditing.budgeting import MEASURING_SHARE, Choice, fitted, measure_rates, recorded_choice
from snellen.auditing.by_label import missing_by_label, sized_by_label
from snellen.auditing.checks import base_check, resolve_checks
from snellen.auditing.checks.labels import with_thresholds
from snellen.auditing.limiting import limited
from snellen.auditing.privacy import Privacy
from snellen.auditing.shard_work import ShardWork
from snellen.checks.check import Check, Companion, Kept, LackedSetting, WholeSet
from snellen.checks.per_image import BAG_LABEL
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.fast_copy import fast_copy
from snellen.core.images import ImageSet
from snellen.data.files.labels import align_labels
from snellen.runs.estimate import TRIAL_SECONDS, Estimate, peak_memory

#: At most so many training or validation images are read, drawn at random.
COMPANION_LIMIT = 20_000


@dataclass(frozen=True, eq=False)
class ResolvedAudit:
    """What is audited, under the names that may be written.

    Attributes:
        classifier: the model.
        images: that are audited; labels in the classifier's classes.
        drawn_from: all images that were given; a budget draws anew among them.
        companions: training and validation images, as many as are read.
        wholes: what is known of all of these.
        checks: that were requested.
        skipped: why a check does not run, by name; None: it runs.
        seed: of what is drawn.
        measuring: the model that gives the scores: laid out for speed where that changes no decision.
    """

    classifier: Classifier
    images: ImageSet
    drawn_from: ImageSet
    companions: Mapping[Companion, ImageSet]
    wholes: Mapping[Companion, WholeSet]
    checks: Sequence[Check]
    skipped: Mapping[str, str | None]
    seed: int
    measuring: Classifier

    @classmethod
    def of(
        cls,
        classifier: Classifier,
        images: ImageSet,
        given: Mapping[Companion, ImageSet | None],
        checks: Sequence[str | Mapping[str, Any] | Check] | None,
        threats: Sequence[str],
        *,
        privacy: Privacy,
        limit: int | None,
        seed: int,
        bounded: bool = True,
        domain: str | None = None,
    ) -> ResolvedAudit:
        """Resolve the arguments of :func:`~snellen.auditing.audit.audit`.

        ``bounded`` says whether checks may measure a sample of many images.

        Raises:
            InputError: there are no images, labels do not fit, a check is unknown, or ``clean`` cannot run.
        """
        classifier, images, given = privacy.applied(classifier, images, given)
        drawn = images if limit is None else limited(images, limit, seed)
        if not len(drawn):
            raise InputError(f"{images.name} holds no images")
        drawn = _aligned(drawn, classifier)
        companions = _companions(given, classifier, seed)
        wholes = {name: WholeSet.of(whole) for name, whole in given.items() if whole is not None}
        chosen = [
            privacy.check((check if bounded else check.unbounded()).seeing(images, classifier).resolved(classifier))
            for check in resolve_checks(checks, threats, classifier.task, domain)
        ]
        skipped = {check.name: _missing(check, classifier, drawn, frozenset(companions)) for check in chosen}
        base = base_check(classifier.task)
        if skipped[base] is not None:
            raise InputError(f"the check {base!r}, which every other is compared with, cannot run: it {skipped[base]}")
        classifier = with_thresholds(classifier, [one for one in chosen if skipped[one.name] is None])
        measuring = fast_copy(classifier)
        return cls(classifier, drawn, images, companions, wholes, chosen, skipped, seed, measuring)

    def within_budget(
        self,
        seconds: float,
        folder: Path,
        *,
        batch_size: int,
        workers: int,
        processes: int,
        started: float,
    ) -> tuple[ResolvedAudit, Choice]:
        """The same audit with the images and checks that fit; what a run in the folder chose is not chosen again.

        See :func:`~snellen.auditing.budgeting.fitted`.
        """
        choice = recorded_choice(folder, seconds, len(self.images)) or fitted(
            seconds,
            self.measuring,
            self.images,
            self.companions,
            self.running,
            batch_size=batch_size,
            workers=workers,
            seed=self.seed,
            started=started,
            processes=processes,
        )
        images = _aligned(limited(self.drawn_from, choice.images, self.seed), self.classifier)
        companions = {
            name: one.limit(choice.companions.get(name, len(one)), self.seed) for name, one in self.companions.items()
        }
        left = {**self.skipped, **choice.left_out}
        return replace(self, images=images, companions=companions, skipped=left), choice

    def estimate(self, work: ShardWork, shards: Mapping[str, int], folder: Path | None, where: str = "") -> Estimate:
        """What the audit will cost: passes as the checks state them, seconds measured on a few images.

        Args:
            work: that is to be done.
            shards: by set.
            folder: of the run.
            where: it would be done and why, where that was chosen.
        """
        passes = sum(sum(work.cost(name).values()) * len(images) for name, images in work.sets.items())
        known: dict[str, Any] = {
            "what": "audit",
            "folder": folder,
            "items": sum(map(len, work.sets.values())),
            "shards": sum(shards.values()),
            "queries": round(passes),
            "skipped": {name: reason for name, reason in self.skipped.items() if reason is not None},
        }
        if self.classifier.sent_to is not None:
            note = f"images go to {self.classifier.sent_to}: nothing is measured here, because a plan sends nothing"
            requests = sum(
                math.ceil(len(images) / work.batch_size) * round(sum(work.cost(name).values()))
                for name, images in work.sets.items()
            )
            return Estimate(**known, requests=requests, notes=(note,))
        rates = measure_rates(
            self.measuring,
            self.images,
            self.reads,
            batch_size=work.batch_size,
            workers=work.workers,
            seed=self.seed,
            seconds=TRIAL_SECONDS / MEASURING_SHARE,
        )
        seconds = rates.each * known["items"] + rates.forward * passes
        return Estimate(
            **known,
            seconds=round(seconds, 1),
            memory=peak_memory(),
            requests=0,
            notes=(
                "measured on a few images in this process; several processes divide the time",
                *([f"runs in {where}"] if where else []),
            ),
        )

    def refuse_lacking(self, wanted: Collection[str]) -> None:
        """Refuse checks that were requested by name and lack a setting, before anything is measured.

        What else a check lacks is left to the report.

        Raises:
            InputError: such a check, with the setting that it lacks.
        """
        for name, reason in self.skipped.items():
            if name in wanted and isinstance(reason, LackedSetting):
                raise InputError(f"the check {name} was requested by name, and cannot run: it {reason}")

    @property
    def running(self) -> list[Check]:
        """Checks that run."""
        return [check for check in self.checks if self.skipped[check.name] is None]

    @property
    def reads(self) -> frozenset[Kept]:
        """What these read in the clean evidence beside decisions and confidences."""
        return frozenset(kept for check in self.running for kept in check.reads)

    @property
    def images_by_set(self) -> dict[str, ImageSet]:
        """Sets of images that are measured."""
        return {"audit": self.images} | {str(name): images for name, images in self.companions.items()}

    @property
    def checks_by_set(self) -> dict[str, Sequence[Check]]:
        """Checks that measure something of their own, by set, with the share of the images that they measure."""
        # A segmenter is measured on images with masks, whether or not they have a label.
        pixelwise, several = (self.classifier.task == one for one in ("segment", "multilabel"))
        if several:
            count, labels = int((self.images.label_sets >= 0).any(1).sum()), len(self.classifier.class_names)
            own = [sized_by_label(check, labels, count) for check in self.running if check.measures]
            return {"audit": own, **dict.fromkeys(self.companions, ())}
        labelled = len(self.images) if pixelwise else int((self.images.known_labels >= 0).sum())
        own = [check.sized(labelled) for check in self.running if check.measures]
        return {"audit": own, **dict.fromkeys(self.companions, ())}


#: Settings that checks may lack whose code is under hashes of records, and which therefore return a plain reason.
_SETTINGS: Mapping[str, tuple[str, ...]] = {"motion": ("model",), "shortcuts": ("captioner", "detector")}


def _missing(check: Check, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
    """Why a check cannot run, or None; that it is not for segmenters comes before all else."""
    if classifier.task == "segment" and classifier.task not in check.tasks:
        return f"is not for segmenters: it reads one decision for each image, and {classifier.name} decides each pixel"
    why_not = missing_by_label if classifier.task == "multilabel" else type(check).missing
    reason = why_not(check, classifier, images, companions)
    if reason is None:
        return None
    for setting in _SETTINGS.get(check.name, ()):
        given = check.model_copy(update={setting: "given"})
        if not getattr(check, setting) and why_not(given, classifier, images, companions) != reason:
            return LackedSetting(reason, setting)
    return reason


def _companions(
    given: Mapping[Companion, ImageSet | None], classifier: Classifier, seed: int
) -> dict[Companion, ImageSet]:
    """The sets that were given, limited in size, their labels in the classifier's classes."""
    found = {name: images.limit(COMPANION_LIMIT, seed) for name, images in given.items() if images is not None}
    for name, images in found.items():
        if not len(images):
            raise InputError(f"the {name} images {images.name} are none")
    return {name: _aligned(images, classifier) for name, images in found.items()}


def _aligned(images: ImageSet, classifier: Classifier) -> ImageSet:
    """The same images, labels of images and of bags in the classifier's classes."""
    known = images.has_labels or any(label is not None for label in images.column(BAG_LABEL))
    return align_labels(images, classifier.class_names) if known else images

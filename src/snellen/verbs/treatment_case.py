"""What a treatment rests on, opened and checked before anything is trained: audit, images by their roles, plan."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from snellen.auditing.checks.labels import with_thresholds, without_thresholds
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.report import AuditReport
from snellen.auditing.resolved_audit import COMPANION_LIMIT
from snellen.auditing.subject import Subject, without_copies
from snellen.checks.check import Check
from snellen.checks.independent import in_first_half
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, UnsupportedError
from snellen.core.factors import FACTORS, decoded, subject_of
from snellen.core.finding import Finding
from snellen.core.images import COLUMNS, ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.data.files.labels import align_labels
from snellen.data.rejections import check_rejected, counted_reasons, listed_reasons
from snellen.methods.generation.made_images import generating_on, generator_of
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.treatments.generated_images import kinds_of_generated
from snellen.methods.treatments.treatment import Patient
from snellen.models.classifiers.trainable import copied
from snellen.runs.given import Images, Model, given_classifier, given_images
from snellen.runs.scan_suspects import LeftOut, without_named
from snellen.training.batches import ImageStore
from snellen.verbs.treatment_costs import alike
from snellen.verbs.treatment_plan import (
    Named,
    TreatmentPlan,
    affected_checks,
    chosen_findings,
    obstacles_of,
    prescribed,
)
from snellen.verbs.treatment_proof import ProvingImages, labelled_images

#: Most validation images, drawn at random by the seed, and the fewest.
VALIDATED_ON, FEWEST = 2_000, 40

#: Share of the training images that is held out for validation where none are given.
HELD_OUT = 0.2


@dataclass(frozen=True, eq=False)
class Case:
    """Everything that a treatment rests on, opened and checked.

    Attributes:
        subject: what was audited.
        patient: classifier, findings, and prepared images.
        val: validation images that judge candidates; other ones fit what is fitted to validation images.
        proving: images that prove.
        checks: that measure the findings.
        plan: what is tried.
        seed: of everything random.
        left_out: what a scan kept out of the training images; None without one.
    """

    subject: Subject
    patient: Patient
    val: ImageSet
    proving: ProvingImages
    checks: Sequence[Check]
    plan: TreatmentPlan
    seed: int
    left_out: LeftOut | None = None

    @classmethod
    def of(
        cls,
        run: AuditReport | Path | str,
        train: Images | None = None,
        *,
        val: Images | None = None,
        test: Images | None = None,
        findings: str | Sequence[str] = (),
        treatments: Named | None = None,
        generator: ByName | str | None = None,
        classifier: Model | None = None,
        images: Images | None = None,
        train_limit: int = 5_000,
        max_loss: float = 0.01,
        without: Path | str | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Case:
        """Open the run and the images, and make the plan; arguments and errors as those of :func:`treat`."""
        removed = None
        if without is not None:
            if train is None:
                raise InputError("a scan leaves training images out: name these images, too, with --train (train=...)")
            train, removed = without_named(given_images(train), Path(without))
        report, subject, place = _opened(run, classifier, images)
        # Thresholds of the audit become those of the classifier, so that a treatment may choose others.
        model = with_thresholds(subject.classifier, subject.checks)
        subject = replace(subject, checks=without_thresholds(subject.checks))
        several = model.task == "multilabel"
        if model.task != "single" and not several:
            what = "the class of each pixel" if model.task == "segment" else f"a task of the kind {model.task}"
            raise InputError(f"{model.name} decides {what}; treatments are for one class or several labels an image")
        chosen = chosen_findings(report, (findings,) if isinstance(findings, str) else findings)
        maker = ByName(generator=generator) if isinstance(generator, str) else generator
        if maker is not None:
            _check_generator(maker, chosen, model)
        training = _fitting(train, subject.companions.get("train"), model)
        validation, where = _validation(val, subject.companions.get("val"), training, model, seed)
        # Limits first: what is not used is not read.
        validation = validation.limit(VALIDATED_ON, seed)
        copies, known = 0, None if training is None else training.limit(train_limit, seed)
        if several:
            training = None  # only scores and thresholds are treated; what weights were trained on proves nothing
        if training is not None and known is not None:
            training, copies = without_copies(known, [validation], model.preparation)
            if not len(training):
                raise InputError("every training image is also a validation image; give other images with val=...")
        made = () if maker is None else [one.subject for one in chosen if one.kind == "worst_class"]
        _check_classes(training, subject.images, model, made)
        _check_classes(validation, subject.images, model)
        fitting, judging = _two_parts(validation)
        fitted = "thresholds and scores of labels" if several else "scores and last layers"
        notes = [f"Chosen on {len(judging)} images {where}; {len(fitting)} others of them fit {fitted}."]
        if any((costs := getattr(check, "costs", None)) is not None and not alike(costs) for check in subject.checks):
            notes.append(
                f"Errors count by their costs, as in the audit. Candidates are chosen by what they save, and none may "
                f"make a decision dearer by more than {max_loss:.1%} of the costliest error."
            )
        if 1 / len(judging) > max_loss:
            notes.append(
                f"One of these {len(judging)} images is {1 / len(judging):.1%} of accuracy, more than a treatment may "
                f"cost ({max_loss:.1%}): give more with --val, or allow more with --max-loss."
            )
        if copies and (val is not None or "val" in subject.companions):
            notes.append(f"{copies} training images are also validation images, and were not trained on.")
        proving = ProvingImages.of(
            subject.images,
            None if test is None else align_labels(given_images(test), model.class_names),
            [one for one in (known, validation) if one is not None],
            [one.limit(COMPANION_LIMIT, seed) for one in subject.companions.values()],
            preparation=model.preparation,
        )
        store, left_out = None, list[str]()
        if training is not None:
            store = _prepared(training, model, progress, left_out)
        patient = Patient(
            classifier=model,
            findings=chosen,
            val=_prepared(fitting, model, progress, left_out),
            train=store,
            images=None if store is None or training is None else _grouped(_usable(training, store), chosen),
            checks={check.name: check for check in subject.checks},
            folder=place,
            max_loss=max_loss,
            generator=maker,
        )
        notes += [*left_out, *([] if removed is None else [removed.words])]
        network = None
        with suppress(UnsupportedError):  # the plan says for each treatment that it cannot be queried
            network = copied(model)
        obstacles = obstacles_of(subject.checks, model, place)
        plan = TreatmentPlan(prescribed(chosen, network, patient, treatments, obstacles), (*notes, *proving.notes))
        treatable = replace(patient, findings=plan.treated)
        checks = affected_checks(subject.checks, plan.treated, place)
        return cls(subject, treatable, judging, proving, checks, plan, seed, removed)

    def request(self, progress: Progress | None) -> dict[str, Any]:
        """What decides the result, as JSON values."""
        return {
            "classifier": self.patient.classifier.fingerprint(),
            "findings": [finding.key for finding in self.patient.findings],
            "treatments": [[one.record() for one in each.ladder] for each in self.plan.prescriptions],
            "train": None if self.patient.train is None else self.patient.train.fingerprint(),
            "fitting": self.patient.val.fingerprint(),
            "judging": self.val.fingerprint(progress),
            **_generating(self.patient),
            "proving": self.proving.proving.fingerprint(progress),
            "max_loss": self.patient.max_loss,
            "seed": self.seed,
            # Those of an audit are not in the fingerprint.
            **({"without": self.left_out.evidence} if self.left_out is not None else {}),
            **({"thresholds": list(given)} if (given := self.patient.classifier.thresholds) else {}),
        }


#: Group of training images that no finding names.
OTHERS = "others"


def _grouped(training: ImageSet, findings: Sequence[Finding]) -> ImageSet:
    """Training images of several groups each, with the groups that findings name as their one group.

    An image in several of them is in the first, that of the most harm; all others are together.
    """
    factors = decoded(training.column(FACTORS))
    subjects = [finding.subject for finding in findings if finding.kind == "group_gap"]
    if not factors or not subjects:
        return training
    groups = []
    for row in zip(*factors.values(), strict=True):
        levels = [level for level in zip(factors, row, strict=True) if level[1] is not None]
        own = {subject_of(held) for count in (1, 2) for held in combinations(levels, count)}
        groups.append(next((one for one in subjects if one in own), OTHERS))
    place = training.table.column_names.index("group")
    return replace(training, table=training.table.set_column(place, "group", pa.array(groups, COLUMNS["group"])))


#: Why a run under pseudonyms is refused: other images come with their own names, and would be written with them.
_PSEUDONYMS = (
    "this audit replaced names by pseudonyms, and a treatment would write those of its training images as they are. "
    "Audit without pseudonyms into a folder that is not handed on, and treat that run"
)


def _opened(
    run: AuditReport | Path | str, classifier: Model | None, images: Images | None
) -> tuple[AuditReport, Subject, Path | None]:
    """Report, what it examined, and its folder."""
    if isinstance(run, AuditReport) and run.subject is not None:
        subject = run.subject
        if subject.pseudonyms:
            raise InputError(_PSEUDONYMS)
        if subject.fingerprint is not None and subject.classifier.fingerprint() != subject.fingerprint:
            raise InputError(
                f"{subject.classifier.name} is not what it was when it was audited: its weights have changed since; "
                f"audit it again"
            )
        return run, subject, run.folder
    folder = run.folder if isinstance(run, AuditReport) else Path(run)
    if folder is None:
        raise InputError(
            "this report was kept without its run directory, and does not know what it examined; give the directory, "
            "or the report that snellen.audit returned in this process"
        )
    record = RunRecord.read(folder)
    if record.plan.get("pseudonyms") is not None:
        raise InputError(_PSEUDONYMS)
    audited = None if images is None else given_images(images)
    model = None if classifier is None else given_classifier(classifier, audited)
    return record.report, Subject.read(folder, record.plan, classifier=model, images=audited), folder


def _fitting(given: Images | None, known: ImageSet | None, model: Classifier) -> ImageSet | None:
    """Images that may be trained on, labelled in the classifier's classes; None where there are none."""
    images = known if given is None else given_images(given)
    if images is None:
        return None
    images = align_labels(images.for_fitting(), model.class_names)
    if (model.task == "multilabel") != ("labels" in images.table.column_names):
        came = "several labels" if "labels" in images.table.column_names else "one class or none"
        raise InputError(f"{images.name} has {came} an image, which {model.name} does not decide")
    labelled = np.flatnonzero(labelled_images(images))
    if not len(labelled):
        raise InputError(f"{images.name} has no labels, and a treatment trains on labelled images")
    return images if len(labelled) == len(images) else images.select(labelled)


def _validation(
    given: Images | None, known: ImageSet | None, training: ImageSet | None, model: Classifier, seed: int
) -> tuple[ImageSet, str]:
    """Validation images, and where they come from, in words that follow their number."""
    found = _fitting(given, known, model)
    if found is not None:
        return found, f"of {found.name}"
    if training is None:
        raise InputError(
            "a treatment needs images that are not those of the audit: give training images with train=... (--train "
            "DATA), or, to treat scores alone, validation images with val=... (--val DATA)"
        )
    return training.select(_held_out(training, seed)), f"that were held out of {len(training)} training images"


def _two_parts(validation: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Validation images that something is fitted to, and those that judge: other units.

    Raises:
        InputError: too few.
    """
    if len(validation) < FEWEST:
        raise InputError(
            f"a treatment needs {FEWEST} validation images at least: half of them judge what the others fit; got "
            f"{len(validation)}: give more with val=... (--val DATA), or more training images"
        )
    first = in_first_half(validation.units)
    return validation.select(np.flatnonzero(first)), validation.select(np.flatnonzero(~first))


def _held_out(images: ImageSet, seed: int) -> NDArray[np.int64]:
    """Rows of a fifth of the units of every class; of several labels an image, of every label that it has."""
    units = images.units
    classes: dict[str, int] = {}
    labels = images.known_labels
    if "labels" in images.table.column_names:
        labels = _rarest(images.label_sets)
    for unit, label in zip(units, labels.tolist(), strict=True):
        classes.setdefault(unit, label)
    generator = np.random.default_rng(Randomness(seed).generator("held out").initial_seed())
    chosen: set[str] = set()
    for label in sorted(set(classes.values())):
        members = [unit for unit, own in classes.items() if own == label]
        order = generator.permutation(len(members))
        chosen |= {members[place] for place in order[: min(max(round(HELD_OUT * len(members)), 1), len(members) - 1)]}
    rows = np.array([unit in chosen for unit in units])
    if rows.all() or not rows.any():
        raise InputError(f"{images.name} has too few units to hold some out for validation; give val=... (--val DATA)")
    return np.flatnonzero(rows)


def _rarest(sets: NDArray[np.int8]) -> NDArray[np.int64]:
    """Of each image, the label it has that fewest images have, (n,); −1 where it has none.

    Sets of many labels are hardly ever equal, and few of their own could be held out.
    """
    have = sets == 1
    rarest = np.where(have, have.sum(0), len(sets) + 1).argmin(1)
    return np.where(have.any(1), rarest, -1)


def _check_generator(maker: ByName, findings: Sequence[Finding], model: Classifier) -> None:
    """Refuse a generator that cannot be loaded, or that no finding has a use for.

    Raises:
        InputError: as above.
    """
    kinds = kinds_of_generated()
    if not any(one.kind in kinds for one in findings):
        raise InputError(
            f"a generator makes images for findings of the kinds {', '.join(kinds)}, and none of "
            f"these is one: {', '.join(dict.fromkeys(one.kind for one in findings))}; leave out --generator"
        )
    with generating_on(str(model.device)):
        generator_of(maker.generator)
        maker.adapters()


def _generating(patient: Patient) -> dict[str, Any]:
    """What decides the images that a generator makes, where one is named."""
    if patient.generator is None:
        return {}
    with generating_on(str(patient.classifier.device)):
        return {"generator": {**patient.generator.record(), **patient.generator.identities()}}


def _check_classes(images: ImageSet | None, audited: ImageSet, model: Classifier, made: Collection[str] = ()) -> None:
    """Refuse images that lack a class which the audited images hold: a classifier forgets what it is not shown.

    Of classes that are ``made`` a generator makes images.
    """
    if images is None or model.task == "multilabel":
        return
    present = {int(label) for label in audited.known_labels if label >= 0}
    gone = sorted(present - {int(label) for label in images.known_labels})
    gone = [label for label in gone if model.class_names[label] not in made]
    if gone:
        named = ", ".join(model.class_names[label] for label in gone[:5]) + (", …" if len(gone) > 5 else "")
        raise InputError(
            f"{images.name} has no image of {named}, which the audited images hold; a classifier forgets what it is "
            f"not shown: give images of every class, or, where a class is a finding, a generator (--generator REF)"
        )


def _prepared(images: ImageSet, model: Classifier, progress: Progress | None, notes: list[str]) -> ImageStore:
    """The images as the classifier takes them; what cannot be used is left out, and a note added.

    Raises:
        InputError: more than a few cannot be used.
    """
    targets = torch.from_numpy(images.label_sets) if model.task == "multilabel" else None
    store = ImageStore.of_images(images, model.preparation, targets=targets, progress=progress)
    check_rejected(store.rejected, len(images), images.name, allowed=False)
    if store.rejected:
        reasons = listed_reasons(counted_reasons(store.rejected.values()))
        notes.append(f"{len(store.rejected)} of {len(images)} images of {images.name} were left out: {reasons}.")
    return store


def _usable(images: ImageSet, store: ImageStore) -> ImageSet:
    """The images of a store, in its order."""
    places = {one: row for row, one in enumerate(images.ids)}
    return images.select([places[one] for one in store.ids])

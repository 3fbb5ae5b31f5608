"""The verb ``snellen.treat``: from what an audit found to a classifier that no longer does it, and the proof."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from snellen.auditing.compare.page import render_comparison
from snellen.auditing.compare.run_record import RunRecord
from snellen.auditing.report import AuditReport
from snellen.auditing.subject import Subject, without_copies
from snellen.checks.check import Check
from snellen.core.budget import seconds_of
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, RunConflictError, SnellenError, UnsupportedError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.run import canonical_json, write_atomically
from snellen.core.unwritable import unwritable_told
from snellen.data.files.labels import align_labels
from snellen.methods.treatments.treatment import Patient
from snellen.models.classifiers.trainable import trainable
from snellen.runs.given import Images, Model, given_classifier, given_images
from snellen.training.batches import ImageStore
from snellen.training.checkpoints import differences
from snellen.verbs.treated import RECORD, Cost, Treated, TreatedFinding
from snellen.verbs.treated_page import PAGE, render_treated
from snellen.verbs.treatment_card import treatment_card
from snellen.verbs.treatment_delivery import delivered
from snellen.verbs.treatment_plan import (
    Named,
    Prescription,
    TreatmentPlan,
    affected_checks,
    chosen_findings,
    obstacles_of,
    prescribed,
)
from snellen.verbs.treatment_proof import ProvingImages, proven
from snellen.verbs.treatment_trials import Bench, Trial, climbed, next_treatments

#: Most images that judge a candidate, drawn at random by the seed.
JUDGED_ON = 1_000

#: Share of the training images that is held out for validation where none are given.
HELD_OUT = 0.2

#: Most candidates; a plan of few kinds has fewer.
MOST = 6

#: What was asked for, while it is being done.
UNFINISHED = "treating.json"


def treat(
    run: AuditReport | Path | str,
    train: Images | None = None,
    *,
    val: Images | None = None,
    test: Images | None = None,
    findings: str | Sequence[str] = (),
    treatments: Named | None = None,
    classifier: Model | None = None,
    images: Images | None = None,
    out: Path | str | None = None,
    max_loss: float = 0.01,
    train_limit: int = 5_000,
    budget: float | str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Treated:
    """Treat what an audit found, beginning from the weights of the audited classifier, and prove it.

    Treatments are tried on a copy, the cheapest first, and chosen on validation images alone. The audit's images are
    opened once, for the candidate that was chosen: half of them must find the weakness by themselves, and the other
    half compares the classifier before and after, image by image. Nothing is delivered that loses more than
    ``max_loss`` of clean validation accuracy.

    Args:
        run: the report of an audit, or its run directory.
        train: images that the treatment may train on, none of them test images: an image set, or what
            :func:`snellen.load_images` takes; labels are matched by name. None: those that the audit was given as
            ``train``; without any, only scores can be treated.
        val: images that choose between treatments and that scores are fitted to. None: those that the audit was given
            as ``tune``, else a fifth of the training images is held out.
        test: images that prove, which took no part in anything. None: the audited images, as said.
        findings: kinds ("corruption") or keys ("corruption:fog") of the findings to treat; none: all that are more
            than a note and more than healthy classifiers lose.
        treatments: methods of the area ``treatments`` that are tried, in this order, instead of all.
        classifier: the audited classifier, where the report does not know it: see :class:`Subject`.
        images: the audited images, likewise.
        out: a new folder, or one that holds an unfinished treatment of the same. None: nothing is kept.
        max_loss: largest loss of clean accuracy on the validation images.
        train_limit: at most so many training images are trained on, drawn at random; more cost more, and mend more.
        budget: seconds, or a time such as "90s", "5m", after half of which no new candidate is begun.
        seed: of everything random.
        progress: hears of every step.

    Returns:
        The treated classifier, what became of each finding, and what it cost.

    Raises:
        InputError: there is nothing to treat, or no images to judge or to prove with; the folder is not free.
        RunConflictError: the folder holds an unfinished treatment of something else.
    """
    started, allowed = time.perf_counter(), None if budget is None else seconds_of(budget)
    with ExitStack() as stack:
        folder = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory())) / "treated"
        stack.enter_context(unwritable_told(folder))
        case = Case.of(
            run, train, val, test, findings, treatments, classifier, images, train_limit, max_loss, seed, progress
        )
        _open(folder, case.asked(max_loss, progress))
        plan = case.plan
        bench = Bench(
            case.patient, case.val, case.subject.companions, case.checks, folder, seed=seed, progress=progress
        )
        tried = list[Trial]()
        if plan.treated:
            before = bench.before()
            rungs: Mapping[str, int] | None = {one.kind: 0 for one in plan.prescriptions}
            while rungs is not None and len(tried) < MOST:
                trial = bench.tried(next_treatments(plan.prescriptions, rungs), len(tried) + 1, before)
                tried.append(trial)
                done = set(trial.mended) >= {finding.key for finding in plan.treated} and trial.cost <= max_loss
                spent = time.perf_counter() - started
                if done or (allowed is not None and spent > allowed / 2):
                    break
                rungs = climbed(plan.prescriptions, rungs, trial, max_loss)
        chosen = _chosen(tried, plan, max_loss)
        result = _result(case, chosen, tried, folder, out is not None, progress) if chosen else _nothing(case, tried)
        result = replace(result, folder=folder if out is not None else None)
        if out is None:
            return replace(result, reference=None)
        write_atomically(folder / "README.md", treatment_card(result, case.patient.classifier).encode())
        write_atomically(folder / RECORD, canonical_json(result.to_json()))
        (folder / UNFINISHED).unlink(missing_ok=True)
        shutil.rmtree(folder / "candidates", ignore_errors=True)
        return result


def treatment_plan(
    run: AuditReport | Path | str,
    train: Images | None = None,
    *,
    val: Images | None = None,
    test: Images | None = None,
    findings: str | Sequence[str] = (),
    treatments: Named | None = None,
    classifier: Model | None = None,
    images: Images | None = None,
    train_limit: int = 5_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> TreatmentPlan:
    """What :func:`treat` would try against which finding; arguments and errors as there. Nothing is trained."""
    return Case.of(
        run, train, val, test, findings, treatments, classifier, images, train_limit, 0.01, seed, progress
    ).plan


@dataclass(frozen=True, eq=False)
class Case:
    """Everything that a treatment rests on, opened and checked.

    Attributes:
        subject: what was audited.
        patient: classifier, findings, and prepared images.
        val: validation images, for audits.
        proving: images that prove.
        checks: that measure the findings.
        plan: what is tried.
        seed: of everything random.
    """

    subject: Subject
    patient: Patient
    val: ImageSet
    proving: ProvingImages
    checks: Sequence[Check]
    plan: TreatmentPlan
    seed: int

    @classmethod
    def of(
        cls,
        run: AuditReport | Path | str,
        train: Images | None,
        val: Images | None,
        test: Images | None,
        findings: str | Sequence[str],
        treatments: Named | None,
        classifier: Model | None,
        images: Images | None,
        train_limit: int,
        max_loss: float,
        seed: int,
        progress: Progress | None,
    ) -> Case:
        """Open the run and the images, and make the plan; arguments and errors as those of :func:`treat`."""
        report, subject, place = _opened(run, classifier, images)
        model = subject.classifier
        if model.task != "single":
            raise InputError(f"{model.name} decides {model.task}, and treatments are for one class an image")
        chosen = chosen_findings(report, (findings,) if isinstance(findings, str) else findings)
        training = _fitting(train, subject.companions.get("train"), model)
        validation, notes = _validation(val, subject.companions.get("tune"), training, model, seed)
        tested = None if test is None else align_labels(given_images(test), model.class_names)
        if training is not None:
            training, copies = without_copies(training, [validation])
            if not len(training):
                raise InputError("every training image is also a validation image; give other images with val=...")
            if copies and val is not None:
                notes = (*notes, f"{copies} training images are also validation images, and were not trained on.")
        for part in (training, validation):
            _check_classes(part, subject.images, model)
        used = [one for one in (training, validation, *subject.companions.values()) if one is not None]
        proving = ProvingImages.of(subject.images, tested, used if tested is None else [*used, subject.images])
        if training is not None:
            training = training.limit(train_limit, seed)
        validation = validation.limit(JUDGED_ON, seed)
        store = None if training is None else ImageStore.of_images(training, model.preparation, progress=progress)
        patient = Patient(
            classifier=model,
            findings=chosen,
            val=ImageStore.of_images(validation, model.preparation, progress=progress),
            train=store,
            images=None if store is None or training is None else _usable(training, store),
            checks={check.name: check for check in subject.checks},
            folder=place,
            max_loss=max_loss,
        )
        network = None
        with suppress(UnsupportedError):  # the plan says of each treatment that it needs weights
            network = trainable(model)
        obstacles = obstacles_of(subject.checks, model, place)
        plan = TreatmentPlan(prescribed(chosen, network, patient, treatments, obstacles), (*notes, *proving.notes))
        treatable = replace(patient, findings=plan.treated)
        checks = affected_checks(subject.checks, plan.treated, place)
        return cls(subject, treatable, validation, proving, checks, plan, seed)

    def asked(self, max_loss: float, progress: Progress | None) -> dict[str, Any]:
        """What decides the result, as JSON values."""
        return {
            "classifier": self.patient.classifier.fingerprint(),
            "findings": [finding.key for finding in self.patient.findings],
            "treatments": [[one.record() for one in each.ladder] for each in self.plan.prescriptions],
            "train": None if self.patient.train is None else self.patient.train.fingerprint(),
            "val": self.patient.val.fingerprint(),
            "proving": self.proving.proving.fingerprint(progress),
            "max_loss": max_loss,
            "seed": self.seed,
        }


#: Why a run under pseudonyms is refused: other images come with their own names, and would be written with them.
_PSEUDONYMS = (
    "this audit replaced names by pseudonyms, and a treatment would write those of its training images as they are; "
    "audit without pseudonyms into a folder that is not handed on, and treat that run"
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
    labelled = np.flatnonzero(images.known_labels >= 0)
    if not len(labelled):
        raise InputError(f"{images.name} has no labels, and a treatment trains on labelled images")
    return images if len(labelled) == len(images) else images.select(labelled)


def _validation(
    given: Images | None, known: ImageSet | None, training: ImageSet | None, model: Classifier, seed: int
) -> tuple[ImageSet, tuple[str, ...]]:
    found = _fitting(given, known, model)
    if found is not None:
        return found, (f"Chosen on {len(found)} images of {found.name}.",)
    if training is None:
        raise InputError(
            "a treatment needs images that are not those of the audit: give training images with train=... (--train "
            "DATA), or, to treat scores alone, validation images with val=... (--val DATA)"
        )
    held = training.select(_held_out(training, seed))
    return held, (f"Chosen on {len(held)} of {len(training)} training images, which were held out.",)


def _held_out(images: ImageSet, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Rows of a fifth of the units of every class."""
    units = [str(unit) if unit is not None else f"image {one}" for one, unit in _units(images)]
    classes: dict[str, int] = {}
    for unit, label in zip(units, images.labels.tolist(), strict=True):
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


def _units(images: ImageSet) -> list[tuple[str, object]]:
    return list(zip(images.ids, images.column("unit_id"), strict=True))


def _check_classes(images: ImageSet | None, audited: ImageSet, model: Classifier) -> None:
    """Refuse images that lack a class which the audited images hold: a classifier forgets what it is not shown."""
    if images is None:
        return
    present = {int(label) for label in audited.known_labels if label >= 0}
    gone = sorted(present - {int(label) for label in images.known_labels})
    if gone:
        named = ", ".join(model.class_names[label] for label in gone[:5]) + (", …" if len(gone) > 5 else "")
        raise InputError(
            f"{images.name} has no image of {named}, which the audited images hold; a classifier forgets what it is "
            f"not shown: give images of every class"
        )


def _usable(images: ImageSet, store: ImageStore) -> ImageSet:
    """The images of a store, in its order."""
    places = {one: row for row, one in enumerate(images.ids)}
    return images.select([places[one] for one in store.ids])


def _open(folder: Path, asked: Mapping[str, Any]) -> None:
    """Take a free folder, or one that holds an unfinished treatment of the same.

    Raises:
        InputError: it holds something else, or a finished treatment.
        RunConflictError: an unfinished treatment of something else.
    """
    note = folder / UNFINISHED
    if not note.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder} exists and is not an empty folder; name a new one with --out")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(note, canonical_json(asked))
        return
    differing = differences(json.loads(note.read_bytes()), json.loads(canonical_json(asked)))
    if differing:
        raise RunConflictError(
            f"{folder} holds an unfinished treatment that differs from this one in: {', '.join(differing)}; name a new "
            f"folder with --out, or delete it to start anew"
        )


def _chosen(tried: Sequence[Trial], plan: TreatmentPlan, max_loss: float) -> Trial | None:
    """The candidate that mends most of the harm on the validation images, among those that lose little; None: none."""
    able = [one for one in tried if one.cost <= max_loss and one.gain(plan.treated) > 0]
    return max(able, key=lambda one: one.gain(plan.treated), default=None)


def _result(
    case: Case, chosen: Trial, tried: Sequence[Trial], folder: Path, kept: bool, progress: Progress | None
) -> Treated:
    """Prove what was chosen, and write it where it is ``kept``."""
    seed = case.seed
    model = case.patient.classifier
    names = {one.name for one in chosen.treatments}
    by = {
        finding.key: " + ".join(one.name for one in prescription.ladder if one.name in names)
        for prescription in case.plan.prescriptions
        for finding in prescription.findings
        if prescription.ladder
    }
    proof = proven(
        model,
        chosen.classifier,
        case.plan.treated,
        by,
        case.proving,
        case.subject.companions,
        case.checks,
        folder,
        seed=seed,
        save_images=case.subject.save_images,
        progress=progress,
    )
    recipe = {"method": "treat", "treatments": [one.record() for one in chosen.treatments]}
    data = "" if case.patient.train is None else case.patient.train.fingerprint()
    reference, notes = None, tuple[str, ...]()
    if kept:
        try:
            reference, notes = delivered(model, chosen.classifier, folder, recipe, data, seed)
        except SnellenError as error:  # what was treated and proven is not lost for what cannot be written
            notes = (f"Not written: {error}",)
    page = render_comparison(proof.comparison, proof.before.report, proof.after.report)
    write_atomically(folder / "comparison.html", page.encode("utf-8", "replace"))
    write_atomically(folder / "comparison.json", canonical_json(proof.comparison.to_json()))
    clean = next(one for one in proof.comparison.figures if one.name == "clean.accuracy")
    assert clean.first is not None
    assert clean.second is not None
    assert clean.difference is not None
    result = Treated(
        classifier=chosen.classifier,
        reference=reference,
        folder=folder,
        findings=(*proof.outcomes, *_untreated(case.plan.prescriptions)),
        cost=Cost(
            first=clean.first,
            second=clean.second,
            difference=clean.difference,
            low=clean.low,
            high=clean.high,
            n=clean.n,
        ),
        comparison=proof.comparison,
        tried=tuple(one.words for one in tried),
        notes=(*case.plan.notes, *notes),
        treatments=tuple(one.record() for one in chosen.treatments),
    )
    shown = render_treated(
        result,
        model,
        case.proving.proving if case.subject.save_images else None,
        proof.before,
        proof.after,
    )
    write_atomically(folder / PAGE, shown.encode("utf-8", "replace"))
    return result


def _nothing(case: Case, tried: Sequence[Trial]) -> Treated:
    """No candidate helped, or there was none."""
    left = [
        TreatedFinding(
            key=finding.key,
            title=finding.title,
            outcome="unchanged",
            reason="no treatment helped on the validation images within the loss allowed",
        )
        for finding in case.plan.treated
    ]
    return Treated(
        classifier=case.patient.classifier,
        reference=None,
        folder=None,
        findings=(*left, *_untreated(case.plan.prescriptions)),
        cost=None,
        comparison=None,
        tried=tuple(one.words for one in tried),
        notes=case.plan.notes,
    )


def _untreated(prescriptions: Sequence[Prescription]) -> list[TreatedFinding]:
    return [
        TreatedFinding(key=finding.key, title=finding.title, outcome="untreated", reason=one.reason)
        for one in prescriptions
        if not one.ladder
        for finding in one.findings
    ]

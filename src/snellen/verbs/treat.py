"""The verb ``snellen.treat``: from what an audit found to a classifier that no longer does it, and the proof."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from snellen.auditing.compare.page import render_comparison
from snellen.auditing.report import AuditReport
from snellen.core.budget import seconds_of
from snellen.core.errors import SnellenError
from snellen.core.formats import TREATMENT
from snellen.core.interruption import noted_interruption
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run import canonical_json, write_atomically
from snellen.core.unwritable import explained_unwritable, tidy
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.treatments.generated_images import GeneratedImages
from snellen.models.remote.sent_log import sent_log
from snellen.runs.generated_files import EXAMPLES, write_pictures
from snellen.runs.given import Images, Model
from snellen.verbs.model_card import WITHOUT
from snellen.verbs.treated import Cost, Treated, TreatedFinding
from snellen.verbs.treated_page import PAGE, render_treated
from snellen.verbs.treatment_case import Case
from snellen.verbs.treatment_delivery import delivered, treatment_card
from snellen.verbs.treatment_note import UNFINISHED, TreatmentNote, opened_note
from snellen.verbs.treatment_plan import Named, Prescription, TreatmentPlan
from snellen.verbs.treatment_proof import proven
from snellen.verbs.treatment_search import LEAST_GAIN, MOST, Pace, limited, proposals
from snellen.verbs.treatment_trials import Bench, Trial


@torch.inference_mode(False)  # what this computes needs gradients, wherever it is called
def treat(
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
    out: Path | str | None = None,
    max_loss: float = 0.01,
    train_limit: int = 5_000,
    budget: float | str | None = None,
    without: Path | str | None = None,
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
        val: images that choose, and that scores are fitted to. None: the audit's, else a fifth of ``train``.
        test: images that prove, which took no part in anything. None: the audited images, as above.
        findings: kinds ("corruption") or keys ("corruption:fog") of the findings to treat; none: all that are more
            than a note and more than healthy classifiers lose.
        treatments: methods of the area ``treatments`` that are tried, in this order, instead of all.
        generator: makes training images: of classes and groups that were found, or without what a shortcut shows. A
            reference, or :class:`snellen.synthesis.ByName` with prompts and adapters. None: nothing is generated.
        classifier: the audited classifier, where the report does not know it: see :class:`Subject`.
        images: the audited images, likewise.
        out: a new folder, or one that holds an unfinished treatment of the same. None: nothing is kept.
        max_loss: largest loss of clean accuracy on the validation images, of several labels an image of their mean
            balanced accuracy; of an audit with costs, largest rise of what a decision costs, as a share of the
            costliest error.
        train_limit: at most so many training images are trained on, drawn at random; more cost more, and mend more.
        budget: seconds, or a time such as "90s", "5m". Candidates train for fewer passes where it is short, and none is
            begun whose end, and the proof, would be later; one is tried in any case.
        without: folder of a scan of ``train``: images that it names as suspects are not trained on. The result names
            the scan, and how many images it left out.
        seed: of everything random.
        progress: who is shown every step, and what each candidate did.

    Returns:
        The treated classifier, what became of each finding, and what it cost.

    Raises:
        InputError: there is nothing to treat, or no images to judge or to prove with; the folder is not free.
        RunConflictError: the folder holds an unfinished treatment of something else.
    """
    started, since = time.perf_counter(), time.time()
    allowed = None if budget is None else seconds_of(budget)
    with ExitStack() as stack, sent_log() as sent:
        folder = Path(out) if out is not None else Path(stack.enter_context(tempfile.TemporaryDirectory())) / "treated"
        stack.enter_context(noted_interruption(None if out is None else folder))
        stack.enter_context(explained_unwritable(folder))
        case = Case.of(
            run,
            train,
            val=val,
            test=test,
            findings=findings,
            treatments=treatments,
            generator=generator,
            classifier=classifier,
            images=images,
            train_limit=train_limit,
            max_loss=max_loss,
            without=without,
            seed=seed,
            progress=progress,
        )
        note = opened_note(folder, case.request(progress))
        sent.into(folder)
        tried = _trials(case, folder, note, None if allowed is None else started + allowed, progress)
        chosen = _chosen(tried, case.plan, max_loss)
        result = _result(case, chosen, tried, folder, out is not None, progress) if chosen else _nothing(case, tried)
        if out is None:
            return replace(result, folder=None, reference=None)
        result = replace(result, folder=folder)
        tidy(folder, since)  # what a killed call was writing
        write_atomically(folder / "README.md", treatment_card(result, case.patient.classifier).encode())
        write_atomically(folder / TREATMENT.file, canonical_json(result.to_json()))
        shutil.rmtree(folder / "candidates", ignore_errors=True)  # first, so that a killed call is taken up again
        (folder / UNFINISHED).unlink(missing_ok=True)
        return result


def treatment_plan(
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
    without: Path | str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> TreatmentPlan:
    """What :func:`treat` would try against which finding; arguments and errors as there. Nothing is trained."""
    return Case.of(
        run,
        train,
        val=val,
        test=test,
        findings=findings,
        treatments=treatments,
        generator=generator,
        classifier=classifier,
        images=images,
        train_limit=train_limit,
        without=without,
        seed=seed,
        progress=progress,
    ).plan


def _trials(
    case: Case, folder: Path, note: TreatmentNote, deadline: float | None, progress: Progress | None
) -> tuple[Trial, ...]:
    """Try candidates until the findings are mended, nothing else is left to try, or time is over.

    What there was time for is written down: a resumed call tries the same, however much time it has.
    """
    plan, most = case.plan, case.patient.max_loss
    if not plan.treated:
        return ()
    bench = Bench(
        case.patient, case.val, case.subject.companions, case.checks, folder, seed=case.seed, progress=progress
    )
    listener = progress or Silent()
    prescriptions = [one for one in plan.prescriptions if one.ladder]
    listener.begin("treatments", MOST)
    clock = time.perf_counter()
    before = bench.before()
    if note.judging is None:
        note.judging = time.perf_counter() - clock
    pace = None
    if deadline is not None:
        proving = 2 * note.judging * len(case.proving.proving) / len(case.val)
        pace = Pace.measured(case.patient, note.judging, proving)
    tried, trial, number = list[Trial](), None, 0
    proposed = proposals(prescriptions, most)
    while True:
        try:
            treatments = proposed.send(trial)
        except StopIteration:
            break
        if number == len(note.begun):
            if note.ended:
                break
            passes: int | None = 0
            if pace is not None and deadline is not None:
                held = any(one.cost <= most and one.gain(plan.treated) >= LEAST_GAIN for one in tried)
                kinds = 0 if held or len(prescriptions) == 1 else len(prescriptions)
                passes = pace.passes(treatments, deadline - time.perf_counter(), first=not tried, kinds=kinds)
            note.begun.append(passes)
            note.write()
        limit, trial, number = note.begun[number], None, number + 1
        if limit is not None:
            trial = bench.tried(limited(treatments, limit, len(case.patient.train or ())), number, before)
            tried.append(trial)
            listener.advance("treatments", 1, trial.words)
    listener.finish("treatments")
    note.ended = True
    note.write()
    return tuple(tried)


def _chosen(tried: Sequence[Trial], plan: TreatmentPlan, max_loss: float) -> Trial | None:
    """The candidate that mends most of the harm on the validation images, among those that lose little; None: none.

    With costs, what decisions on clean images cost more is taken off.
    """
    able = [one for one in tried if one.cost <= max_loss and one.gain(plan.treated) >= LEAST_GAIN]
    return max(able, key=lambda one: one.worth(plan.treated), default=None)


def _result(
    case: Case, chosen: Trial, tried: Sequence[Trial], folder: Path, kept: bool, progress: Progress | None
) -> Treated:
    """Prove what was chosen, and write it where it is ``kept``."""
    seed = case.seed
    model = case.patient.classifier
    names = {one.name for one in chosen.treatments}
    by = {
        finding.key: " + ".join(dict.fromkeys(one.name for one in prescription.ladder if one.name in names))
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
    recipe: dict[str, Any] = {"method": "treat", "treatments": [one.record() for one in chosen.treatments]}
    if case.left_out is not None:
        recipe[WITHOUT] = case.left_out.record()
    data = "" if case.patient.train is None else case.patient.train.fingerprint()
    reference, notes = None, tuple[str, ...]()
    if kept:
        try:
            reference, notes = delivered(model, chosen.classifier, folder, recipe, data, seed)
        except SnellenError as error:  # what was treated and proven is not lost for what cannot be written
            notes = (f"Not written: {error}",)
        notes += _generated(case, chosen, folder)
    page = render_comparison(proof.comparison, proof.before.report, proof.after.report)
    write_atomically(folder / "comparison.html", page.encode("utf-8", "replace"))
    write_atomically(folder / "comparison.json", canonical_json(proof.comparison.to_json()))
    figure = "labels.right_decisions" if model.task == "multilabel" else "clean.accuracy"
    clean = next(one for one in proof.comparison.figures if one.name == figure)
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
        notes=(*case.plan.left_out, *case.plan.notes, *notes),
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


def _generated(case: Case, chosen: Trial, folder: Path) -> tuple[str, ...]:
    """Write pictures of the images that were generated, where pictures may be written; a note of them."""
    notes = list[str]()
    for one in chosen.treatments:
        if isinstance(one, GeneratedImages):
            made, target = one.made(case.patient, Randomness(case.seed)), folder / "generated"
            shown = ""
            if case.subject.save_images:
                target.mkdir(exist_ok=True)
                write_pictures(made, range(min(EXAMPLES, len(made))), target)
                shown = "; generated/sheet.png shows some"
            notes.append(f"Trained on {len(made)} generated images{shown}.")
    return tuple(notes)


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
        notes=(*case.plan.left_out, *case.plan.notes),
    )


def _untreated(prescriptions: Sequence[Prescription]) -> list[TreatedFinding]:
    return [
        TreatedFinding(key=finding.key, title=finding.title, outcome="untreated", reason=one.reason)
        for one in prescriptions
        if not one.ladder
        for finding in one.findings
    ]

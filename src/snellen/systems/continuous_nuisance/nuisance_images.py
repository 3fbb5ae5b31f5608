"""The verb ``snellen.shift_nuisance``: classes under nuisances of any words at rising strength, and what they break."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Unpack, get_args

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.progress import Progress, Silent
from snellen.core.run import Run, canonical_json, write_atomically
from snellen.core.run_plan import describe_machine, describe_model
from snellen.data.privacy.nameless import hidden_references, nameless_record, with_hidden, with_other_name
from snellen.data.privacy.pseudonyms import Pseudonyms
from snellen.runs.gathering import write_evidence
from snellen.runs.runner import Call, Running, batches, carried_out
from snellen.runs.unfinished import check_free
from snellen.systems.continuous_nuisance.filtering import SCORES
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.nuisance_set import (
    EVIDENCE,
    MANIFEST,
    RECORD,
    REJECTED,
    WHAT,
    NuisanceSet,
    RejectedTrajectory,
)
from snellen.systems.continuous_nuisance.nuisance_work import TASK, NuisanceWork, write_manifests, write_sheet
from snellen.systems.continuous_nuisance.objects import check_calibration, thresholds_for, without_failures
from snellen.systems.continuous_nuisance.presets import Preset, filled_in
from snellen.systems.continuous_nuisance.robustness import (
    figures_of,
    mean_over_shifts,
    measured_at_all,
    orders_of,
)
from snellen.systems.continuous_nuisance.slider_folder import filter_of

ThresholdsFrom = Literal["others", "given"]

#: Objects that are done before they are recorded: what a killed call does again at most.
OBJECTS_PER_SHARD = 8


def shift_nuisance(
    method: ContinuousNuisance,
    classifiers: Sequence[Classifier] = (),
    *,
    out: Path | str,
    seeds: int = 10,
    preset: Preset | None = None,
    filter: bool = True,
    thresholds_from: ThresholdsFrom | None = None,
    reference_model: str | None = None,
    seed: int = 0,
    contact_sheet: bool = True,
    pseudonyms: Path | str | None = None,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> NuisanceSet:
    """Generate objects of each class under every shift at every strength, and find where classifiers break.

    Sliders are read from the folder that the method names, or from ``OUT-sliders``; those that are missing are trained
    first, and stay. Images lie in ``SHIFT/STRENGTH/CLASS/NUMBER.png``; ``manifest.csv``, which
    :func:`snellen.load_images` reads, lists the trajectories that the filter keeps, ``rejected.csv`` the others, each
    with its reason. ``evidence.parquet`` has a row for each trajectory, strength and classifier, ``nuisance.json``, the
    record, comes last. A call that was interrupted leaves a folder ``unfinished`` and no record; the same call resumes
    where it stopped. When everything is there, it writes nothing.

    Where the method names no classes, they are those of the first classifier.

    Args:
        method: shifts, classes, generator, strengths, filter.
        classifiers: that are measured; each knows all classes by name, and none is an encoder of the filter.
        out: a new or empty folder, or one in which the same call was interrupted.
        seeds: objects of each class.
        preset: whose values stand for what the method leaves out: ``imagenet`` are the published ones, ``scenes`` those
            for the generator that comes with the package, which are taken for it where none is named.
        filter: whether trajectories are filtered.
        thresholds_from: ``others``, so that each removes 90 % of the images that are scored as another class (see
            :mod:`snellen.systems.continuous_nuisance.filter_scores`); ``given``, those of the method. None:
            ``given`` where the method names any, or with the published preset, else ``others``.
        reference_model: name of the classifier whose losses the relative errors are measured in.
        seed: of everything random.
        contact_sheet: also draw a few trajectories of each shift, ``contact-sheet-SHIFT.png``.
        pseudonyms: file with a key, made if it is not there, outside of ``out``: names of files of models are replaced
            before anything is written, and can be resolved with it. Words and classes stay.
        progress: callback that receives progress updates, on sliders and trajectories.
        running: engine, part, budget: see :class:`~snellen.runs.runner.Running`. A budget makes fewer objects.

    Raises:
        InputError: no shift or class; a word that the generator does not know; a class that a classifier does not
            know; a filter without encoders; a slider of another generator; ``out`` holds something else.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call continues once that is mended.
        RunConflictError: ``out`` holds the result of another call.
    """
    folder, listener = Path(out), progress or Silent()
    if seeds < 1:
        raise InputError(f"seeds is at least 1; got {seeds}")
    if thresholds_from is None:
        thresholds_from = "given" if "thresholds" in method.model_fields_set or preset == "imagenet" else "others"
    if thresholds_from not in get_args(ThresholdsFrom):
        raise InputError(f"thresholds come from {' or '.join(get_args(ThresholdsFrom))}; got {thresholds_from!r}")
    check_free(folder, RECORD, WHAT)
    asked = filled_in(
        method,
        preset,
        class_names=classifiers[0].class_names if classifiers else (),
        sliders=folder.with_name(f"{folder.name}-sliders"),
        filter=filter,
    )
    asked, unmade = without_failures(asked)
    names = None
    if pseudonyms is not None:
        names = Pseudonyms.open(pseudonyms, outside=folder)
        classifiers = [with_other_name(classifier, names) for classifier in classifiers]
        reference_model = None if reference_model is None else names.of_model(reference_model)
        names.write()
    finds_thresholds = asked.text_image is not None and thresholds_from == "others"

    def call(count: int) -> Call[NuisanceSet]:
        hidden = {} if names is None else hidden_references(asked.record(), names)
        work = NuisanceWork(asked, tuple(classifiers), count, seed, hidden)
        _check(work, thresholds_from, reference_model)

        def plan() -> dict[str, Any]:
            asked.make_ready(listener)
            return _plan(work, thresholds_from, reference_model, contact_sheet, names)

        def ready(run: Run) -> NuisanceWork:
            return work.with_thresholds(_thresholds_in(run.folder, work)) if finds_thresholds else work

        shards = batches(len(work.objects), OBJECTS_PER_SHARD)
        return Call(
            what=WHAT,
            result=NuisanceSet,
            plan=plan,
            work=ready,
            shards=shards,
            task=TASK,
            amount=lambda items: len(items) * len(work.concepts) * len(asked.strengths),
            conclude=lambda run, where: _conclude(
                ready(run), len(shards), run, reference_model, contact_sheet, where, unmade
            ),
            classifiers=classifiers,
            again=work.reopening(finds_thresholds),
            fits=True,
        )

    with carried_out(call, seeds, folder, listener, running) as carried:
        carried.measure()
    return carried.result.model_copy(update={"sliders": asked.sliders})


def _check(work: NuisanceWork, thresholds_from: str, reference_model: str | None) -> None:
    """Refuse what can be refused before anything is trained."""
    if not work.method.classes:
        raise InputError("there are no classes: name them (--class NAME for each), or give a classifier that has some")
    lacking = work.method.missing()
    if lacking is not None:
        raise InputError(f"{work.method.name} {lacking}")
    if len(set(work.method.classes)) < len(work.method.classes):
        raise InputError(f"name each class once; got {', '.join(work.method.classes)}")
    if thresholds_from == "others":
        check_calibration(work.method)
    names = [classifier.name for classifier in work.classifiers]
    if len(set(names)) < len(names):
        raise InputError(f"classifiers need different names; got {', '.join(names)}")
    if reference_model is not None and reference_model not in names:
        raise InputError(f"the reference model is one of the classifiers ({', '.join(names) or 'none is given'}); got "
                         f"{reference_model!r}")  # fmt: skip
    for classifier in work.classifiers:
        unknown = [name for name in work.method.classes if name not in classifier.class_names]
        if unknown:
            known = ", ".join(classifier.class_names[:12])
            raise InputError(
                f"{classifier.name} knows no class {unknown[0]!r} (its classes: {known}"
                f"{', …' if len(classifier.class_names) > 12 else ''}); name classes that every classifier knows"
            )
    work.method.check(work.requests(work.objects))
    encoders = filter_of(work.method)
    if encoders is not None:
        encoders.check_independent(work.classifiers)


def _thresholds_in(folder: Path, work: NuisanceWork) -> dict[str, float]:
    """Thresholds of a call, made once and kept until it is done."""
    path = folder / "thresholds.json"
    if not path.is_file():
        write_atomically(path, canonical_json(thresholds_for(work.method, work.seed)))
    found: dict[str, float] = json.loads(path.read_bytes())
    return found


def _plan(
    work: NuisanceWork,
    thresholds_from: str,
    reference_model: str | None,
    contact_sheet: bool,
    names: Pseudonyms | None,
) -> dict[str, Any]:
    """Everything that can change a byte."""
    method = work.method.record() if names is None else nameless_record(work.method.record(), names)
    if thresholds_from == "others":
        del method["thresholds"]  # they follow from the rest
    # Where sliders, failures and tokens lie says nothing of what they are: their hashes do.
    del method["sliders"], method["avoid"], method["tokens"]
    # Which of several devices of a kind it was changes nothing.
    method["device"] = work.method.device.partition(":")[0]
    return {
        "kind": "nuisance",
        "method": method,
        **({} if names is None else {"pseudonyms": names.key_id}),
        "models": {with_hidden(name, work.hidden): identity for name, identity in work.method.identities().items()},
        "thresholds_from": thresholds_from,
        "classifiers": [describe_model(classifier) for classifier in work.classifiers],
        "reference_model": reference_model,
        "seeds": work.seeds,
        "seed": work.seed,
        "contact_sheet": contact_sheet,
        **describe_machine(work.classifiers[0] if work.classifiers else None),
    }


def _conclude(
    work: NuisanceWork,
    shards: int,
    run: Run,
    reference: str | None,
    contact_sheet: bool,
    folder: Path,
    unmade: tuple[str, ...],
) -> NuisanceSet:
    """Write what needs all trajectories, and make the record."""
    rows = [row for shard in range(shards) for row in run.shard_extra(shard)["rows"]]
    files = write_manifests(work, rows, folder)
    for concept in work.concepts if contact_sheet else ():
        files.append(write_sheet(work, concept, [row for row in rows if row["concept"] == concept], folder))
    names, strengths = [classifier.name for classifier in work.classifiers], work.method.strengths
    evidence = Evidence.merge(run.shard_evidence(shard, "nuisance") for shard in range(shards) if work.classifiers)
    measured: list[str] = []
    if names:
        write_evidence(evidence, folder)
        files.append(EVIDENCE)
        measured = [
            concept
            for concept in work.concepts
            if all(measured_at_all(evidence, concept, name, strengths) for name in names)
        ]
    figures = {
        name: {
            concept: found
            for concept in work.concepts
            if (found := figures_of(evidence, concept, name, strengths, reference=reference, seed=work.seed))
        }
        for name in names
    }
    orders = {concept: orders_of(evidence, concept, names) for concept in measured}
    rejected = [(f"{row['concept']}/{row['class']}/{row['number']:04d}", row["reason"]) for row in rows]
    failed = len(evidence.where(status="failed")) if names else 0
    return NuisanceSet(
        plan=dict(run.plan),
        thresholds={} if work.method.text_image is None else {name: work.method.thresholds[name] for name in SCORES},
        kept={
            concept: sum(row["concept"] == concept and row["reason"] is None for row in rows)
            for concept in work.concepts
        },
        rejected=tuple(RejectedTrajectory(id=key, reason=why) for key, why in rejected if why is not None),
        figures=figures,
        mean_relative_error={
            name: mean_over_shifts(evidence, measured, name, reference) for name in names if reference is not None
        },
        orders={concept: found for concept, found in orders.items() if found is not None},
        notes=(
            *work.method.notes(),
            *unmade,
            *(
                f"no trajectory under {concept} is left that every classifier answered at every strength: no figures"
                for concept in (work.concepts if names else ())
                if concept not in measured
            ),
            *([f"{failed} answers had scores that are not finite; they count nowhere, see {EVIDENCE}"] * bool(failed)),
        ),
        files=tuple(file for file in files if file not in (MANIFEST, REJECTED) or (folder / file).is_file()),
        folder=folder,
        evidence=evidence if names else None,
    )

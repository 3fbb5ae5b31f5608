"""The end of a labelling: the last student, teacher and baselines beside it, and everything that is written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.run import Run
from snellen.runs.record import RejectedImage
from snellen.runs.safe_names import file_names
from snellen.systems.language_model_annotation.agreement import Agreement, Opinion, agreement, best_threshold
from snellen.systems.language_model_annotation.annotation import Annotation
from snellen.systems.language_model_annotation.baselines import text_similarity, zero_shot
from snellen.systems.language_model_annotation.collaboration import (
    Labelled,
    Schedule,
    label_counts,
)
from snellen.systems.language_model_annotation.collaborators import Collaborators
from snellen.systems.language_model_annotation.delivery import student_artifact, write_results
from snellen.systems.language_model_annotation.ledger import Cost, Limits
from snellen.systems.language_model_annotation.preparing import Prepared
from snellen.systems.language_model_annotation.record import Disagreement, LabelledConcept
from snellen.systems.language_model_annotation.student import (
    StudentFit,
    fit_student,
    logits,
    probabilities,
    with_threshold,
)


def owner_costs(run: Run) -> list[Cost]:
    """What the teacher's labels of the owner's images and the direct questions cost."""
    extra = run.shard_extra(0)
    return [Annotation.model_validate(one).cost for one in [*extra["owner"], *extra["direct"]]]


def read_rounds(run: Run, count: int) -> list[Labelled]:
    """Labels of the first rounds that are on the disk."""
    return [Labelled.model_validate(one) for item in range(count) for one in run.shard_extra(item + 1)["labels"]]


def conclude(
    run: Run,
    folder: Path,
    ready: Prepared,
    models: Collaborators,
    schedule: Schedule,
    fit: StudentFit,
    limits: Limits,
    seed: int,
) -> LabelledConcept:
    """Train the last student, measure it beside the teacher, and write everything."""
    labels = read_rounds(run, schedule.rounds + 1)
    if not labels:
        raise InputError("the limits allow not a single label; raise --most-calls or --most-tokens")
    teacher = [Annotation.model_validate(one) for one in run.shard_extra(0)["owner"]]
    head = ready.collaboration.student(labels)
    raw = logits(head, ready.collaboration.embeddings)
    threshold = best_threshold({row: float(raw[row]) for row in ready.owner.val}, ready.owner.val, middle=0.0)
    # What is measured is what is delivered, rounding of the moved bias included.
    head = with_threshold(head, threshold)
    scores = logits(head, ready.collaboration.embeddings)
    by_id = {one.image: one for one in teacher}
    ids = ready.images.ids
    machine = {row: by_id[ids[row]] for row in ready.owner.rows if ids[row] in by_id}
    part = ready.images.select([one.row for one in labels])
    names = dict(zip((one.row for one in labels), file_names(part.ids, ".png"), strict=True))
    planned = schedule.most_labels
    counts = label_counts(labels)
    # Behind a colon stands what is different for each image.
    problems = Counter(one.annotation.problem.partition(":")[0] for one in labels if one.annotation.label is None)
    stopped = ""
    if len(labels) < planned:
        spent = Cost.sum([ready.spent, *owner_costs(run), *(one.annotation.cost for one in labels)])
        reached = not limits.allow(spent, ready.annotator.most)
        why = "the limits are reached" if reached else "the pool or the queries gave no more"
        stopped = f"{len(labels)} images were labelled instead of {planned}: {why}"
    record = LabelledConcept(
        plan=run.plan,
        definition=ready.definition,
        questions=ready.questions,
        queries=ready.queries,
        counts=dict(counts),
        problems=dict(sorted(problems.items())),
        agreement=_agreements(run, ready, models, machine, scores, fit, seed),
        disagreements=tuple(
            Disagreement(image=ids[row], owner=value, machine=machine[row].label, rationale=machine[row].rationale)
            for row, value in ready.owner.val.items()
            if row in machine and machine[row].label != value
        ),
        threshold=1 / (1 + math.exp(-threshold)),
        logit=threshold,
        effort={"labels": len(ready.owner.rows), "corrections": len(ready.definition.corrections)},
        cost={
            "concept": ready.spent,
            "of_owner": Cost.sum(owner_costs(run)),
            "labels": Cost.sum(one.annotation.cost for one in labels),
        },
        stopped=stopped,
        rejected=tuple(RejectedImage(id=one, reason=why) for one, why in sorted(ready.features.rejected.items())),
    )
    classifier = student_artifact(
        head, models.encoder, ready.definition, fit=fit,
        recipe={"annotator": ready.annotator.record(), "counts": dict(counts), "logit": threshold},
        data=run.plan["data"]["fingerprint"], seed=seed,
    )  # fmt: skip
    return write_results(folder, record, labels, {row: f"images/{name}" for row, name in names.items()}, classifier)


def _agreements(
    run: Run,
    ready: Prepared,
    models: Collaborators,
    machine: Mapping[int, Annotation],
    scores: NDArray[np.float64],
    fit: StudentFit,
    seed: int,
) -> tuple[Agreement, ...]:
    """Teacher, student, and the baselines that need no further label."""
    owner, rows = ready.owner, list(ready.owner.report)
    if not rows:
        return ()
    measured = partial(agreement, truth=owner.report, seed=seed)
    tuned = len(owner.val)
    embeddings = ready.collaboration.embeddings
    confident = {row: one.confidence for row, one in machine.items() if one.confidence is not None}
    teacher = Opinion({row: machine[row].label if row in machine else None for row in rows}, confident)
    found = [
        measured("teacher", teacher, human_labels=0),
        measured("student", Opinion.of_logits(scores, rows), human_labels=tuned),
    ]
    similar = {
        "name alone (zero-shot)": zero_shot(models.encode, ready.definition, embeddings),
        "descriptions (CuPL)": text_similarity(models.encode, ready.queries.positive, embeddings),
    }
    for who, values in similar.items():
        chosen = best_threshold({row: float(values[row]) for row in owner.val}, owner.val)
        found.append(measured(who, Opinion.of_scores(values, rows, chosen), human_labels=tuned))
    # Where limits are reached, the last images have no answer, and are undecided.
    direct = {row: one["label"] for row, one in zip(rows, run.shard_extra(0)["direct"], strict=False)}
    found.append(measured("one direct question", Opinion(direct), human_labels=0))
    if len(set(owner.val.values())) == 2:
        supervised = probabilities(fit_student(embeddings, owner.val, owner=(), fit=fit, seed=seed), embeddings)
        opinion = Opinion.of_scores(supervised, rows, 0.5)
        found.append(measured(f"trained on {tuned} of the owner's labels", opinion, human_labels=tuned))
    return tuple(found)

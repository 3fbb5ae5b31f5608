"""The verb ``snellen.attack`` where the data are views of objects: the camera is attacked, object by object."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.errors import InputError, ModelError, RejectedImageError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.method import ViewAttack
from snellen.core.outcomes import NOT_FINITE, AttackedViews
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness, derive_seed
from snellen.core.run import Run
from snellen.core.run_plan import describe_data, describe_machine, describe_model
from snellen.data.files.labels import align_labels
from snellen.data.worlds.solids.solid_set import draw_viewpoints
from snellen.data.worlds.view_set import ViewedObject, ViewedObjects, viewed_objects
from snellen.data.worlds.viewpoints import RecordedRenderer
from snellen.methods.attacks.goal import WHAT, Goal, goal_of
from snellen.runs.gathering import write_evidence
from snellen.runs.measuring import Put
from snellen.runs.method_work import MethodWork
from snellen.runs.record import EVIDENCE, RejectedImage
from snellen.runs.runner import Call, Rejections, Running, batches, carried_out
from snellen.runs.settings import Setting
from snellen.runs.shard import Shard
from snellen.systems.viewpoints.attacked_view_set import (
    NATURAL,
    RANDOM,
    AttackedObject,
    AttackedViewSet,
    share_of,
    view_attack_figures,
)
from snellen.systems.viewpoints.search import judge, scores_of
from snellen.systems.viewpoints.seen_objects import judged_rows, with_viewpoints
from snellen.systems.viewpoints.view_pictures import write_view_pictures
from snellen.systems.viewpoints.views import Look, look_of

#: Random views of an object, and the share of a picture that it must cover, where an attack says nothing of them.
SAMPLES, LEAST_COVERAGE = 50, 0.005

#: What progress calls it.
TASK = "attacking the camera"

#: Why an object is left out that is what others are to be taken for.
OF_TARGET = "it is of the target class"


@dataclass(frozen=True, eq=False)
class Work(MethodWork):
    """What is attacked with what; an item is an object.

    Attributes:
        target: class to be taken for, by position; None: any mistake.
        count: objects at most, drawn by the seed.
        seed: of everything random.
        save_images: whether sheets are drawn.
    """

    area: ClassVar[str] = "attacks"

    target: int | None
    count: int
    seed: int
    save_images: bool

    @cached_property
    def found(self) -> ViewedObjects:
        """The set as objects, with its renderer."""
        return viewed_objects(self.images)

    @property
    def renderer(self) -> RecordedRenderer:
        """Draws the objects from anywhere."""
        return self.found.renderer

    @cached_property
    def objects(self) -> tuple[ViewedObject, ...]:
        """Those that are attacked, drawn by their ids, in the order of the set."""
        every = self.found.objects
        drawn = sorted(every, key=lambda one: derive_seed(self.seed, "limit", one.object_id))[: self.count]
        kept = {one.object_id for one in drawn}
        return tuple(one for one in every if one.object_id in kept)

    @cached_property
    def goal(self) -> Goal:
        """What counts as success."""
        return goal_of(self.classifier, self.target)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the evidence of a shard, which is one object."""
        return (NATURAL, RANDOM, *(setting.name for setting in self.settings))

    @property
    def samples(self) -> int:
        """Random views of each object: as many as the attacks are judged by."""
        return max(int(getattr(setting.method, "samples", SAMPLES)) for setting in self.settings)

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Attack the camera for one object; see :class:`~snellen.runs.measuring.Work`."""
        (one,) = self.objects[items.start : items.stop]
        evidence, extra = _measured(self, one)
        progress.advance(TASK, 1, one.object_id)
        return Shard(evidence, extra)


def attack_view_set(
    classifier: Classifier,
    images: ImageSet,
    settings: Sequence[Setting],
    *,
    target: str | int | None,
    out: Path | str | None,
    limit: int | None,
    seed: int,
    save_images: bool,
    progress: Progress,
    running: Running,
) -> AttackedViewSet:
    """Attack the camera for every object of a set of views; see :func:`snellen.attack`.

    Each object is judged on the set's own viewpoints, on random ones, and on fresh ones of the distribution that each
    attack finds. All are rendered before the renderer's own background and prepared alike. An object is one shard.

    Raises:
        InputError: the images are no set of views, no object has a label, or as :func:`snellen.attack`.
        ModelError: the classifier gives no finite scores for any view.
    """
    of_images = [setting.name for setting in settings if not isinstance(setting.method, ViewAttack)]
    if of_images:
        of_views = next(setting.name for setting in settings if setting.name not in of_images)
        raise InputError(f"{of_views} attacks the camera and {of_images[0]} images; attack with one kind at a time")
    if limit is not None and limit < 1:
        raise InputError(f"a limit is at least 1 object, got {limit}")
    goal = goal_of(classifier, target)
    if goal.multilabel:
        raise InputError(f"{classifier.name} gives several labels an image; the camera is attacked for one class each")
    viewed_objects(images)  # images that are no views are refused first, with any labels
    images = align_labels(images, classifier.class_names)
    count = len(viewed_objects(images).objects)

    def call(most: int) -> Call[AttackedViewSet]:
        work = Work(classifier, images, settings, goal.target, most, seed, save_images and out is not None)
        return Call(
            what=WHAT,
            result=AttackedViewSet,
            plan=lambda: {
                "kind": "attack of the camera",
                "model": describe_model(classifier),
                "data": {**describe_data(images, progress), "objects": count},
                "settings": [{"setting": setting.name, **setting.record} for setting in settings],
                "goal": goal.record(classifier.class_names),
                "limit": limit,
                "seed": seed,
                "save_images": save_images,
                **describe_machine(classifier),
            },
            work=lambda _: work,
            shards=batches(len(work.objects), 1),
            task=TASK,
            conclude=lambda run, folder: _conclude(work, run, folder, pictured=out is not None),
            images=images,
            seen=lambda _: range(len(images)),
            classifiers=[classifier],
            again=work.reopening(),
            rejected=lambda run: [_rejections(work, run)],
        )

    with carried_out(call, count if limit is None else min(limit, count), out, progress, running) as carried:
        carried.measure()
    return carried.result


def _rejections(work: Work, run: Run) -> Rejections:
    """Objects that could not be used; those of the target class have nothing to be attacked for."""
    reasons = {one.object_id: run.shard_extra(shard)["rejected"] for shard, one in enumerate(work.objects)}
    lost = {name: reason for name, reason in reasons.items() if reason not in (None, OF_TARGET)}
    return Rejections(lost, len(work.objects))


def _measured(work: Work, one: ViewedObject) -> tuple[dict[str, Evidence], dict[str, Any]]:
    """Rows of one object under each setting, and what is known of it beside them."""
    none = {name: Evidence.merge([]) for name in work.names}
    if one.label < 0:
        return none, {"rejected": "it has no label"}
    if one.label == work.goal.target:
        return none, {"rejected": OF_TARGET}
    evidence: dict[str, Evidence] = {}
    reported: dict[str, Any] = {}
    look, score = _look(work, one), scores_of(work.classifier)
    try:
        for name, viewpoints in ((NATURAL, one.viewpoints), (RANDOM, _random_views(work, one))):
            judged = judge(look, score, viewpoints, label=one.label, criterion=Misclassified())
            evidence[name] = judged_rows(
                judged, work.classifier, object_id=one.object_id, label=one.label, viewpoints=viewpoints, setting=name
            )
        for setting in work.settings:
            label = one.label if work.goal.target is None else work.goal.target
            found = cast(ViewAttack, setting.method).attack_views(
                work.classifier,
                work.renderer,
                [one.object_id],
                torch.tensor([label]),
                criterion=work.goal.criterion,
                rng=Randomness(work.seed).child(setting.name),
            )
            rows = found.evidence(work.classifier, torch.tensor([one.label]), setting=setting.name)
            evidence[setting.name] = with_viewpoints(rows, found.viewpoints, found.success)
            reported[setting.name] = _search_record(found)
    except RejectedImageError as error:
        return none, {"rejected": str(error).removeprefix(f"{one.object_id}: ")}
    return evidence, {"rejected": None, "told": reported}


def _random_views(work: Work, one: ViewedObject) -> Tensor:
    seeds = [derive_seed(work.seed, "random view", one.object_id, number) for number in range(work.samples)]
    return draw_viewpoints(seeds, "any")


def _look(work: Work, one: ViewedObject) -> Look:
    least = min(float(getattr(setting.method, "least_coverage", LEAST_COVERAGE)) for setting in work.settings)
    return look_of(work.renderer, one.object_id, prepare=work.classifier.prepare, least_coverage=least)


def _search_record(found: AttackedViews) -> dict[str, Any]:
    """The distribution that was found for one object, as JSON values."""
    return {
        "status": found.status[0],
        "entropy": _finite(float(found.entropy[0])),
        "renders": int(found.renders[0]),
        "blanks": int(found.blanks[0]),
        "means": found.means[0].tolist(),
        "deviations": found.deviations[0].tolist(),
        "weights": found.weights[0].tolist(),
    }


def _finite(value: float) -> float | None:
    return value if abs(value) < float("inf") else None


def _conclude(work: Work, run: Run, folder: Path, *, pictured: bool) -> AttackedViewSet:
    """Write what needs all objects, and make the record."""
    extras = [run.shard_extra(shard) for shard in range(len(work.objects))]
    rejected = tuple(
        RejectedImage(id=one.object_id, reason=extra["rejected"])
        for one, extra in zip(work.objects, extras, strict=True)
        if extra["rejected"] is not None
    )
    used = [shard for shard, extra in enumerate(extras) if extra["rejected"] is None]
    evidence = {name: Evidence.merge(run.shard_evidence(shard, name) for shard in used) for name in work.names}
    if not used or not len(evidence[NATURAL].where(status="ok")) + len(evidence[RANDOM].where(status="ok")):
        shutil.rmtree(run.folder)
        _refuse(work, rejected, evidence)
    whole = Evidence.merge(evidence.values())
    write_evidence(whole, folder)
    settings = {
        setting.name: view_attack_figures(
            evidence[setting.name],
            setting.record,
            [_object(work, work.objects[shard], evidence, setting.name, extras[shard]["told"]) for shard in used],
        )
        for setting in work.settings
    }
    result = AttackedViewSet(
        plan=dict(run.plan),
        natural_accuracy=share_of(evidence[NATURAL]),
        random_accuracy=share_of(evidence[RANDOM]),
        settings=settings,
        rejected=rejected,
        files=(EVIDENCE,),
        folder=folder,
        evidence=whole,
    )
    files = write_view_pictures(result, work.renderer, folder, sheets=work.save_images) if pictured else []
    return result.model_copy(update={"files": (EVIDENCE, *files)})


def _object(
    work: Work, one: ViewedObject, evidence: dict[str, Evidence], setting: str, reported: dict[str, Any]
) -> AttackedObject:
    own = {name: evidence[name].where(unit_id=one.object_id, status="ok").table for name in (NATURAL, RANDOM, setting)}
    shares = {name: _mean(table["right"].to_pylist()) for name, table in own.items()}
    names = work.classifier.class_names
    wrong = Counter(said for said in own[setting]["prediction"].to_pylist() if said != one.label)
    mistake = wrong.most_common(1)[0][0] if wrong else None
    return AttackedObject(
        object_id=one.object_id,
        class_name=names[one.label],
        natural=shares[NATURAL],
        random=shares[RANDOM],
        attacked=shares[setting],
        success_rate=_mean(own[setting]["success"].to_pylist()),
        taken_for=None if mistake is None else "no decision" if mistake < 0 else names[mistake],
        credit=one.credit,
        **reported[setting],
    )


def _mean(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _refuse(work: Work, rejected: Sequence[RejectedImage], evidence: dict[str, Evidence]) -> None:
    """Refuse to report on nothing."""
    if any(NOT_FINITE in part.table["reason"].to_pylist() for part in evidence.values()):
        raise ModelError(
            f"{work.classifier.name} gives no finite scores for any view of {len(work.objects)} objects; check the "
            f"weights and the preprocessing"
        )
    first = f"; first: {rejected[0].id}: {rejected[0].reason}" if rejected else ": none is seen in any view"
    raise InputError(f"none of the {len(work.objects)} objects of {work.images.name} could be used{first}")

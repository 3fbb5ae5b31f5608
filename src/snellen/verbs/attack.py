"""The verb ``snellen.attack``: the worst case of every image, as evidence, figures and files."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Unpack

import torch

from snellen.auditing.class_order import OtherOrder
from snellen.checks.per_image import PerImage
from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, ModelError
from snellen.core.evidence import Evidence
from snellen.core.method import ViewAttack
from snellen.core.progress import Progress, Silent
from snellen.core.run import Run, canonical_json, write_atomically
from snellen.core.run_plan import describe_data, describe_machine, describe_model
from snellen.data.files.labels import align_labels
from snellen.data.loading import check_batches
from snellen.data.references import Labels
from snellen.methods.attacks.ensemble import StandardEnsemble
from snellen.methods.attacks.goal import WHAT, goal_of, labels_of
from snellen.methods.attacks.reliability import doubts_after
from snellen.runs.gathering import rejected_images, write_evidence
from snellen.runs.given import Images, Model, given_classifier, given_images
from snellen.runs.inputs import inputs_of
from snellen.runs.record import EVIDENCE, RejectedImage, RunResult
from snellen.runs.runner import Call, Running, batches, carried_out
from snellen.runs.settings import Methods, named_settings
from snellen.verbs.attack_batches import CLEAN, UNUSABLE
from snellen.verbs.attack_figures import attack_figures, clean_accuracy
from snellen.verbs.attack_pictures import write_adversarial_images
from snellen.verbs.attack_shards import TASK, Work, merged
from snellen.verbs.attacked_set import AttackedSet
from snellen.verbs.robustbench_record import as_attacked, robustbench_record


@torch.inference_mode(False)  # what this computes needs gradients, wherever it is called
def attack(
    classifier: Model,
    images: Images,
    method: Methods,
    *,
    target: str | int | None = None,
    out: Path | str | None = None,
    batch_size: int = 64,
    workers: int = 0,
    limit: int | None = None,
    seed: int = 0,
    save_images: bool = True,
    pseudonyms: Path | str | None = None,
    labels: Labels | None = None,
    class_names: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> AttackedSet | RunResult:
    """Attack every image that the classifier gets right, and report what was found.

    Images that are wrong from the start count in the accuracies and not in success rates; images that cannot be used
    count nowhere and are named. What is random depends on ``seed`` and the id of the image.

    ``out`` gets ``evidence.parquet`` (a row for each image and setting, "clean" among them), the adversarial images as
    :func:`snellen.verbs.attack_pictures.write_adversarial_images` writes them, ``robustbench-SETTING.json`` for the
    standard ensemble, and ``attack.json``, the record, last. A call that was interrupted leaves a folder ``unfinished``
    and no record; the same call resumes where it stopped and ends with the same bytes. When everything is there, it
    writes nothing. One that failed before anything was finished leaves nothing; but what was sent to a server is always
    recorded in ``sent.jsonl``.

    Attacks on the camera (``viewpoint_attack``) take a set of views, whose objects are attacked whether they are right
    or not: an object is one shard, ``limit`` is of objects, ``batch_size`` and ``workers`` mean nothing. ``out`` gets
    a row for each view that is judged, maps, sheets and a page, ``attack.html``.

    >>> import snellen
    >>> from snellen.methods.attacks.fgsm import FGSM
    >>> classifier = snellen.load_classifier("bundled:fashion-cnn")
    >>> images = snellen.load_images("bundled:fashion-mnist").limit(12)
    >>> attacked = attack(classifier, images, FGSM(epsilon=0.1))
    >>> attacked.settings["fgsm"].success_rate.n <= 12, len(attacked.evidence)
    (True, 24)

    Args:
        classifier: a classifier, or what :func:`snellen.load_classifier` takes: a reference, a torch module (which
            stays as it is), a callable.
        images: an image set, or what :func:`snellen.load_images` takes: a folder, file, arrays.
            Labels are matched to the classifier's classes by name.
        method: one or more methods of the area ``attacks``, as objects, names or records: ``"pgd"``,
            ``{"method": "pgd", "epsilon": 0.1}``.
        target: class that images of others are to be taken for, by name or position; None: any mistake. Of a
            classifier with several labels an image, success is another decision for one of them.
        out: a new or empty folder, or one in which the same call was interrupted; None: nothing is kept.
        batch_size: images in one pass, and in one shard. Another batch size may change scores by about 1e-5.
        workers: threads that read images ahead; changes no result.
        limit: attack at most so many images, drawn at random by the seed.
        seed: of everything random.
        save_images: write pictures: files of the adversarial images, archives, contact sheets.
        pseudonyms: file with a key, made if it is not there, outside of ``out``: names of images, units, groups, bags,
            of the data and of files of models are replaced before anything is written, and can be resolved with it.
        labels: of images in memory that bring none: numbers or names, one for each.
        class_names: in the order of the outputs, where the model does not name them and the images name others.
        columns: what the columns of a table, or the fields of a data set, mean: ``{"image": "file", "label": "dx"}``.
        progress: callback that receives progress updates.
        running: engine, part, budget, allow_rejected: see :class:`~snellen.runs.runner.Running`.

    Warns:
        UserWarning: the classes look permuted: another order of their names explains the decisions far better.

    Returns:
        Figures by setting, with the evidence; of an attack on the camera those of objects.

    Raises:
        InputError: nothing to do, ``out`` holds something else, no image is usable, or labels that do not fit.
        UnsupportedError: the method cannot attack this classifier.
        ModelError: the classifier gives no finite scores.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call continues once that is mended.
        RunConflictError: ``out`` holds the attack of another plan.
    """
    check_batches(batch_size, workers)
    images = given_images(images, labels, columns)
    classifier = given_classifier(classifier, images, class_names)
    named = named_settings(method, "attacks")
    if any(isinstance(setting.method, ViewAttack) for setting in named):
        if pseudonyms is not None:
            raise InputError("objects under pseudonyms cannot be drawn again; leave --pseudonyms out")
        of_views: RunResult = index.form("attack", "views").load()(
            classifier,
            images,
            named,
            target=target,
            out=out,
            limit=limit,
            seed=seed,
            save_images=save_images,
            progress=progress or Silent(),
            running=running,
        )
        return of_views
    listener = progress or Silent()
    goal = goal_of(classifier, target)
    inputs = inputs_of(classifier, images, method, "attacks", out=out, pseudonyms=pseudonyms, limit=limit, seed=seed)

    def call(count: int) -> Call[AttackedSet]:
        shown = align_labels(inputs.images.limit(count, seed), inputs.classifier.class_names)
        keep = save_images and out is not None
        work = Work(inputs.classifier, shown, inputs.settings, goal.target, workers, seed, keep)
        labels_of(shown, goal, len(inputs.classifier.class_names))  # refuses labels of another kind
        return Call(
            what=WHAT,
            result=AttackedSet,
            plan=lambda: {
                "kind": "attack",
                "model": describe_model(work.classifier),
                "data": describe_data(shown, listener),
                **inputs.in_plan(),
                "goal": goal.record(work.classifier.class_names),
                "batch_size": batch_size,
                "seed": seed,
                "save_images": save_images,
                **describe_machine(work.classifier),
            },
            work=lambda _: work,
            shards=batches(len(shown), batch_size),
            task=TASK,
            amount=lambda items: len(items) * len(work.settings),
            conclude=lambda run, folder: _conclude(work, batches(len(shown), batch_size), run, folder),
            images=shown,
            classifiers=[work.classifier],
            again=work.reopening(),
            twin=work.twin,
        )

    with carried_out(call, len(inputs.images), out, listener, running) as carried:
        carried.measure()
    if (permuted := carried.result.permuted) is not None:
        warnings.warn(permuted, UserWarning, stacklevel=3)  # the decorator is one level
    return carried.result


def _conclude(work: Work, shards: Sequence[range], run: Run, folder: Path) -> AttackedSet:
    """Write what needs all images, and make the record."""
    extras = [run.shard_extra(shard) for shard in range(len(shards))]
    rejected = rejected_images(extras, work.images)
    evidence = {name: merged(run, len(shards), name) for name in work.names}
    if not len(evidence[CLEAN]):
        shutil.rmtree(run.folder)
        _refuse(work, rejected)
    files = [EVIDENCE]
    write_evidence(Evidence.merge(evidence.values()), folder)
    if work.keep:
        preparation = work.classifier.preparation
        files += write_adversarial_images(run, len(shards), work.settings, work.images, preparation, work.seed, folder)
    figures = {}
    order = _order_doubt(evidence[CLEAN], work.classifier)
    for setting in work.settings:
        before: list[str] = [doubt for extra in extras for doubt in extra["doubts"]]
        if isinstance(setting.method, StandardEnsemble):
            attacked = as_attacked(evidence[setting.name])
            before += doubts_after(attacked)
            if work.goal.target is None:
                record = robustbench_record(
                    attacked, setting.method, model=work.classifier.name, dataset=work.images.name, seed=work.seed
                )
                files.append(f"robustbench-{setting.name}.json")
                write_atomically(folder / files[-1], canonical_json(record))
        needy = "gradients" in setting.method.needs
        figures[setting.name] = attack_figures(
            evidence[setting.name], evidence[CLEAN], setting.record, [*order, *(before if needy else ())]
        )
    return AttackedSet(
        plan=dict(run.plan),
        clean_accuracy=clean_accuracy(evidence[CLEAN]),
        settings=figures,
        rejected=rejected,
        files=tuple(files),
        folder=folder,
        evidence=Evidence.merge(evidence.values()),
    )


def _order_doubt(clean: Evidence, classifier: Classifier) -> list[str]:
    """That another order of the classes explains the decisions far better, in words; nothing where none does."""
    known, names = PerImage.of(clean), classifier.class_names
    order = OtherOrder.of(known.select(known.labelled), len(names)) if known.labelled.any() else None
    if order is None:
        return []
    return [
        f"{order.title(names)}. Of {len(order.judged)} images, {order.accuracy:.1%} are right in the given order, and "
        f"{order.other_accuracy:.1%} in this one. Give class_names=[...] (--classes FILE) in the order of the outputs "
        f"of {classifier.name}"
    ]


def _refuse(work: Work, rejected: Sequence[RejectedImage]) -> None:
    """Refuse to report on nothing."""
    first = f"first: {rejected[0].id}: {rejected[0].reason}"
    if all(one.reason == UNUSABLE for one in rejected):
        raise ModelError(
            f"{work.classifier.name} gives no finite scores for any of {len(work.images)} images ({first}); check the "
            f"weights and the preprocessing"
        )
    raise InputError(f"none of the {len(work.images)} images of {work.images.name} could be used; {first}")

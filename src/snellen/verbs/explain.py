"""The verb ``snellen.explain``: why a classifier decides as it does, as evidence, figures, pictures and a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.method import Describer, Explainer
from snellen.core.preparation import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run import Run
from snellen.core.run_plan import describe_data, describe_machine, describe_model
from snellen.data.files.labels import align_labels
from snellen.data.loading import PreparedBatch, prepared_batches
from snellen.data.references import Array
from snellen.methods.attacks.goal import class_number
from snellen.runs.given import Images, Model, given_classifier, given_images
from snellen.runs.runner import Call, asked_of, carry_out, write_evidence
from snellen.runs.settings import Methods, Setting
from snellen.runs.whole_file import whole_file
from snellen.verbs.attack_batches import UNUSABLE
from snellen.verbs.explained_batches import HEADS, PICTURES, REGIONS, ExplainBatch, described_rows, explained_rows
from snellen.verbs.explained_files import write_pictures
from snellen.verbs.explained_page import PAGE, render_explanations
from snellen.verbs.explained_set import EVIDENCE, RECORD, WHAT, ExplainedSet, RejectedImage, explanation_figures

#: What progress calls it.
TASK = "explaining"


@dataclass(frozen=True, eq=False)
class _Work:
    """One call: what is explained by what."""

    classifier: Classifier
    images: ImageSet
    settings: Sequence[Setting]
    target: int | None
    batch_size: int
    workers: int
    rng: Randomness
    keep: bool

    @property
    def of_images(self) -> list[Setting]:
        """Methods that explain one image at a time."""
        return [setting for setting in self.settings if isinstance(setting.method, Explainer)]

    @property
    def of_model(self) -> list[Setting]:
        """Methods that describe the model."""
        return [setting for setting in self.settings if isinstance(setting.method, Describer)]

    @property
    def batches(self) -> int:
        """Of images; each is a shard, because explanations are dear. A description is a shard of its own after them."""
        return -(-len(self.images) // self.batch_size) if self.of_images else 0

    @property
    def shards(self) -> int:
        """All of them."""
        return self.batches + len(self.of_model)


def explain(
    classifier: Model,
    images: Images,
    method: Methods,
    *,
    target: str | int | None = None,
    out: Path | str | None = None,
    batch_size: int = 8,
    workers: int = 0,
    limit: int | None = None,
    seed: int = 0,
    save_images: bool = True,
    pseudonyms: Path | str | None = None,
    labels: Array | Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> ExplainedSet:
    """Explain the decision for every image, or describe what the model is made of.

    Labels are not needed. Images that cannot be used count nowhere and are named. What is random depends on ``seed``
    and the id of the image.

    ``out`` gets ``evidence.parquet``, with a row for each image and setting, or for each part of the model;
    ``explain.html``, a page to read; ``SETTING/NAME.png``, a sheet of pictures for each; regions as masks of the
    originals, ``SETTING/masks/REGION/NAME.png``; and ``explain.json``, the record, last. A call that was interrupted
    leaves a folder ``unfinished`` and no record; the same call goes on where it stopped and ends with the same bytes,
    and when everything is there, it writes nothing.

    >>> import snellen
    >>> from snellen.methods.explanations.grad_cam import GradCAM
    >>> classifier = snellen.load_classifier("bundled:fashion-cnn")
    >>> images = snellen.load_images("bundled:fashion-mnist").limit(2)
    >>> explained = explain(classifier, images, GradCAM())
    >>> explained.settings["grad_cam"].asked, len(explained.evidence)
    (2, 2)

    Args:
        classifier: a classifier, or what :func:`snellen.load_classifier` takes: a reference, a torch module (which
            stays as it is), a callable.
        images: an image set, or what :func:`snellen.load_images` takes: a folder, file, arrays.
            Labels are matched to the classifier's classes by name.
        method: one or more methods of the area ``explanations``, as objects, names or records.
        target: class whose score is explained, by name or position; None: the one that each image is taken for.
        out: a new or empty folder, or one in which the same call was interrupted; None: nothing is kept.
        batch_size: images in one shard, which is what a stopped call does again.
        workers: threads that read images ahead; changes no result.
        limit: explain at most so many images, drawn at random by the seed.
        seed: of everything random.
        save_images: write pictures: sheets, masks, and those in the page.
        pseudonyms: file with a key, made if it is not there, outside of ``out``: names of images, units, of the data
            and of files of models are replaced before anything is written, and can be looked up in it.
        labels: of images that are an array or tensor.
        class_names: in the order of the outputs, where the model does not name them and the images name others.
        progress: who hears of progress.

    Returns:
        Figures by setting, with the evidence.

    Raises:
        InputError: nothing to do, ``out`` holds something else, no image is usable, or labels that do not fit.
        UnsupportedError: the method cannot explain this classifier.
        RunConflictError: ``out`` holds the explanations of another plan.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call goes on once that is mended.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"batch_size must be at least 1 and workers at least 0, got {batch_size} and {workers}")
    images = given_images(images, labels)
    classifier = given_classifier(classifier, images, class_names)
    listener = progress or Silent()
    number = None if target is None else class_number(classifier, target)
    asked = asked_of(classifier, images, method, "explanations", out=out, pseudonyms=pseudonyms, limit=limit, seed=seed)
    classifier, images, settings = asked.classifier, asked.images, asked.settings
    if not all(isinstance(setting.method, Describer) for setting in settings):
        # Images that a model is only looked at with may be of any classes.
        images = align_labels(images, classifier.class_names)
    keep = save_images and out is not None
    work = _Work(classifier, images, settings, number, batch_size, workers, Randomness(seed), keep)
    call = Call(
        what=WHAT,
        record=RECORD,
        result=ExplainedSet,
        plan=lambda: {
            "kind": "explain",
            "model": describe_model(classifier),
            "data": describe_data(images, listener),
            **asked.in_plan(),
            "target": None if number is None else classifier.class_names[number],
            "batch_size": batch_size,
            "seed": seed,
            "save_images": save_images,
            **describe_machine(classifier),
        },
        measure=lambda run: _measure(work, run, listener),
        conclude=lambda run, folder: _conclude(work, run, folder),
        classifier=classifier,
    )
    return carry_out(call, out)


def _measure(work: _Work, run: Run, progress: Progress) -> None:
    """Explain what is not done yet, shard by shard."""
    if work.batches:
        progress.begin(TASK, len(work.images) * len(work.of_images))
        for shard in range(work.batches):
            first = shard * work.batch_size
            members = range(first, min(first + work.batch_size, len(work.images)))
            if run.done(shard):
                progress.advance(TASK, len(members) * len(work.of_images), "already done")
                continue
            part = work.images.select(list(members))
            for loaded in prepared_batches(part, work.classifier.preparation, work.batch_size, workers=work.workers):
                _measure_batch(work, run, shard, part, loaded, progress)
        progress.finish(TASK)
    for number, setting in enumerate(work.of_model, work.batches):
        if not run.done(number):
            describer = cast(Describer, setting.method)
            found = describer.describe(
                work.classifier, work.images, rng=work.rng.child(setting.name), progress=progress
            )
            rows = described_rows(found, work.classifier, setting, keep=work.keep)
            rejected = [{"id": key, "reason": reason} for key, reason in found.rejected]
            run.write_shard(number, {setting.name: rows}, {"rejected": rejected})


def _measure_batch(
    work: _Work, run: Run, shard: int, part: ImageSet, loaded: PreparedBatch, progress: Progress
) -> None:
    evidence = {setting.name: Evidence.merge([]) for setting in work.of_images}
    rejected = [{"id": key, "reason": reason} for key, reason in loaded.rejected]
    batch, lost = _usable(work, part, loaded)
    rejected += lost
    if batch is not None:
        for setting in work.of_images:
            evidence[setting.name] = explained_rows(batch, work.classifier, setting, keep=work.keep)
            progress.advance(TASK, len(batch.ids), setting.name)
    progress.advance(TASK, len(rejected) * len(work.of_images), "rejected")
    run.write_shard(shard, evidence, {"rejected": rejected})


def _usable(work: _Work, part: ImageSet, loaded: PreparedBatch) -> tuple[ExplainBatch | None, list[dict[str, str]]]:
    """Look at the images once; those whose scores are not finite are set aside by name, None when none is left."""
    if not loaded.ids:
        return None, []
    images = to_unit(loaded.pixels).to(work.classifier.device)
    with torch.no_grad():
        scores = work.classifier(images)
    finite = scores.isfinite().flatten(1).all(1)
    lost = [{"id": loaded.ids[row], "reason": UNUSABLE} for row in (~finite).nonzero().flatten().tolist()]
    kept = finite.nonzero().flatten()
    if not len(kept):
        return None, lost
    rows = kept.tolist()
    where = [loaded.indices[row] for row in rows]
    ids = tuple(loaded.ids[row] for row in rows)
    units, labels = part.column("unit_id"), part.labels.tolist() if part.has_labels else [-1] * len(part)
    # Decoded once more, for the size alone: batches hold prepared images.
    sizes = tuple(part.read(at).size for at in where)
    decided = scores[kept].argmax(1)
    return ExplainBatch(
        ids=ids,
        unit_ids=tuple(None if units[at] is None else str(units[at]) for at in where),
        images=images[kept],
        labels=tuple(None if labels[at] < 0 else int(labels[at]) for at in where),
        scores=scores[kept],
        targets=decided if work.target is None else torch.full_like(decided, work.target),
        sizes=sizes,
        placements=tuple(work.classifier.preparation.placement(*size) for size in sizes),
        rng=work.rng.for_examples(ids),
    ), lost


def _conclude(work: _Work, run: Run, folder: Path) -> ExplainedSet:
    """Write what needs all images, and make the record."""
    extras = [run.shard_extra(shard) for shard in range(work.shards)]
    reasons = {(row["id"], row["reason"]): None for extra in extras for row in extra["rejected"]}
    rejected = tuple(RejectedImage(id=key, reason=reason) for key, reason in reasons)
    evidence = {setting.name: _merged(work, run, setting) for setting in work.settings}
    for setting in work.settings:
        if not len(evidence[setting.name]):
            shutil.rmtree(run.folder)
            if setting in work.of_model:
                raise InputError(
                    f"{setting.name} tells of no part of {work.classifier.name}: its options leave none; widen them"
                )
            first = f"; first: {rejected[0].id}: {rejected[0].reason}" if rejected else ""
            raise InputError(
                f"none of the {len(work.images)} images of {work.images.name} could be used for {setting.name}{first}"
            )
    figures = {
        setting.name: explanation_figures(
            evidence[setting.name], setting.record, of="images" if setting in work.of_images else "parts"
        )
        for setting in work.settings
    }
    whole = Evidence.merge(evidence.values())
    write_evidence(whole, folder)
    files = [EVIDENCE]
    if work.keep:
        for setting in work.settings:
            files += write_pictures(run, _shards_of(work, setting), setting.name, folder)
    result = ExplainedSet(
        plan=dict(run.plan), settings=figures, rejected=rejected, files=(*files, PAGE), folder=folder, evidence=whole
    )
    shown = {setting.name: _with_pictures(work, run, setting) for setting in work.settings}
    with whole_file(folder / PAGE) as stream:
        stream.write(render_explanations(result, shown, work.classifier.class_names).encode("utf-8", "replace"))
    return result


def _shards_of(work: _Work, setting: Setting) -> Sequence[int]:
    """Where the rows of one method are."""
    if setting in work.of_images:
        return range(work.batches)
    return [work.batches + work.of_model.index(setting)]


def _merged(work: _Work, run: Run, setting: Setting) -> Evidence:
    """The evidence of one method without pictures."""
    parts = []
    for shard in _shards_of(work, setting):
        part = run.shard_evidence(shard, setting.name)
        if len(part):
            kept = [column for column in part.table.column_names if column not in (PICTURES, HEADS, REGIONS)]
            parts.append(Evidence(part.table.select(kept), part.spent, part.assumptions, part.control))
    return Evidence.merge(parts)


def _with_pictures(work: _Work, run: Run, setting: Setting) -> Iterator[Evidence]:
    """The same with pictures, shard by shard, read when they are asked for."""
    return (run.shard_evidence(shard, setting.name) for shard in _shards_of(work, setting))

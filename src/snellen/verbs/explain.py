"""The verb ``snellen.explain``: why a classifier decides as it does, as evidence, figures, pictures and a page."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Unpack, cast

import torch

from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.method import Describer, Explainer
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run import Run
from snellen.core.run_plan import describe_data, describe_machine, describe_model
from snellen.data.files.labels import align_labels
from snellen.data.loading import PreparedBatch, check_batches, prepared_batch
from snellen.data.references import Labels
from snellen.methods.attacks.goal import class_number
from snellen.runs.gathering import merged_evidence, rejected_images, write_evidence
from snellen.runs.given import Images, Model, given_classifier, given_images
from snellen.runs.inputs import inputs_of
from snellen.runs.measuring import Put
from snellen.runs.method_work import MethodWork
from snellen.runs.runner import Call, Running, batches, carried_out
from snellen.runs.settings import Methods, Setting
from snellen.runs.shard import Shard
from snellen.runs.whole_file import whole_file
from snellen.verbs.attack_batches import UNUSABLE
from snellen.verbs.explained_batches import HEADS, PICTURES, REGIONS, ExplainBatch, described_rows, explained_rows
from snellen.verbs.explained_files import write_pictures
from snellen.verbs.explained_page import PAGE, render_explanations
from snellen.verbs.explained_set import EVIDENCE, WHAT, ExplainedSet, explanation_figures

#: What progress calls it.
TASK = "explaining"


@dataclass(frozen=True, eq=False)
class Work(MethodWork):
    """What is explained by what. Items are the images, and behind them the methods that describe the model.

    Attributes:
        target: class that is explained, by position; None: the one that each image is taken for.
        workers: threads that read images ahead.
        seed: of everything random.
        keep: whether pictures are kept.
    """

    area: ClassVar[str] = "explanations"

    target: int | None
    workers: int
    seed: int
    keep: bool

    @cached_property
    def of_images(self) -> list[Setting]:
        """Methods that explain one image at a time."""
        return [setting for setting in self.settings if isinstance(setting.method, Explainer)]

    @cached_property
    def of_model(self) -> list[Setting]:
        """Methods that describe the model, over all images."""
        return [setting for setting in self.settings if not isinstance(setting.method, Explainer)]

    def shards(self, batch_size: int) -> list[range]:
        """Batches of images, and one shard for each method that describes the model."""
        count = len(self.images)
        described = [range(count + place, count + place + 1) for place in range(len(self.of_model))]
        return [*(batches(count, batch_size) if self.of_images else ()), *described]

    def shards_of(self, setting: Setting, batch_size: int) -> Sequence[int]:
        """Numbers of the shards in which the rows of one method are."""
        images = len(batches(len(self.images), batch_size)) if self.of_images else 0
        return range(images) if setting in self.of_images else [images + self.of_model.index(setting)]

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Explain the images at these positions, or describe the model; see :class:`~snellen.runs.measuring.Work`."""
        if items.start >= len(self.images):
            return self._describe(self.of_model[items.start - len(self.images)], progress)
        with self.reading:
            loaded = prepared_batch(self.images, items, self.classifier.preparation, workers=self.workers)
        evidence = {setting.name: Evidence.merge([]) for setting in self.of_images}
        rejected = [{"id": key, "reason": reason} for key, reason in loaded.rejected]
        batch, lost = self._usable(loaded)
        rejected += lost
        if batch is not None:
            for setting in self.of_images:
                evidence[setting.name] = explained_rows(batch, self.classifier, setting, keep=self.keep)
                progress.advance(TASK, len(batch.ids), setting.name)
        progress.advance(TASK, len(rejected) * len(self.of_images), "rejected")
        return Shard(evidence, {"rejected": rejected})

    def _describe(self, setting: Setting, progress: Progress) -> Shard:
        rng = Randomness(self.seed).child(setting.name)
        found = cast(Describer, setting.method).describe(self.classifier, self.images, rng=rng, progress=progress)
        rows = described_rows(found, self.classifier, setting, keep=self.keep)
        rejected = [{"id": key, "reason": reason} for key, reason in found.rejected]
        return Shard({setting.name: rows}, {"rejected": rejected})

    def _usable(self, loaded: PreparedBatch) -> tuple[ExplainBatch | None, list[dict[str, str]]]:
        """Score images once; those whose scores are not finite are set aside by name, None when none is left."""
        if not loaded.ids:
            return None, []
        images = to_unit(loaded.pixels).to(self.classifier.device)
        with torch.no_grad():
            scores = self.classifier(images)
        finite = scores.isfinite().flatten(1).all(1)
        lost = [{"id": loaded.ids[row], "reason": UNUSABLE} for row in (~finite).nonzero().flatten().tolist()]
        kept = finite.nonzero().flatten()
        if not len(kept):
            return None, lost
        where = [loaded.indices[row] for row in kept.tolist()]
        ids = tuple(loaded.ids[row] for row in kept.tolist())
        units, labels = self.images.column("unit_id"), self.images.known_labels.tolist()
        with self.reading:  # decoded once more, for the size alone: batches hold prepared images
            sizes = tuple(self.images.read(at).size for at in where)
        decided = scores[kept].argmax(1)
        return ExplainBatch(
            ids=ids,
            unit_ids=tuple(None if units[at] is None else str(units[at]) for at in where),
            images=images[kept],
            labels=tuple(None if labels[at] < 0 else int(labels[at]) for at in where),
            scores=scores[kept],
            targets=decided if self.target is None else torch.full_like(decided, self.target),
            sizes=sizes,
            placements=tuple(self.classifier.preparation.placement(*size) for size in sizes),
            rng=Randomness(self.seed).for_examples(ids),
        ), lost


@torch.inference_mode(False)  # what this computes needs gradients, wherever it is called
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
    labels: Labels | None = None,
    class_names: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> ExplainedSet:
    """Explain the decision for every image, or describe what the model is made of.

    Labels are not needed. Images that cannot be used count nowhere and are named. What is random depends on ``seed``
    and the id of the image.

    ``out`` gets ``evidence.parquet``, with a row for each image and setting, or for each part of the model;
    ``explain.html``, a page to read; ``SETTING/NAME.png``, a sheet of pictures for each; regions as masks of the
    originals, ``SETTING/masks/REGION/NAME.png``; and ``explain.json``, the record, last. A call that was interrupted
    leaves a folder ``unfinished`` and no record; the same call resumes where it stopped and ends with the same bytes.
    When everything is there, it writes nothing.

    >>> import snellen
    >>> from snellen.methods.explanations.grad_cam import GradCAM
    >>> classifier = snellen.load_classifier("bundled:fashion-cnn")
    >>> images = snellen.load_images("bundled:fashion-mnist").limit(2)
    >>> explained = explain(classifier, images, GradCAM())
    >>> explained.settings["grad_cam"].requested, len(explained.evidence)
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
            and of files of models are replaced before anything is written, and can be resolved with it.
        labels: of images in memory that bring none: numbers or names, one for each.
        class_names: in the order of the outputs, where the model does not name them and the images name others.
        columns: what the columns of a table, or the fields of a data set, mean: ``{"image": "file", "label": "dx"}``.
        progress: callback that receives progress updates.
        running: engine, part, budget, allow_rejected: see :class:`~snellen.runs.runner.Running`.

    Returns:
        Figures by setting, with the evidence.

    Raises:
        InputError: nothing to do, ``out`` holds something else, no image is usable, or labels that do not fit.
        UnsupportedError: the method cannot explain this classifier.
        RunConflictError: ``out`` holds the explanations of another plan.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call continues once that is mended.
    """
    check_batches(batch_size, workers)
    images = given_images(images, labels, columns)
    classifier = given_classifier(classifier, images, class_names)
    listener = progress or Silent()
    number = None if target is None else class_number(classifier, target)
    inputs = inputs_of(
        classifier, images, method, "explanations", out=out, pseudonyms=pseudonyms, limit=limit, seed=seed
    )
    model, keep = inputs.classifier, save_images and out is not None
    # Images that only probe a model may be of any classes.
    fitted = not all(isinstance(setting.method, Describer) for setting in inputs.settings)
    if number is not None and not fitted:
        names = " and ".join(setting.name for setting in inputs.settings)
        raise InputError(f"{names}: the model is described with all of its classes; leave the target (--target) out")

    def call(count: int) -> Call[ExplainedSet]:
        few = inputs.images.limit(count, seed)
        shown = align_labels(few, model.class_names) if fitted else few
        work = Work(model, shown, inputs.settings, number, workers, seed, keep)
        return Call(
            what=WHAT,
            result=ExplainedSet,
            plan=lambda: {
                "kind": "explain",
                "model": describe_model(model),
                "data": describe_data(shown, listener),
                **inputs.in_plan(),
                "target": None if number is None else model.class_names[number],
                "batch_size": batch_size,
                "seed": seed,
                "save_images": save_images,
                **describe_machine(model),
            },
            work=lambda _: work,
            shards=work.shards(batch_size),
            task=TASK,
            amount=lambda items: len(items) * (len(work.of_images) if items.start < len(shown) else 0),
            conclude=lambda run, folder: _conclude(work, batch_size, run, folder),
            images=shown,
            seen=lambda items: items if items.start < len(shown) else range(len(shown)),
            classifiers=[model],
            again=work.reopening(),
            twin=None if work.of_model else work.twin,
        )

    with carried_out(call, len(inputs.images), out, listener, running) as carried:
        carried.measure()
    return carried.result


def _conclude(work: Work, batch_size: int, run: Run, folder: Path) -> ExplainedSet:
    """Write what needs all images, and make the record."""
    extras = [run.shard_extra(shard) for shard in range(len(work.shards(batch_size)))]
    rejected = rejected_images(extras, work.images)
    shards = {setting.name: work.shards_of(setting, batch_size) for setting in work.settings}
    pictured = (PICTURES, HEADS, REGIONS)
    evidence = {name: merged_evidence(run, numbers, name, without=pictured) for name, numbers in shards.items()}
    for setting in work.settings:
        if not len(evidence[setting.name]):
            shutil.rmtree(run.folder)
            if setting in work.of_model:
                raise InputError(
                    f"{setting.name} describes no part of {work.classifier.name}: its options leave none; widen them"
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
            files += write_pictures(run, shards[setting.name], setting.name, folder)
    result = ExplainedSet(
        plan=dict(run.plan), settings=figures, rejected=rejected, files=(*files, PAGE), folder=folder, evidence=whole
    )
    shown = {name: _with_pictures(run, numbers, name) for name, numbers in shards.items()}
    with whole_file(folder / PAGE) as stream:
        stream.write(render_explanations(result, shown, work.classifier.class_names).encode("utf-8", "replace"))
    return result


def _with_pictures(run: Run, shards: Sequence[int], name: str) -> Iterator[Evidence]:
    """The evidence of one method with pictures, shard by shard, read on demand."""
    return (run.shard_evidence(shard, name) for shard in shards)

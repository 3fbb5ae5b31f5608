"""The verb ``snellen.certify``: what can be proven of the decision for every image, as evidence and figures."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Unpack, cast

import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.preprocessing import to_unit
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run import Run
from snellen.core.run_plan import describe_data, describe_machine, describe_model
from snellen.data.files.labels import align_labels
from snellen.data.loading import check_batches, prepared_batch
from snellen.data.references import Labels
from snellen.methods.smoothing.by_votes import VoteCertificate
from snellen.methods.smoothing.certifying import CertifiedByVotes
from snellen.runs.gathering import merged_evidence, rejected_images, write_evidence
from snellen.runs.given import Images, Model, given_classifier, given_images
from snellen.runs.inputs import inputs_of
from snellen.runs.measuring import Put
from snellen.runs.method_work import MethodWork
from snellen.runs.runner import Call, Running, batches, carried_out
from snellen.runs.settings import Methods, Setting
from snellen.runs.shard import Shard
from snellen.verbs.certified_set import EVIDENCE, WHAT, CertifiedSet, certified_figures

#: What progress calls it.
TASK = "certifying"


@dataclass(frozen=True, eq=False)
class Work(MethodWork):
    """What is certified by what.

    Attributes:
        workers: threads that read images ahead.
        seed: of everything random.
    """

    area: ClassVar[str] = "certificates"

    workers: int
    seed: int

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Certify the images at these positions; see :class:`~snellen.runs.measuring.Work`."""
        with self.reading:
            loaded = prepared_batch(self.images, items, self.classifier.preparation, workers=self.workers)
        evidence = {setting.name: Evidence.merge([]) for setting in self.settings}
        recorded: dict[str, Any] = {}
        rejected = [{"id": key, "reason": reason} for key, reason in loaded.rejected]
        units, labels = self.images.column("unit_id"), self.images.known_labels
        images = to_unit(loaded.pixels).to(self.classifier.device)
        for setting in self.settings if loaded.ids else ():
            reasons = cast(VoteCertificate, setting.method).unusable(self.classifier, images)
            rows = [row for row, reason in enumerate(reasons) if reason is None]
            rejected += [{"id": loaded.ids[row], "reason": why} for row, why in enumerate(reasons) if why is not None]
            progress.advance(TASK, len(loaded.ids) - len(rows), "rejected")
            if not rows:
                continue
            ids, where = [loaded.ids[row] for row in rows], [loaded.indices[row] for row in rows]
            rng = Randomness(self.seed).for_examples(ids).child(setting.name)
            found = setting.certifier.certify(self.classifier, images[rows], rng=rng)
            assert isinstance(found, CertifiedByVotes)
            evidence[setting.name] = found.evidence(
                self.classifier,
                ids,
                [None if labels[at] < 0 else int(labels[at]) for at in where],
                setting=setting.name,
                unit_ids=[None if units[at] is None else str(units[at]) for at in where],
            )
            recorded[setting.name] = {
                "sigma": found.sigma, "largest": found.largest, "assumptions": list(found.assumptions)
            }  # fmt: skip
            progress.advance(TASK, len(rows), setting.name)
        progress.advance(TASK, len(loaded.rejected) * len(self.settings), "rejected")
        return Shard(evidence, {"rejected": rejected, "said": recorded})


@torch.inference_mode(False)  # what this computes needs gradients, wherever it is called
def certify(
    classifier: Model,
    images: Images,
    method: Methods,
    *,
    out: Path | str | None = None,
    batch_size: int = 8,
    workers: int = 0,
    limit: int | None = None,
    seed: int = 0,
    pseudonyms: Path | str | None = None,
    labels: Labels | None = None,
    class_names: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> CertifiedSet:
    """Certify the decision for every image, and say how far it holds.

    Labels are not needed; with them, right and wrong certificates are distinguished. Images that cannot be used count
    nowhere and are named. What is random depends on ``seed`` and the id of the image.

    ``out`` gets ``evidence.parquet``, with a row for each image and setting that holds all votes, and ``certify.json``,
    the record, last. A call that was interrupted leaves a folder ``unfinished`` and no record; the same call resumes
    where it stopped and ends with the same bytes. When everything is there, it writes nothing.

    >>> import snellen
    >>> from snellen.methods.smoothing.smoothing import Smoothing
    >>> classifier = snellen.load_classifier("bundled:fashion-cnn")
    >>> images = snellen.load_images("bundled:fashion-mnist").limit(2)
    >>> certified = certify(classifier, images, Smoothing(sigma=0.1, samples=100))
    >>> certified.settings["smoothing"].guarantee, len(certified.evidence)
    (True, 2)

    Args:
        classifier: a classifier, or what :func:`snellen.load_classifier` takes: a reference, a torch module (which
            stays as it is), a callable.
        images: an image set, or what :func:`snellen.load_images` takes: a folder, file, arrays.
            Labels are matched to the classifier's classes by name.
        method: one or more methods of the area ``certificates``, as objects, names or records.
        out: a new or empty folder, or one in which the same call was interrupted; None: nothing is kept.
        batch_size: images in one shard, which is what a stopped call does again.
        workers: threads that read images ahead; changes no result.
        limit: certify at most so many images, drawn at random by the seed.
        seed: of everything random.
        pseudonyms: file with a key, made if it is not there, outside of ``out``: names of images, units, groups, bags,
            of the data and of files of models are replaced before anything is written, and can be resolved with it.
        labels: of images in memory that bring none: numbers or names, one for each.
        class_names: in the order of the outputs, where the model does not name them and the images name others.
        columns: what the columns of a table, or the fields of a data set, mean: ``{"image": "file", "label": "dx"}``.
        progress: callback that receives progress updates.
        running: engine, part, budget, allow_rejected: see :class:`~snellen.runs.runner.Running`.

    Returns:
        Figures by setting, with the evidence.

    Raises:
        InputError: nothing to do, ``out`` holds something else, no image is usable, or labels that do not fit.
        UnsupportedError: the method cannot certify this classifier.
        RunConflictError: ``out`` holds the certificates of another plan.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call continues once that is mended.
    """
    check_batches(batch_size, workers)
    images = given_images(images, labels, columns)
    classifier = given_classifier(classifier, images, class_names)
    listener = progress or Silent()
    inputs = inputs_of(
        classifier,
        images,
        method,
        "certificates",
        out=out,
        pseudonyms=pseudonyms,
        limit=limit,
        seed=seed,
        check=_by_votes,
    )

    def call(count: int) -> Call[CertifiedSet]:
        shown = align_labels(inputs.images.limit(count, seed), inputs.classifier.class_names)
        work = Work(inputs.classifier, shown, inputs.settings, workers, seed)
        shards = batches(len(shown), batch_size)
        return Call(
            what=WHAT,
            result=CertifiedSet,
            plan=lambda: {
                "kind": "certify",
                "model": describe_model(work.classifier),
                "data": describe_data(shown, listener),
                **inputs.in_plan(),
                "batch_size": batch_size,
                "seed": seed,
                **describe_machine(work.classifier),
            },
            work=lambda _: work,
            shards=shards,
            task=TASK,
            amount=lambda items: len(items) * len(work.settings),
            conclude=lambda run, folder: _conclude(work, len(shards), run, folder),
            images=shown,
            classifiers=[work.classifier],
            again=work.reopening(),
            twin=work.twin,
        )

    with carried_out(call, len(inputs.images), out, listener, running) as carried:
        carried.measure()
    return carried.result


def _by_votes(setting: Setting) -> None:
    """Refuse a method that certifies by other means."""
    if not isinstance(setting.method, VoteCertificate):
        raise InputError(f"{setting.method.name} certifies by other means than votes, which is not written yet")


def _conclude(work: Work, shards: int, run: Run, folder: Path) -> CertifiedSet:
    """Write what needs all images, and make the record."""
    extras = [run.shard_extra(shard) for shard in range(shards)]
    rejected = rejected_images(extras, work.images)
    evidence = {setting.name: merged_evidence(run, range(shards), setting.name) for setting in work.settings}
    recorded: dict[str, Any] = {}
    for extra in extras:
        recorded |= extra["said"]
    if len(recorded) < len(work.settings):
        shutil.rmtree(run.folder)
        first = f"first: {rejected[0].id}: {rejected[0].reason}"
        lost = ", ".join(setting.name for setting in work.settings if setting.name not in recorded)
        raise InputError(
            f"none of the {len(work.images)} images of {work.images.name} could be used for {lost}; {first}"
        )
    whole = Evidence.merge(evidence.values())
    write_evidence(whole, folder)
    return CertifiedSet(
        plan=dict(run.plan),
        settings={
            setting.name: certified_figures(
                evidence[setting.name],
                setting.record,
                sigma=recorded[setting.name]["sigma"],
                largest=recorded[setting.name]["largest"],
                assumptions=recorded[setting.name]["assumptions"],
            )
            for setting in work.settings
        },
        rejected=rejected,
        files=(EVIDENCE,),
        folder=folder,
        evidence=whole,
    )


def largest_radii(classifier: Classifier, settings: Sequence[Setting]) -> dict[str, float]:
    """The radius that no image can exceed under each setting: known before anything is run."""
    return {setting.name: cast(VoteCertificate, setting.method).largest(classifier) for setting in settings}

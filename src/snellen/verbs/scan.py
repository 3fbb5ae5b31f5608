"""The verb ``snellen.scan``: what is planted or wrong in images or in a classifier, as evidence and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Unpack, runtime_checkable

import pyarrow.compute as pc
import torch

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run import Run, csv_table, write_atomically
from snellen.core.run_plan import describe_data, describe_machine, describe_model
from snellen.data.files.labels import align_labels
from snellen.data.references import Labels
from snellen.runs.estimate import Trial
from snellen.runs.gathering import write_evidence
from snellen.runs.given import Images, Model, given_classifier, given_images
from snellen.runs.inputs import inputs_of
from snellen.runs.measuring import Put
from snellen.runs.method_work import MethodWork
from snellen.runs.runner import Call, Rejections, Running, batches, carried_out
from snellen.runs.scan_suspects import SUSPECTS, named_rows
from snellen.runs.settings import Methods, Setting
from snellen.runs.shard import Shard
from snellen.verbs.scanned_set import EVIDENCE, WHAT, ScannedFigures, ScannedSet, scanned_figures, write_pictures


@runtime_checkable
class NamesReferences(Protocol):
    """A method whose fields name artifacts or images that are not those of the call."""

    def reference_hashes(self) -> Mapping[str, str]:
        """Hash of what each such field names, as it is now: another one makes another plan."""
        ...


@runtime_checkable
class SaysItsCost(Protocol):
    """A method that also does what does not grow with the images, such as drawing images of its own."""

    def cost(self, images: ImageSet, classifier: Classifier | None) -> Trial | None:
        """What it takes for each image and once, measured on a little of both; None: a few images say it."""
        ...


#: What progress calls it.
TASK = "scanning"

#: What a method needs that only a classifier has.
OF_A_CLASSIFIER = frozenset({"scores", "gradients", "logits", "layers"})


@dataclass(frozen=True, eq=False)
class Work(MethodWork):
    """What is scanned with what. An item is a method, which scans all images.

    Attributes:
        seed: of everything random.
    """

    area: ClassVar[str] = "scans"

    seed: int

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Scan with one method; see :class:`~snellen.runs.measuring.Work`."""
        (setting,) = self.settings[items.start : items.stop]
        found = setting.scanner.scan(
            self.images, classifier=self.classifier, rng=Randomness(self.seed).child(setting.name), progress=progress
        )
        statuses = found.evidence.table["status"]
        if not len(found.evidence) or pc.all(pc.equal(statuses, "rejected")).as_py():
            first = found.evidence.table.slice(0, 1).to_pylist()
            reason = "".join(f"; first: {row['example_id']}: {row['reason']}" for row in first)
            raise InputError(
                f"none of the {len(self.images)} images of {self.images.name} could be used for {setting.name}{reason}"
            )
        title = f"{setting.name}  ({self.images.name})"
        pictures = write_pictures(found.pictures, setting.name, title, put)
        figures = scanned_figures(found, setting.record, pictures)
        return Shard({setting.name: found.evidence}, {"figures": figures.model_dump(mode="json")})


@torch.inference_mode(False)  # what this computes needs gradients, wherever it is called
def scan(
    classifier: Model | None,
    images: Images,
    method: Methods,
    *,
    out: Path | str | None = None,
    limit: int | None = None,
    seed: int = 0,
    pseudonyms: Path | str | None = None,
    labels: Labels | None = None,
    class_names: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    **running: Unpack[Running],
) -> ScannedSet:
    """Scan images, or a classifier by means of images, and report what was found.

    Images that cannot be used count nowhere and are named. What is random depends on ``seed`` and the id of the image.

    ``out`` gets ``evidence.parquet`` with the rows of all methods, ``suspects.csv`` with the images that they named,
    ``sheet-SETTING.png`` and ``SETTING/`` with the pictures of each, and ``scan.json``, the record, last. A method is
    done whole or again: a call that was interrupted leaves a folder ``unfinished`` and no record, and the same call
    resumes with the method in which it stopped. When everything is there, it writes nothing.

    Args:
        classifier: see :func:`snellen.load_classifier`; None for methods that need images alone.
        images: see :func:`snellen.load_images`. With a classifier, labels are matched to its classes by name.
        method: one or more methods of the area ``scans``, as objects, names or records.
        out: a new or empty folder, or one in which the same call was interrupted; None: nothing is kept.
        limit: scan at most so many images, drawn at random by the seed.
        seed: of everything random.
        pseudonyms: file with a key, made if it is not there, outside of ``out``: names of images, units, groups, bags,
            of the data and of files of models are replaced before anything is written, and can be resolved with it.
        labels: of images in memory that bring none: numbers or names, one for each.
        class_names: in the order of the outputs, where the model does not name them and the images name others.
        columns: what the columns of a table, or the fields of a data set, mean: ``{"image": "file", "label": "dx"}``.
        progress: callback that receives progress updates.
        running: engine, part, budget, allow_rejected: see :class:`~snellen.runs.runner.Running`.

    Returns:
        What each method found, with the evidence.

    Raises:
        InputError: nothing to do, ``out`` holds something else, or a scan of a classifier that cannot be identified, no
            image is usable, a method that needs a classifier without one, or labels that do not fit.
        RunConflictError: ``out`` holds the scan of another plan.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call continues once that is mended.
    """
    listener, held = progress or Silent(), given_images(images, labels, columns)
    inputs = inputs_of(
        None if classifier is None else given_classifier(classifier, held, class_names),
        held,
        method,
        "scans",
        out=out,
        pseudonyms=pseudonyms,
        limit=limit,
        seed=seed,
        check=lambda setting: needs_classifier(setting, classifier is not None),
    )
    model, settings = inputs.classifier, inputs.settings

    def call(count: int) -> Call[ScannedSet]:
        few = inputs.images.limit(count, seed)
        shown = few if model is None else align_labels(few, model.class_names)
        work = Work(model, shown, settings, seed)
        return Call(
            what=WHAT,
            result=ScannedSet,
            plan=lambda: {
                "kind": "scan",
                "model": None if model is None else describe_model(model),
                "data": describe_data(shown, listener),
                **inputs.in_plan(),
                "references": {
                    one.name: dict(one.method.reference_hashes())
                    for one in settings
                    if isinstance(one.method, NamesReferences)
                },
                "seed": seed,
                **describe_machine(model),
            },
            work=lambda _: work,
            shards=batches(len(settings), 1),
            task=TASK,
            conclude=lambda run, folder: _conclude(work, run, folder),
            images=shown,
            seen=lambda _: range(len(shown)),
            classifiers=() if model is None else (model,),
            trial=lambda: _trial(work),
            again=work.reopening(),
            rejected=lambda run: _rejections(work, run),
        )

    with carried_out(call, len(inputs.images), out, listener, running) as carried:
        carried.measure()
    return carried.result


def _trial(work: Work) -> Trial | None:
    """What a single method says that it costs; several together are measured on a few images."""
    methods = [one.method for one in work.settings]
    if len(methods) == 1 and isinstance(methods[0], SaysItsCost):
        return methods[0].cost(work.images, work.classifier)
    return None


def needs_classifier(setting: Setting, given: bool) -> None:
    """Refuse a method that needs a classifier where none is given.

    Raises:
        InputError: so it is.
    """
    wanted = sorted(OF_A_CLASSIFIER & setting.method.needs)
    if wanted and not given:
        raise InputError(
            f"{setting.method.name} needs a classifier that gives {', '.join(wanted)}: name it before the images"
        )


def _rejections(work: Work, run: Run) -> Iterator[Rejections]:
    """What each method could not use, of the images that it scanned; one that scans fewer has a field for it."""
    for number, setting in enumerate(work.settings):
        lost = run.shard_evidence(number, setting.name).where(status="rejected").table
        reasons = dict(zip(lost["example_id"].to_pylist(), lost["reason"].to_pylist(), strict=True))
        most = getattr(setting.method, "images", None)
        yield Rejections(reasons, min(len(work.images), most) if isinstance(most, int) else len(work.images))


def _conclude(work: Work, run: Run, folder: Path) -> ScannedSet:
    """Write the rows of all methods and the images that they named, and make the record."""
    settings = work.settings
    whole = Evidence.merge(run.shard_evidence(number, setting.name) for number, setting in enumerate(settings))
    write_evidence(whole, folder)
    files = [EVIDENCE]
    if named := named_rows(whole, work.images):
        write_atomically(folder / SUSPECTS, csv_table(named))
        files.append(SUSPECTS)
    figures = (run.shard_extra(number)["figures"] for number in range(len(settings)))
    found = {setting.name: ScannedFigures.model_validate(one) for setting, one in zip(settings, figures, strict=True)}
    pictures = [file for figures in found.values() for file in figures.pictures]
    return ScannedSet(plan=dict(run.plan), settings=found, files=(*files, *pictures), folder=folder, evidence=whole)

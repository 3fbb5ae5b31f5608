"""The verb ``snellen.train``: a recipe, images, and everything that a classifier is shipped with."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from snellen.auditing.audit import audit
from snellen.auditing.report import AuditReport
from snellen.core.artifact import Artifact
from snellen.core.errors import InputError, RunConflictError, SnellenError
from snellen.core.images import ImageSet
from snellen.core.interruption import noted_interruption
from snellen.core.method import Method, Recipe, build
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.core.run import canonical_json, write_atomically
from snellen.core.unwritable import explained_unwritable
from snellen.data.files.joining import join
from snellen.data.files.splits import as_split
from snellen.data.references import Labels
from snellen.models.classifiers.onnx_export import export_onnx
from snellen.models.classifiers.references import load_classifier
from snellen.models.remote.sent_log import sent_log
from snellen.runs.given import Images, given_images
from snellen.runs.scan_suspects import without_named
from snellen.training.checkpoints import differences
from snellen.verbs.model_card import model_card, with_left_out

#: Where a training stands, while it runs; removed at its end, with those beside it (of a teacher).
CHECKPOINT = "training.safetensors"
_CHECKPOINTS = re.compile(r"training(-\w+)?\.safetensors")

#: What is being made, while it is; with the checkpoints, and what a kill leaves of any file, removed at the end.
UNFINISHED = "training.json"
#: Written last: with it, and without the one above, a folder is complete.
COMPLETE = "README.md"
_UNFINISHED_FILES = re.compile(
    r"training\.json|weights\.safetensors|card\.json|model\.onnx(\.json)?|audit|sent\.jsonl|README\.md", re.ASCII
)
_TEMPORARY = re.compile(r"\.(training(-\w+)?\.safetensors|training\.json|model\.onnx\.json|README\.md)\.[0-9a-f]{12}")


@dataclass(frozen=True, eq=False)
class Delivered:
    """A trained classifier and what was written.

    Attributes:
        artifact: weights and card.
        folder: weights.safetensors, card.json, README.md; model.onnx and audit/ where they were made,
            sent.jsonl where something was sent.
        onnx: the ONNX file.
        report: the audit.
        notes: what was not made, and why.
    """

    artifact: Artifact
    folder: Path
    onnx: Path | None
    report: AuditReport | None
    notes: tuple[str, ...]


@torch.inference_mode(False)  # what this computes needs gradients, wherever it is called
def train(
    recipe: str | Mapping[str, Any] | Method,
    images: Images,
    *,
    out: Path | str,
    val: Images | None = None,
    test: Images | None = None,
    base: Artifact | None = None,
    without: Path | str | None = None,
    onnx: bool = True,
    seed: int = 0,
    labels: Labels | None = None,
    class_names: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Delivered:
    """Train a classifier, or a denoiser, and write it with all that a user of it must know.

    The same call resumes a stopped one where it was: within the training, or after it, with the ONNX file and the
    audit. README.md is written last: a folder without it is unfinished.

    Args:
        recipe: a method of the area ``recipes``: its name, its record, or itself.
        images: to train on, none of them test images: an image set, or what :func:`snellen.load_images` takes.
        out: a new folder, or one that holds an unfinished training.
        val: images that choose the epoch, where the others have no such split of their own.
        test: images to audit the result on; None: no audit. A denoiser gets neither that nor an ONNX file.
        base: model to continue training from. onnx: also write model.onnx; ``notes`` say what cannot be written.
        without: folder of a scan of these images: those that it names as suspects are not trained on. Card and README
            name the scan, and how many images it left out.
        seed: of everything random.
        labels: of images to train on in memory that bring none: numbers or names, one for each.
        class_names: of images to train on in memory whose labels are numbers.
        columns: what the columns of a table to train on mean: ``{"image": "file", "label": "dx"}``.
        progress: callback that receives progress updates.

    Raises:
        InputError: the folder is not free; what the recipe refuses.
        RunConflictError: the folder holds an unfinished training of another recipe, base, other images or another seed.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call continues once that is mended.
    """
    made = build("recipes", recipe)
    assert isinstance(made, Recipe)
    folder = Path(out)
    check_free(folder)
    lacking = made.missing() if base is None else None
    if lacking is not None:
        raise InputError(f"{made.name} {lacking}")
    given = images = given_images(images, labels, columns, class_names)
    left_out = None
    if without is not None:
        images, left_out = without_named(images, Path(without))
        given = images
    val, test = (None if one is None else given_images(one) for one in (val, test))
    if val is not None:
        given = join([as_split(images.for_fitting(), "train"), as_split(val.for_fitting(), "val")])
    if "labels" not in made.needs:
        given = _without_labels(given)
    with noted_interruption(folder), explained_unwritable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        request = {
            "recipe": made.record(),
            "seed": seed,
            "base": None if base is None else base.card.sha256,
            "images": given.fingerprint(progress),
            "test": None if test is None else test.fingerprint(progress),
            **({} if left_out is None else {"without": left_out.evidence}),  # the scan's folder may be renamed
        }
        artifact = _trained(folder, request)
        if artifact is None:
            write_atomically(folder / UNFINISHED, canonical_json(request))
            checkpoint = folder / CHECKPOINT
            with sent_log() as sent:  # a recipe may ask a language model, or show its images to another classifier
                sent.into(folder)
                artifact = made.fit(given, base=base, rng=Randomness(seed), checkpoint=checkpoint, progress=progress)
            if left_out is not None:
                artifact = replace(artifact, card=with_left_out(artifact.card, left_out))
            artifact = artifact.save(folder)
        _remove(folder, _CHECKPOINTS)
        # An export that was stopped leaves a part of a file.
        _remove(folder, re.compile(r"model\.onnx(\.json)?"))
        notes: list[str] = []
        decides = artifact.card.kind == "classifier"
        if not decides and (onnx or test is not None):
            audited = f"snellen audit {shlex.quote(f'artifact:{folder}')} DATA --task segment"
            decides_pixels = artifact.card.kind == "segmenter"
            why = f"decides each pixel; audit it with: {audited}" if decides_pixels else "decides nothing"
            notes.append(f"neither model.onnx nor an audit: a {artifact.card.kind} {why}")
        written = _onnx(folder, notes) if onnx and decides else None
        report = None
        if test is not None and decides:
            classifier = load_classifier(f"artifact:{folder}")
            report = audit(classifier, test, out=folder / "audit", train=images, seed=seed, progress=progress)
        card = model_card(artifact.card, report, onnx=written.name if written else None)
        write_atomically(folder / COMPLETE, card.encode())
        _remove(folder, _TEMPORARY)
        (folder / UNFINISHED).unlink()
    return Delivered(artifact, folder, written, report, tuple(notes))


def check_free(folder: Path) -> None:
    """Refuse a folder that holds anything but an unfinished training, or one whose ONNX file and audit are unfinished.

    Raises:
        InputError: as above.
    """
    if not folder.exists():
        return
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else {""}
    allowed = [_CHECKPOINTS, _TEMPORARY, *([_UNFINISHED_FILES] if UNFINISHED in names else [])]
    if any(not any(kind.fullmatch(name) for kind in allowed) for name in names):
        raise InputError(f"{folder} exists and is not an empty folder; name a new one with --out")


def _without_labels(images: ImageSet) -> ImageSet:
    """What a recipe that needs no labels gets: none are there, and not even the fingerprint depends on any."""
    held = [name for name in ("label", "labels", "true_label") if name in images.table.column_names]
    return replace(images.unlabelled(), table=images.table.drop_columns(held))


def _trained(folder: Path, request: Mapping[str, Any]) -> Artifact | None:
    """The classifier of an unfinished folder whose training is over; None where there is something left to train.

    Raises:
        RunConflictError: it was trained for something else.
    """
    try:
        artifact = Artifact.load(folder)
        recorded = json.loads((folder / UNFINISHED).read_bytes())
    except (InputError, OSError, ValueError):
        return None  # stopped before both files were whole: the checkpoint is there still
    differing = differences(recorded, json.loads(canonical_json(request)))
    if differing:
        raise RunConflictError(
            f"{folder} holds a trained classifier whose delivery was stopped, and differs from this call in: "
            f"{', '.join(differing)}; name a new folder with --out, or delete it to start anew"
        )
    return artifact


def _remove(folder: Path, names: re.Pattern[str]) -> None:
    for left in list(folder.iterdir()):
        if names.fullmatch(left.name):
            left.unlink()


def _onnx(folder: Path, notes: list[str]) -> Path | None:
    try:
        return export_onnx(load_classifier(f"artifact:{folder}"), folder / "model.onnx")
    except SnellenError as error:
        notes.append(f"no model.onnx: {error}")
    return None

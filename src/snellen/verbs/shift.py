"""The verb ``snellen.shift``: the same images under nuisances, as a data set that any tool can read."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import PIL
import torch

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run import Run
from snellen.data.privacy.nameless import without_names
from snellen.data.privacy.pseudonyms import Pseudonyms
from snellen.methods.edits.edited_objects import EditedObjects
from snellen.models.segmenters.object_masks import fitting_segmenter
from snellen.models.segmenters.protocol import Segmenter
from snellen.runs.archive_writer import ArchiveWriter, common_size
from snellen.runs.folder_writer import FolderWriter
from snellen.runs.given import Images, given_images
from snellen.runs.runner import Call, carry_out
from snellen.runs.settings import Methods, Setting, checked_severities, settings_of
from snellen.runs.unfinished import UNFINISHED, check_free
from snellen.runs.whole_file import whole_file
from snellen.runs.writer import Row, Writer
from snellen.verbs.contact_sheet import choose_examples, sheets
from snellen.verbs.shifted_batches import shifted_batches
from snellen.verbs.shifted_set import RECORD, WHAT, Rejected, ShiftedSet
from snellen.version import __version__

Format = Literal["folder", "medmnist-c"]

#: Severities where none are given; of edits of objects the last one alone, which is the published edit.
SEVERITIES = (1.0, 2.0, 3.0, 4.0, 5.0)

#: Images that are written before they are recorded: what a killed call does again at most, for one setting.
IMAGES_PER_SHARD = 256


def shift(
    images: Images,
    method: Methods,
    *,
    severities: Sequence[float] | None = None,
    out: Path | str,
    format: Format = "folder",
    batch_size: int = 32,
    workers: int = 0,
    limit: int | None = None,
    seed: int = 0,
    contact_sheet: bool = True,
    pseudonyms: Path | str | None = None,
    segmenter: str | None = None,
    progress: Progress | None = None,
) -> ShiftedSet:
    """Write the same images under nuisances.

    Every image is shifted at its own size, not resized for any model. What is random depends on ``seed`` and the id of
    the image, and on nothing else, so that neither the batch nor the order nor the rest of the set changes a pixel.

    ``folder`` writes ``SETTING/SEVERITY/CLASS/NAME.png`` (each severity is a folder with class subfolders, as other
    tools read them) and ``manifest.csv``, which :func:`snellen.load_images` reads: ids are ``SETTING/SEVERITY/ID`` and
    the group is the setting. Grey results are grey files. ``medmnist-c`` writes ``SETTING.npz``, see
    :class:`~snellen.runs.archive_writer.ArchiveWriter`. Both write ``shift.json``, the record, last.

    A method that edits objects gets each one's mask from the column ``mask``, or from a segmenter. The masks of the
    edited objects are written too, and named in the manifest. An image that one edit fails, or that has no object, is
    left out of all edits, by name and reason: they are of the same images.

    A call that was interrupted leaves a folder ``unfinished`` and no record; the same call goes on where it stopped,
    and when everything is there, it writes nothing. One that failed before anything was finished leaves nothing.

    >>> import tempfile, snellen
    >>> from snellen.methods.corruptions.corruption import Corruption
    >>> images = snellen.load_images("bundled:fashion-mnist").limit(4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     shifted = shift(images, Corruption(kind="contrast"), severities=(1, 5), out=folder)
    ...     len(snellen.load_images(shifted.manifest))
    8

    Args:
        images: see :func:`snellen.load_images`.
        method: one or more methods of the area ``shifts``, as objects, names or records.
        severities: in [0, 5]; 0 is the clean image. None: 1 to 5, of edits of objects 5 alone.
        out: a new or empty folder, or one in which the same call was interrupted.
        format: what is written.
        batch_size: images that are shifted in one pass; changes no pixel.
        workers: threads that read images ahead; changes no pixel.
        limit: shift at most so many images, drawn at random by the seed.
        seed: of everything random.
        contact_sheet: also draw a few examples for each setting, ``contact-sheet-SETTING.png``.
        pseudonyms: file with a key, made if it is not there, outside of ``out``: names of images, units, groups, bags
            and of the data are replaced before anything is written, and can be looked up in it.
        segmenter: reference of what finds the objects that a method edits, in place of masks; see
            :func:`snellen.models.references.load_segmenter`.
        progress: who hears of progress.

    Raises:
        InputError: nothing to do, ``out`` holds something else, no image is usable, or the images do not fit the
            format.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call goes on once that is mended.
        RunConflictError: ``out`` holds a data set of another plan.
    """
    if batch_size < 1 or workers < 0:
        raise InputError(f"batch_size must be at least 1 and workers at least 0, got {batch_size} and {workers}")
    if format not in get_args(Format):
        raise InputError(f"unknown format {format!r}; known: {', '.join(get_args(Format))}")
    images = given_images(images)
    if limit is not None:
        images = images.limit(limit, seed)
    if not len(images):
        raise InputError(f"{images.name} holds no images")
    names = None if pseudonyms is None else Pseudonyms.open(pseudonyms, outside=Path(out))
    chosen = settings_of(method, images, names, segmented=segmenter is not None)
    editing = [setting for setting in chosen if setting.edits]
    if severities is None:
        severities = SEVERITIES[-1:] if len(editing) == len(chosen) else SEVERITIES
    strengths, finder = checked_severities(severities), _finder(segmenter, chosen)
    if names is not None:
        images = without_names(images, names)
        names.write()
    listener, folder, rng = progress or Silent(), Path(out), Randomness(seed)
    check_free(folder, RECORD, WHAT)
    writer: Writer = (
        FolderWriter(folder, images, strengths, seed)
        if format == "folder"
        else ArchiveWriter(folder, folder / UNFINISHED / "pixels", images, strengths, common_size(images))
    )
    objects = EditedObjects(images, rng, finder) if editing else None

    def plan() -> dict[str, Any]:
        made = _plan(images, chosen, strengths, seed, format, contact_sheet, listener)
        if finder is not None:
            made["segmenter"] = {"name": finder.name, "identity": finder.identity()}
        if editing:
            made["same_images"] = [setting.name for setting in editing]
        if names is not None:
            made["pseudonyms"] = names.key_id
        return made

    def measure(run: Run) -> None:
        for setting in chosen:
            setting.method.load()
        _write(run, writer, images, chosen, strengths, rng, batch_size, workers, objects, listener)

    call = Call(
        what=WHAT,
        record=RECORD,
        result=ShiftedSet,
        plan=plan,
        measure=measure,
        conclude=lambda run, _: _conclude(run, writer, images, chosen, strengths, rng, contact_sheet, objects),
        with_evidence=False,
    )
    return carry_out(call, out)


def _finder(segmenter: str | None, settings: Sequence[Setting]) -> Segmenter | None:
    """The segmenter of a reference.

    Raises:
        InputError: it cannot be used, or nothing edits objects.
    """
    if segmenter is None:
        return None
    if not any(setting.edits for setting in settings):
        raise InputError(f"segmenter={segmenter!r} finds objects, and no method that was given edits any")
    return fitting_segmenter(segmenter)


def _plan(
    images: ImageSet,
    settings: Sequence[Setting],
    severities: Sequence[float],
    seed: int,
    format: Format,
    contact_sheet: bool,
    progress: Progress,
) -> dict[str, Any]:
    """Everything that can change a byte."""
    return {
        "kind": "shift",
        "data": {
            "name": images.name,
            "fingerprint": images.fingerprint(progress),
            "images": len(images),
            "class_names": None if images.hidden or images.class_names is None else list(images.class_names),
        },
        "settings": [{"setting": setting.name, **setting.record} for setting in settings],
        "severities": list(severities),
        "seed": seed,
        "format": format,
        "contact_sheet": contact_sheet,
        "versions": {
            "snellen": __version__,
            "python": platform.python_version(),
            "pillow": PIL.__version__,
            "numpy": np.__version__,
            "torch": torch.__version__,
        },
    }


def _shards(images: ImageSet, settings: Sequence[Setting]) -> Iterator[tuple[int, Setting, range]]:
    """Number, setting and images of each shard."""
    starts = range(0, len(images), IMAGES_PER_SHARD)
    for place, setting in enumerate(settings):
        for number, start in enumerate(starts):
            members = range(start, min(start + IMAGES_PER_SHARD, len(images)))
            yield place * len(starts) + number, setting, members


def _write(
    run: Run,
    writer: Writer,
    images: ImageSet,
    settings: Sequence[Setting],
    severities: Sequence[float],
    rng: Randomness,
    batch_size: int,
    workers: int,
    objects: EditedObjects | None,
    progress: Progress,
) -> None:
    """Shift and write what is not there yet, shard by shard."""
    progress.begin("shifting", len(settings) * len(images))
    for shard, setting, members in _shards(images, settings):
        if run.done(shard) and all(writer.holds(setting, row) for row in _rows(run, shard)):
            progress.advance("shifting", len(members), "already done")
            continue
        rows: list[Row] = []
        rejected: list[tuple[str, str]] = []
        part = images.select(list(members))
        for batch in shifted_batches(
            part, setting, severities, rng, batch_size=batch_size, workers=workers, objects=objects
        ):
            rejected += batch.rejected
            pixels = batch.shifted.permute(0, 1, 3, 4, 2).numpy()
            for row, (index, grey) in enumerate(zip(batch.indices, batch.grey, strict=True)):
                position = members.start + index
                hashes = [writer.write(setting, position, at, pixels[at, row]) for at in range(len(severities))]
                places = [] if batch.masks is None else [mask.numpy() for mask in batch.masks[:, row]]
                masks = [writer.write_mask(setting, position, at, mask) for at, mask in enumerate(places)]
                told = tuple(key for key in masks if key is not None)
                rows.append(Row(index=position, hashes=tuple(hashes), published=batch.published, grey=grey, masks=told))
            progress.advance("shifting", len(batch.indices) + len(batch.rejected), setting.name)
        # Images of one size were shifted together; what is recorded does not depend on that.
        rows.sort(key=lambda row: row.index)
        place = {key: index for index, key in enumerate(part.ids)}
        rejected.sort(key=lambda refusal: place[refusal[0]])
        run.write_shard(shard, {}, {"rows": [row.model_dump() for row in rows], "rejected": rejected})
    progress.finish("shifting")


def _rows(run: Run, shard: int) -> list[Row]:
    return [Row.model_validate(row) for row in run.shard_extra(shard)["rows"]]


def _conclude(
    run: Run,
    writer: Writer,
    images: ImageSet,
    settings: Sequence[Setting],
    severities: Sequence[float],
    rng: Randomness,
    contact_sheets: bool,
    objects: EditedObjects | None,
) -> ShiftedSet:
    """Write what needs all images, and make the record."""
    folder = run.folder.parent
    rows: dict[str, list[Row]] = {setting.name: [] for setting in settings}
    refused: dict[str, dict[tuple[str, str], None]] = {setting.name: {} for setting in settings}
    for shard, setting, _ in _shards(images, settings):
        rows[setting.name] += _rows(run, shard)
        refused[setting.name] |= dict.fromkeys((key, reason) for key, reason in run.shard_extra(shard)["rejected"])
    rejected = _rejected(refused)
    _same_images(writer, [setting for setting in settings if setting.edits], rows)
    if not any(rows.values()):
        shutil.rmtree(run.folder)
        first = f"first: {rejected[0].id}: {rejected[0].reason}"
        raise InputError(f"none of the {len(images)} images of {images.name} could be used; {first}")
    files = writer.conclude(settings, rows)
    for name, first, draw in sheets(images, settings, severities, rng, objects) if contact_sheets else ():
        examples = choose_examples(images, [row.index for row in rows[first]])
        if examples:
            files.append(f"contact-sheet-{name}.png")
            with whole_file(folder / files[-1]) as stream:
                draw(examples).save(stream, "PNG")
    written = {name: len(found) for name, found in rows.items()}
    return ShiftedSet(plan=dict(run.plan), written=written, rejected=rejected, files=tuple(files), folder=folder)


def _same_images(writer: Writer, editing: Sequence[Setting], rows: dict[str, list[Row]]) -> None:
    """Take back what was written of images that not every edit could do."""
    kept = set.intersection(*({row.index for row in rows[setting.name]} for setting in editing)) if editing else set()
    for setting in editing:
        for row in rows[setting.name]:
            if row.index not in kept:
                writer.discard(setting, row)
        rows[setting.name] = [row for row in rows[setting.name] if row.index in kept]


def _rejected(refused: Mapping[str, Mapping[tuple[str, str], None]]) -> tuple[Rejected, ...]:
    """Images by name: once where every setting gives the same reason, else by setting."""
    everywhere = set.intersection(*(set(found) for found in refused.values()))
    found: dict[tuple[str, str | None, str], None] = {}
    for setting, pairs in refused.items():
        for key, reason in pairs:
            found[key, None if (key, reason) in everywhere else setting, reason] = None
    return tuple(Rejected(id=key, setting=setting, reason=reason) for key, setting, reason in found)

"""The verb ``snellen.shift``: the same images under nuisances, as a data set that any tool can read."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Unpack, get_args

from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.core.run import Run
from snellen.core.run_plan import describe_machine
from snellen.data.loading import check_batches
from snellen.data.references import Labels
from snellen.methods.edits.masked_object import EditedObjects
from snellen.models.segmenters.object_masks import fitting_segmenter
from snellen.models.segmenters.protocol import Segmenter
from snellen.runs.archive_writer import ArchiveWriter, common_size
from snellen.runs.folder_writer import FolderWriter
from snellen.runs.given import Images, given_images
from snellen.runs.inputs import Inputs, inputs_of
from snellen.runs.measuring import Put
from snellen.runs.method_work import MethodWork
from snellen.runs.runner import Call, Rejections, Running, batches, carried_out
from snellen.runs.settings import Methods, Setting, checked_severities
from snellen.runs.shard import Shard
from snellen.runs.unfinished import check_free
from snellen.runs.whole_file import whole_file
from snellen.runs.writer import Row, Writer
from snellen.verbs.contact_sheet import choose_examples, sheets
from snellen.verbs.shifted_batches import shifted_batches
from snellen.verbs.shifted_set import RECORD, WHAT, Rejected, ShiftedSet

Format = Literal["folder", "medmnist-c"]

#: Severities where none are given; of edits of objects the last one alone, which is the published edit.
SEVERITIES = (1.0, 2.0, 3.0, 4.0, 5.0)

#: What progress calls it.
TASK = "shifting"

#: Images that are written before they are recorded: what a killed call does again at most, for one setting.
IMAGES_PER_SHARD = 256


@dataclass(frozen=True, eq=False)
class Work(MethodWork):
    """What is shifted by what. Items are the images under the first method, then under the second, and so on.

    Attributes:
        severities: in order.
        size: height and width of all images, for archives; None: a folder is written.
        batch_size: images that are shifted in one pass.
        workers: threads that read ahead.
        segmenter: reference of what finds objects; None: masks, where a method needs them.
        seed: of everything random.
    """

    area: ClassVar[str] = "shifts"

    severities: Sequence[float]
    size: Sequence[int] | None
    batch_size: int
    workers: int
    segmenter: str | None
    seed: int

    @cached_property
    def writer(self) -> Writer:
        """The format."""
        if self.size is None:
            return FolderWriter(self.images, self.severities, self.seed)
        height, width = self.size
        return ArchiveWriter(self.images, self.severities, (height, width))

    @cached_property
    def finder(self) -> Segmenter | None:
        """What finds objects."""
        return None if self.segmenter is None else fitting_segmenter(self.segmenter)

    @cached_property
    def objects(self) -> EditedObjects | None:
        """Objects and backgrounds of the whole set, where a method edits them."""
        if not any(setting.edits for setting in self.settings):
            return None
        return EditedObjects(self.images, Randomness(self.seed), self.finder)

    @cached_property
    def loaded(self) -> Sequence[Setting]:
        """The methods, with what their references name."""
        for setting in self.settings:
            setting.method.load()
        return self.settings

    @property
    def members(self) -> list[range]:
        """Positions of the images of each shard of a setting."""
        return batches(len(self.images), IMAGES_PER_SHARD)

    @property
    def shards(self) -> list[range]:
        """Items of each shard: a setting, and some images."""
        starts = (place * len(self.images) for place in range(len(self.settings)))
        return [range(start + some.start, start + some.stop) for start in starts for some in self.members]

    def seen(self, items: range) -> range:
        """Positions of the images of some items; of edits, which may borrow a background, all."""
        if self.objects is not None:
            return range(len(self.images))
        return range(items.start % len(self.images), (items.stop - 1) % len(self.images) + 1)

    def measure(self, of: str, items: range, put: Put, progress: Progress) -> Shard:
        """Shift some images under one setting; see :class:`~snellen.runs.measuring.Work`."""
        count = len(self.images)
        setting = self.loaded[items.start // count]
        members = range(items.start % count, (items.stop - 1) % count + 1)
        rows, rejected = list[Row](), list[tuple[str, str]]()
        shown, part = self.images.select(list(members)), self.writer.part(setting, members, put)
        for batch in shifted_batches(
            shown,
            setting,
            self.severities,
            Randomness(self.seed),
            batch_size=self.batch_size,
            workers=self.workers,
            objects=self.objects,
        ):
            rejected += batch.rejected
            pixels, strengths = batch.shifted.permute(0, 1, 3, 4, 2).numpy(), range(len(self.severities))
            for row, (at, grey) in enumerate(zip(batch.indices, batch.grey, strict=True)):
                index = members[at]
                hashes = tuple(part.add(index, position, pixels[position, row]) for position in strengths)
                places = [] if batch.masks is None else [mask.numpy() for mask in batch.masks[:, row]]
                masks = [part.add_mask(index, position, mask) for position, mask in enumerate(places)]
                known = tuple(key for key in masks if key is not None)
                rows.append(Row(index=index, hashes=hashes, published=batch.published, grey=grey, masks=known))
            progress.advance(TASK, len(batch.indices) + len(batch.rejected), setting.name)
        part.close()
        # Images of one size were shifted together; what is recorded does not depend on that.
        rows.sort(key=lambda row: row.index)
        place = {key: index for index, key in enumerate(shown.ids)}
        rejected.sort(key=lambda refusal: place[refusal[0]])
        extra = {
            "rows": [row.model_dump() for row in rows], "rejected": rejected, "members": [[members.start, members.stop]]
        }  # fmt: skip
        return Shard(extra=extra)


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
    labels: Labels | None = None,
    class_names: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    **running: Unpack[Running],
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

    A call that was interrupted leaves a folder ``unfinished`` and no record; the same call resumes where it stopped.
    When everything is there, it writes nothing. One that failed before anything was finished leaves nothing.

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
            and of the data are replaced before anything is written, and can be resolved with it.
        segmenter: reference of what finds the objects that a method edits, in place of masks; see
            :func:`snellen.models.references.load_segmenter`.
        labels: of images in memory that bring none: numbers or names, one for each.
        class_names: of images in memory whose labels are numbers.
        columns: what the columns of a table, or the fields of a data set, mean: ``{"image": "file", "label": "dx"}``.
        progress: callback that receives progress updates.
        running: engine, part, budget, allow_rejected: see :class:`~snellen.runs.runner.Running`.

    Raises:
        InputError: nothing to do, ``out`` holds something else, no image is usable, or the images do not fit the
            format.
        UnwritableError: the disk is full, or ``out`` may not be written; the same call continues once that is mended.
        RunConflictError: ``out`` holds a data set of another plan.
    """
    check_batches(batch_size, workers)
    if format not in get_args(Format):
        raise InputError(f"unknown format {format!r}; known: {', '.join(get_args(Format))}")
    held, listener = given_images(images, labels, columns, class_names), progress or Silent()
    inputs = inputs_of(
        None,
        held,
        method,
        "shifts",
        out=out,
        pseudonyms=pseudonyms,
        limit=limit,
        seed=seed,
        check=lambda setting: _check_masks(setting, held, segmenter),
        masked=segmenter is None,
    )
    editing = [setting for setting in inputs.settings if setting.edits]
    if segmenter is not None and not editing:
        raise InputError(f"segmenter={segmenter!r} finds objects, and no method that was given edits any")
    if severities is None:
        severities = SEVERITIES[-1:] if len(editing) == len(inputs.settings) else SEVERITIES
    strengths = checked_severities(severities)
    check_free(Path(out), RECORD, WHAT)

    def call(count: int) -> Call[ShiftedSet]:
        shown = inputs.images.limit(count, seed)
        size = common_size(shown) if format == "medmnist-c" else None
        work = Work(None, shown, inputs.settings, strengths, size, batch_size, workers, segmenter, seed)
        if size is not None:
            work.writer  # noqa: B018 - refuses images without a label
        finder = work.finder
        return Call(
            what=WHAT,
            result=ShiftedSet,
            plan=lambda: {
                **_plan(shown, inputs, strengths, seed, format, contact_sheet, listener),
                **({} if finder is None else {"segmenter": {"name": finder.name, "identity": finder.identity()}}),
                **({"same_images": [setting.name for setting in editing]} if editing else {}),
            },
            work=lambda _: work,
            shards=work.shards,
            task=TASK,
            conclude=lambda run, folder: _conclude(run, work, folder, contact_sheet),
            images=shown,
            seen=work.seen,
            again=work.reopening(),
            rejected=lambda run: [_rejections(work, run)],
        )

    with carried_out(call, len(inputs.images), out, listener, running) as carried:
        carried.measure()
    return carried.result


def _check_masks(setting: Setting, images: ImageSet, segmenter: str | None) -> None:
    """Refuse an edit of objects whose places nobody knows.

    Raises:
        InputError: so it is.
    """
    lacking = setting.method.missing(images=None if segmenter is not None else images)
    if lacking is not None:
        masked = "masks" not in setting.method.needs or any(mask is not None for mask in images.column("mask"))
        hint = "" if masked else "; give them, or what finds objects: --segmenter isnet:FILE.onnx (segmenter=)"
        raise InputError(f"{setting.method.name} {lacking}{hint}")


def _plan(
    images: ImageSet,
    inputs: Inputs[Any],
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
        **{key: value for key, value in inputs.in_plan().items() if value is not None},  # no key without pseudonyms
        "severities": list(severities),
        "seed": seed,
        "format": format,
        "contact_sheet": contact_sheet,
        **describe_machine(None),
    }


def _rejections(work: Work, run: Run) -> Rejections:
    """Images that at least one setting could not use."""
    lost = (pair for shard in range(len(work.shards)) for pair in run.shard_extra(shard)["rejected"])
    return Rejections(dict(lost), len(work.images))


def _conclude(run: Run, work: Work, folder: Path, contact_sheets: bool) -> ShiftedSet:
    """Write what needs all images, and make the record."""
    images, settings = work.images, work.settings
    rows: dict[str, list[Row]] = {setting.name: [] for setting in settings}
    refused: dict[str, dict[tuple[str, str], None]] = {setting.name: {} for setting in settings}
    members: dict[str, list[range]] = {setting.name: [] for setting in settings}
    for shard, items in enumerate(work.shards):
        name, extra = settings[items.start // len(images)].name, run.shard_extra(shard)
        members[name] += [range(*ends) for ends in extra["members"]]
        rows[name] += [Row.model_validate(row) for row in extra["rows"]]
        refused[name] |= dict.fromkeys((key, reason) for key, reason in extra["rejected"])
    rejected = _rejected(refused)
    _keep_same_images(work, [setting for setting in settings if setting.edits], rows, folder)
    if not any(rows.values()):
        shutil.rmtree(run.folder)
        first = f"first: {rejected[0].id}: {rejected[0].reason}"
        raise InputError(f"none of the {len(images)} images of {images.name} could be used; {first}")
    files = work.writer.conclude(settings, rows, members, folder)
    drawn = sheets(images, settings, work.severities, Randomness(work.seed), work.objects) if contact_sheets else ()
    for name, first, draw in drawn:
        examples = choose_examples(images, [row.index for row in rows[first]])
        if examples:
            files.append(f"contact-sheet-{name}.png")
            with whole_file(folder / files[-1]) as stream:
                draw(examples).save(stream, "PNG")
    written = {name: len(found) for name, found in rows.items()}
    return ShiftedSet(plan=dict(run.plan), written=written, rejected=rejected, files=tuple(files), folder=folder)


def _keep_same_images(work: Work, editing: Sequence[Setting], rows: dict[str, list[Row]], folder: Path) -> None:
    """Take back what was written of images that not every edit could do."""
    kept = set.intersection(*({row.index for row in rows[setting.name]} for setting in editing)) if editing else set()
    for setting in editing:
        for row in rows[setting.name]:
            if row.index not in kept:
                work.writer.discard(setting, row, folder)
        rows[setting.name] = [row for row in rows[setting.name] if row.index in kept]


def _rejected(refused: Mapping[str, Mapping[tuple[str, str], None]]) -> tuple[Rejected, ...]:
    """Images by name: once where every setting gives the same reason, else by setting."""
    everywhere = set.intersection(*(set(found) for found in refused.values()))
    found: dict[tuple[str, str | None, str], None] = {}
    for setting, pairs in refused.items():
        for key, reason in pairs:
            found[key, None if (key, reason) in everywhere else setting, reason] = None
    return tuple(Rejected(id=key, setting=setting, reason=reason) for key, setting, reason in found)

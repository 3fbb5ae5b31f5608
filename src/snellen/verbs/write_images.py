"""The verb ``snellen.write_images``: an image set as files and a manifest that any tool can read."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import PIL
from PIL import Image

from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import COLUMNS, ImageSet
from snellen.core.progress import Progress, Silent
from snellen.core.renaming import rename_over
from snellen.core.run import canonical_json, write_atomically
from snellen.data.worlds.planting.truth import TRUE_LABEL, true_labels
from snellen.runs.layout import classes_of, label_columns, text_columns
from snellen.runs.safe_names import UNLABELLED, file_names, folder_names
from snellen.runs.whole_file import whole_file
from snellen.version import __version__

MANIFEST = "manifest.csv"

#: What an unfinished folder says it will hold; gone when everything is there.
PLAN = "unfinished.json"


@dataclass(frozen=True)
class WrittenSet:
    """An image set on the disk.

    Attributes:
        manifest: what :func:`snellen.load_images` reads.
        images: files written, those of an interrupted call included.
        masks: the same of masks.
        rejected: id → reason, of images that could not be read and are not in the manifest.
    """

    manifest: Path
    images: int
    masks: int
    rejected: dict[str, str]


def write_images(images: ImageSet, out: Path | str, *, progress: Progress | None = None) -> WrittenSet:
    """Write a set as PNG files ``images/CLASS/NAME.png``, masks ``masks/NAME.png``, and ``manifest.csv``, last.

    The manifest keeps ids, labels and everything else that is known, further columns included. A call that was
    interrupted leaves no manifest; the same call resumes where it stopped.

    >>> import tempfile
    >>> from snellen.data.references import load_images
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = write_images(load_images("optotypes:scenes?count=3"), f"{folder}/scenes")
    ...     load_images(written.manifest).column("caption") == load_images("optotypes:scenes?count=3").column("caption")
    True

    Args:
        images: any image set.
        out: a new or empty folder, or one in which the same call was interrupted.
        progress: callback that receives progress updates.

    Raises:
        InputError: ``out`` holds something else, or no image can be read.
    """
    folder, listener = Path(out), progress or Silent()
    if not len(images):
        raise InputError(f"{images.name} holds no images")
    _claim(folder, images, listener)
    paths, masks = _paths(images)
    rejected: dict[str, str] = {}
    listener.begin("writing images", len(images))
    for index, example_id in enumerate(images.ids):
        try:
            if masks[index] is not None:  # first: an image whose mask cannot be read is not written either
                _write(folder / str(masks[index]), partial(images.read_mask, index))
            _write(folder / paths[index], partial(images.read, index))
        except RejectedImageError as error:
            rejected[example_id] = str(error)
        listener.advance("writing images", 1)
    listener.finish("writing images")
    if len(rejected) == len(images):
        example_id, reason = next(iter(rejected.items()))
        raise InputError(f"none of the {len(images)} images of {images.name} can be read; {example_id!r}: {reason}")
    kept = [index for index, example_id in enumerate(images.ids) if example_id not in rejected]
    _write_manifest(folder, images, paths, masks, kept)
    (folder / PLAN).unlink()
    return WrittenSet(folder / MANIFEST, len(kept), sum(masks[index] is not None for index in kept), rejected)


def _claim(folder: Path, images: ImageSet, listener: Progress) -> None:
    """Say in the folder what it will hold; refuse one that holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file; name a new folder")
    plan = {"images": images.fingerprint(listener), "pillow": PIL.__version__, "snellen": __version__}
    content = canonical_json(plan)
    if (folder / PLAN).is_file():
        if (folder / PLAN).read_bytes() != content:
            raise InputError(f"{folder} holds part of another image set; name a new folder, or remove this one")
        return
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / PLAN, content)


def _paths(images: ImageSet) -> tuple[list[str], list[str | None]]:
    """Where each image and its mask lie in the folder; None without a mask."""
    classes = classes_of(images)
    known = [name for name in classes if name is not None]
    folders, names = folder_names(known), file_names(images.ids, ".png")
    middle = ["" if not known else f"{UNLABELLED if name is None else folders[name]}/" for name in classes]
    paths = [f"images/{part}{name}" for part, name in zip(middle, names, strict=True)]
    masks = [None if mask is None else f"masks/{name}" for mask, name in zip(images.column("mask"), names, strict=True)]
    return paths, masks


#: How a whole PNG file ends.
_END = b"IEND\xaeB`\x82"


def _write(path: Path, read: Callable[[], Image.Image | None]) -> None:
    """Write one file, unless it is there from an interrupted call, whole."""
    if path.is_file() and path.read_bytes().endswith(_END):
        return
    image, stream = read(), io.BytesIO()
    if image is None:
        return
    image.save(stream, "PNG")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not forced to the disk one by one, which would take most of the time; the manifest, which comes last, is.
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(stream.getvalue())
    rename_over(partial, path)


def _write_manifest(folder: Path, images: ImageSet, paths: list[str], masks: list[str | None], kept: list[int]) -> None:
    further = [
        column
        for column in images.table.column_names
        if column not in COLUMNS and not (images.hidden and column == TRUE_LABEL)
    ]
    kept_columns = [column for column in COLUMNS if column not in ("id", "label", "labels", "bag_label", "mask")]
    columns = {"path": paths, "id": images.ids} | label_columns(images, classes_of(images))
    if any(mask is not None for mask in masks):
        columns["mask"] = [mask or "" for mask in masks]
    columns |= text_columns(images, [*kept_columns, *further])
    if TRUE_LABEL in columns and images.class_names is not None:
        # By name, like the label: a reader may number the classes in another order.
        known = true_labels(images).tolist()
        columns[TRUE_LABEL] = ["" if label < 0 else images.class_names[label] for label in known]
    with whole_file(folder / MANIFEST) as stream:
        text = io.TextIOWrapper(stream, "utf-8", "backslashreplace", newline="")
        table = csv.writer(text)
        table.writerow(columns)
        for index in kept:
            table.writerow([values[index] for values in columns.values()])
        text.detach()

"""An image set from a reference: a name in the package, a folder, a manifest, an archive, or arrays."""

from __future__ import annotations

import difflib
import importlib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Opened, Split
from snellen.core.progress import Progress
from snellen.data.factors import Columns, Groups, parted, with_factors, with_groups
from snellen.data.files.arrays import load_arrays
from snellen.data.files.beside import with_masks, with_table
from snellen.data.files.bundled import load_bundled
from snellen.data.files.contained_file import printable
from snellen.data.files.decoding import NO_DICOM
from snellen.data.files.folder import DICOM, is_image_file, load_folder, load_single_image
from snellen.data.files.idx import holds_idx, load_idx
from snellen.data.files.manifest import load_manifest
from snellen.data.files.medmnist import load_npz
from snellen.data.files.parquet_images.loading import load_parquet_images, stored_images_below
from snellen.data.files.pictures import Values
from snellen.data.files.splits import SPELLINGS, split_of
from snellen.data.objects.data_sets import field_values, is_data_set, load_data_set
from snellen.data.objects.tables import is_table, load_table
from snellen.data.privacy.nameless import nameless_source

Array = NDArray[np.generic] | Tensor

#: Scheme → loader, "module:function", imported when used. Worlds alone take longer to import than all files together.
SCHEMES: dict[str, str] = {
    "dicom": "snellen.data.files.medical.loading:load_dicom",
    "known": "snellen.data.files.catalogue.loading:load_reference",
    "labelled": "snellen.data.machine_labels:load_reference",
    "meshes": "snellen.data.worlds.meshes.mesh_set:load_reference",
    "nifti": "snellen.data.files.medical.loading:load_nifti",
    "optotypes": "snellen.data.worlds.references:load_world",
    "slides": "snellen.data.files.whole_slides.loading:load_reference",
    "tar": "snellen.data.files.tar_shards.loading:load_tar",
}

_FORMS = (
    "bundled:fashion-mnist, a procedural world as optotypes:scenes, a set that a package manager installs as "
    "known:fashion-mnist, whole-slide images as slides:FOLDER, views of meshes as "
    "meshes:FOLDER or meshes:FILE.sh3f, slices of medical images as dicom:FOLDER "
    "or nifti:FOLDER, machine labels as labelled:FOLDER, a folder of images (with class subfolders, or train/ "
    "and test/ of class subfolders), a manifest FILE.csv or FILE.parquet with a column 'path', a FILE.parquet with "
    "images inside or a folder of such files, tar shards as FILE.tar, tar:FOLDER or tar:FOLDER/NAME-{0000..0146}.tar, "
    "a MedMNIST-style FILE.npz, a folder of IDX files, one image FILE.png (.jpg …); each may end in #train, #val or "
    "#test; in Python also images or (images, labels) as arrays or tensors, a list of paths or pictures, a table of "
    "pandas, polars or pyarrow, a data set of torch, torchvision, Hugging Face or MAITE"
)

#: Labels as a call takes them: numbers or names, one for each image.
Labels = Array | Sequence[int] | Sequence[str]


def load_images(
    ref: str | os.PathLike[str] | ImageSet | Array | tuple[Array, Array] | object,
    labels: Labels | None = None,
    *,
    class_names: Sequence[str] | None = None,
    columns: Columns | None = None,
    groups: Groups | None = None,
    masks: os.PathLike[str] | str | None = None,
    table: os.PathLike[str] | str | None = None,
    value_range: tuple[float, float] | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> ImageSet:
    """Load images from wherever they are.

    >>> pixels = np.zeros((3, 8, 8, 3), dtype=np.uint8)
    >>> load_images((pixels, np.array([0, 1, 1])), name="black squares")
    ImageSet('black squares', 3 images, 2 classes, split=None)

    Args:
        ref: ``bundled:fashion-mnist``; ``optotypes:scenes?count=500``
            (:func:`~snellen.data.worlds.references.load_world`); ``known:photos``
            (:func:`~snellen.data.files.catalogue.loading.load_known`); ``slides:FOLDER?tile=256&mpp=1``
            (:func:`~snellen.data.files.whole_slides.loading.load_reference`); ``meshes:FOLDER?views=16``
            (:func:`~snellen.data.worlds.meshes.mesh_set.load_reference`); ``dicom:FOLDER?window=lung`` and
            ``nifti:FOLDER?axis=axial`` (:mod:`~snellen.data.files.medical.loading`); ``labelled:FOLDER?pool=POOL``
            (:func:`~snellen.data.machine_labels.load_reference`); a folder
            (:func:`~snellen.data.files.folder.load_folder`); a manifest
            (:func:`~snellen.data.files.manifest.load_manifest`); Parquet files with images inside
            (:func:`~snellen.data.files.parquet_images.loading.load_parquet_images`); ``tar:FOLDER``, tar shards
            (:func:`~snellen.data.files.tar_shards.loading.load_tar`); an ``.npz`` archive
            (:func:`~snellen.data.files.medmnist.load_npz`); a folder of IDX files as MNIST and Fashion-MNIST come in
            (:func:`~snellen.data.files.idx.load_idx`); one image file, a set of one without labels
            (:func:`~snellen.data.files.folder.load_single_image`); ``images`` or ``(images, labels)`` as arrays
            or tensors (:func:`~snellen.data.files.arrays.load_arrays`); a table of pandas, polars or pyarrow
            (:func:`~snellen.data.objects.tables.load_table`); a data set of torch, torchvision, Hugging Face or MAITE,
            a data loader, or a list of paths, pictures or arrays
            (:func:`~snellen.data.objects.data_sets.load_data_set`); or an image set, which is passed through. A
            text reference that ends in ``#train``, ``#val`` or ``#test`` means that split only. Use these functions
            to change limits or grey ranges.
        labels: of images in memory that bring none: numbers or names, one for each.
        class_names: of images in memory whose labels are numbers.
        columns: which column means what, for a table, a manifest, or items with fields:
            ``{"image": "file", "label": "dx", "unit": "patient"}``. ``group`` may name several:
            ``["hospital", "scanner", "age:40,60"]``, where numbers after a colon are edges of bands.
        groups: the same names without ``columns``; or values of each image by name, in the order of the images:
            ``{"hospital": [...], "age:40,60": [...]}``, a mapping or a table.
        masks: folder of masks that are called like the images (:func:`~snellen.data.files.beside.with_masks`); for
            images that are files.
        table: CSV or Parquet file that names the images and says more of them, which ``columns`` then speaks of
            (:func:`~snellen.data.files.beside.with_table`); for images by a reference.
        value_range: values of black and white, where pixels are floating-point numbers; they are rounded to bytes.
        name: shown in reports.
        progress: is called for every slide of ``slides:``; everything else is indexed in a moment, or when it is read.

    Raises:
        InputError: nothing there, or not usable; the message says what was expected.
    """
    values = None if value_range is None else Values(*value_range)
    columns, factors, groups = parted(columns, groups)
    if factors or groups is not None:
        images = load_images(
            ref,
            labels,
            class_names=class_names,
            columns=columns,
            masks=masks,
            table=table,
            value_range=value_range,
            name=name,
            progress=progress,
        )
        if groups is not None:
            return with_groups(images, groups)
        if _has_items(ref):
            return with_groups(images, field_values(ref, factors))
        return with_factors(images, factors, columns)
    if isinstance(ref, tuple) and not hasattr(ref, "_fields"):
        if len(ref) != 2:
            raise InputError(f"a tuple of arrays is (images, labels); got {len(ref)} values")
        if labels is not None:
            raise InputError("labels come twice: beside the images, and as labels=")
        ref, labels = ref
    if (masks is not None or table is not None) and not isinstance(ref, str | os.PathLike):
        raise InputError("masks and table go with images by a reference: a folder, a manifest")
    if isinstance(ref, ImageSet | str | os.PathLike):
        if labels is not None or class_names is not None or values is not None:
            raise InputError(
                "labels, class_names and value_range go with images in memory; folders and files have their own"
            )
        if isinstance(ref, ImageSet):
            if columns is not None:
                raise InputError("columns go with a table or a data set; this is an image set already")
            return ref if name is None else replace(ref, name=name)
        images, split = _from_text(os.fspath(ref), name, progress, columns if table is None else None)
        # A table that holds the split is joined before one is chosen; else it needs no rows of the others.
        by_table = table is not None and ("split" in (columns or {}) or not any(images.column("split")))
        if not by_table:
            images = _only(images, split, name)
        if table is not None:
            images = with_table(images, Path(table), columns)
        if by_table:
            images = _only(images, split, name)
            images = replace(images, notes=(*images.notes, *_mixed(images)))
        if masks is not None:
            images = with_masks(images, Path(masks))
        beside = {name: os.fspath(one) for name, one in (("masks", masks), ("table", table)) if one is not None}
        reference = {"ref": os.fspath(ref), "folder": os.getcwd(), **beside}
        reference |= {"columns": dict(columns)} if columns else {}
        return replace(images, opened=Opened(images.source, reference))
    if isinstance(ref, np.ndarray | Tensor):
        if columns is not None:
            raise InputError("columns go with a table or a data set; arrays have none")
        return load_arrays(ref, labels, class_names=class_names, name=name, values=values)
    listed = None if labels is None else list(labels)
    if is_table(ref):
        return load_table(ref, columns=columns, class_names=class_names, labels=listed, values=values, name=name)
    if is_data_set(ref):
        return load_data_set(ref, columns=columns, class_names=class_names, labels=listed, values=values, name=name)
    raise InputError(f"images cannot be loaded from {type(ref).__name__}; known forms: {_FORMS}")


def _has_items(ref: object) -> bool:
    """Whether images are read from a data set in memory, item by item."""
    if isinstance(ref, ImageSet | tuple | os.PathLike) or is_table(ref):
        return False
    return is_data_set(ref)


def load_images_again(reference: Mapping[str, Any]) -> ImageSet:
    """Load what :func:`load_images` recorded; from now on this process works in the folder where that was.

    Sources may read their files later, by paths from there.

    Raises:
        InputError: the folder is not there, or as :func:`load_images`.
    """
    ref, folder = reference["ref"], reference["folder"]
    if not os.path.isdir(folder):
        raise InputError(f"{folder}, the folder from which {ref} is read, is not there")
    os.chdir(folder)
    known = {key: reference[key] for key in ("columns", "masks", "table") if key in reference}
    images = load_images(ref, **known)
    return replace(images, source=nameless_source(images)) if reference.get("nameless") else images


def _from_text(
    ref: str, name: str | None, progress: Progress | None, columns: Mapping[str, str] | None
) -> tuple[ImageSet, Split | None]:
    """The images, and a split that is still to be chosen of them."""
    place, split = _split_suffix(ref)
    if columns is not None and not place.lower().endswith((".csv", ".parquet")):
        raise InputError(f"columns say what those of a table mean, FILE.csv or FILE.parquet; {place} is none")
    if place.startswith("bundled:"):
        return load_bundled(place.removeprefix("bundled:"), name=name), split
    if not place or "\0" in place:
        raise InputError(f"{ref!r} names no images; known forms: {_FORMS}")
    scheme, colon, rest = place.partition(":")
    if colon and scheme in SCHEMES:
        load = _loader(scheme)
        if scheme == "tar":
            return load(rest, name=name), split
        if scheme == "optotypes":
            return load(rest, split=split, name=name), None
        if scheme == "slides":
            return load(place, split=split, name=name, progress=progress), None
        return load(place, split=split, name=name), None
    path = Path(place)
    if path.is_dir() and holds_idx(path):
        return load_idx(path, split=split or "test", name=name), None
    if stored := stored_images_below(path):
        return load_parquet_images(stored, name=name or printable(path.stem)), split
    if path.is_dir():
        return load_folder(path, name=name), split
    if not path.exists():
        raise _missing(place, path)
    if is_image_file(path):
        return load_single_image(path, name=name), None
    suffix = path.suffix.lower()
    if suffix in (".tar", ".tgz") or path.name.lower().endswith((".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        return _loader("tar")(place, name=name), split
    if suffix not in (".csv", ".parquet", ".npz") or not path.is_file():
        if suffix in DICOM and path.is_file():
            raise InputError(f"{place}: {NO_DICOM}")
        what = f"a file ending in {suffix!r}" if path.is_file() else "neither a file nor a folder"
        raise InputError(f"{place} is {what}; known forms: {_FORMS}")
    if suffix == ".npz":
        return load_npz(path, split=split, name=name), None
    return load_manifest(path, columns=columns, name=name), split


def _loader(scheme: str) -> Callable[..., ImageSet]:
    module, _, function = SCHEMES[scheme].partition(":")
    found: Callable[..., ImageSet] = getattr(importlib.import_module(module), function)
    return found


def _split_suffix(ref: str) -> tuple[str, Split | None]:
    """Part ``#test`` from the end, unless there is a file of that very name."""
    place, mark, last = ref.rpartition("#")
    if not mark or "\0" in ref or os.path.lexists(ref):
        return ref, None
    split = split_of(last)
    if split is None:
        if place.startswith(("bundled:", "optotypes:", "slides:", "tar:")) or os.path.lexists(place):
            raise InputError(f"{ref!r}: unknown split {last!r}; known: {', '.join(SPELLINGS)}")
        return ref, None
    return place, split


def _only(images: ImageSet, split: Split | None, name: str | None = None) -> ImageSet:
    if split is None:
        return images
    chosen = images.of_split(split)
    several = len(chosen) < len(images)
    return replace(chosen, name=name or (f"{images.name} ({split} split)" if several else images.name))


def _mixed(images: ImageSet) -> list[str]:
    """A note where images of several splits are used together."""
    counts = Counter(str(value) for value in images.column("split") if value is not None).most_common()
    if len(counts) < 2:
        return []
    listed = ", ".join(f"{count} {split}" for split, count in counts)
    choice = " or ".join(f"#{split}" for split, _ in counts)
    return [f"images of several splits are used: {listed}; choose one with {choice}"]


def _missing(place: str, path: Path) -> InputError:
    if scheme := re.match(r"[a-z][a-z0-9+.-]+:", place):
        return InputError(f"unknown kind of reference {scheme.group()!r} in {place!r}; known forms: {_FORMS}")
    folder = path.parent
    if not folder.is_dir():
        above = next((parent for parent in folder.parents if parent.is_dir()), None)
        there = f"; {above} exists" if above else ""
        return InputError(f"there is nothing at {place}: its folder {folder} does not exist{there}")
    try:
        names = os.listdir(folder)
    except OSError:
        names = []
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(str(folder / other)) for other in near)}?" if near else ""
    return InputError(f"there is nothing at {place}{hint or f'; known forms: {_FORMS}'}")

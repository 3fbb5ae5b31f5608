"""Image sets of slices: ``dicom:FOLDER`` and ``nifti:FOLDER``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from snellen.core.errors import InputError, RejectedImageError, import_extra, unknown_name
from snellen.core.images import COLUMNS, ImageSet, Split
from snellen.core.refused_values import refused_values
from snellen.data.files.contained_file import distinguished, printable, read_file
from snellen.data.files.folder import BESIDE, DICOM, list_images, places_of
from snellen.data.files.medical import dicom, nifti
from snellen.data.files.medical.slice_source import LIMITS, SliceSource
from snellen.data.files.medical.window import parse_window
from snellen.data.reference_query import query_parameters

#: Endings of NIfTI files; what is no image of them is skipped and counted.
NIFTI = (".nii", ".gz")


class DicomFiles(BaseModel):
    """How DICOM files are read: parameters behind ``dicom:FOLDER?``.

    Attributes:
        window: lung, bone, soft, brain; CENTRE,WIDTH; file (the file's own), file2 (its second); full.
        frames: all, or the middle one of each file.
        unit: what is drawn independently: patient, or study.
        group: element of the header that distinguishes groups, one of those that name no person; none: no groups.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: str = "file"
    frames: str = "all"
    unit: str = "patient"
    group: str | None = None

    @field_validator("frames", "unit", "group")
    @classmethod
    def _known(cls, value: str | None, info: object) -> str | None:
        name = getattr(info, "field_name", "")
        known = {"frames": ("all", "middle"), "unit": ("patient", "study"), "group": dicom.GROUPS}[name]
        if value is not None and value not in known:
            raise ValueError(f"one of {', '.join(known)}, got {value!r}")
        return value


class NiftiFiles(BaseModel):
    """How NIfTI files are read: parameters behind ``nifti:FOLDER?``.

    Attributes:
        window: lung, bone, soft, brain; CENTRE,WIDTH; file (the range that the header states); full.
        slices: all, or the middle one of each volume.
        axis: axial, coronal or sagittal.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: str = "file"
    slices: str = "all"
    axis: str = "axial"

    @field_validator("slices", "axis")
    @classmethod
    def _known(cls, value: str, info: object) -> str:
        known = ("all", "middle") if getattr(info, "field_name", "") == "slices" else tuple(nifti.AXES)
        if value not in known:
            raise ValueError(f"one of {', '.join(known)}, got {value!r}")
        return value


@dataclass(frozen=True)
class _Counted:
    """What is known of a file before its pixels are read."""

    slices: int = 1
    unit: str | None = None
    study: str | None = None
    group: str | None = None
    refused: str | None = None


def load_dicom(text: str, *, split: Split | None = None, name: str | None = None) -> ImageSet:
    """Load ``dicom:FOLDER`` or ``dicom:FOLDER?window=lung&frames=middle``.

    Files end in ``.dcm``, ``.dicom`` or ``.ima``, or in nothing. Class subfolders and splits are those of
    :func:`~snellen.data.files.folder.load_folder`. An image is a frame: its id is the path of its file, of several
    frames with ``#1``, ``#2``, … behind it. Units are patients, else studies, by hashes; the column ``study`` has those
    of studies. No other value of a header is kept. Values are rescaled and windowed at full precision, and kept
    with 16 bits. Parameters are those of :class:`DicomFiles`.

    Raises:
        InputError: no such folder, no such file in it, or a parameter that cannot be.
        MissingExtraError: pydicom is not installed.
    """
    import_extra("pydicom", "dicom", "reading DICOM files")
    root, how = _opened(text, "dicom", DicomFiles)
    window = parse_window(how.window)

    def count(content: bytes) -> _Counted:
        found = dicom.read_header(content, how.group)
        unit = found.study if how.unit == "study" else found.patient or found.study
        return _Counted(found.frames, unit, found.study, found.group)

    return _set_of(
        root,
        (*DICOM, ".ima", ""),
        count,
        lambda content: content,
        lambda content, place: dicom.decode_frame(content, place, window, LIMITS),
        middle=how.frames == "middle",
        split=split,
        name=name,
        what="DICOM",
    )


def load_nifti(text: str, *, split: Split | None = None, name: str | None = None) -> ImageSet:
    """Load ``nifti:FOLDER`` or ``nifti:FOLDER?axis=coronal&slices=middle``: files ``.nii`` and ``.nii.gz``.

    An image is a slice: its id is the path of its file with ``#1``, ``#2``, … behind it. A unit is a file. Parameters
    are those of :class:`NiftiFiles`; the rest is as :func:`load_dicom`.

    Raises:
        InputError: no such folder, no such file in it, or a parameter that cannot be.
        MissingExtraError: nibabel is not installed.
    """
    import_extra("nibabel", "nifti", "reading NIfTI files")
    root, how = _opened(text, "nifti", NiftiFiles)
    window = parse_window(how.window)
    return _set_of(
        root,
        NIFTI,
        lambda content: _Counted(nifti.slice_count(content, how.axis)),
        nifti.read_volume,
        lambda volume, place: nifti.draw_slice(volume, place, how.axis, window, LIMITS),
        middle=how.slices == "middle",
        split=split,
        name=name,
        what="NIfTI",
    )


_How = TypeVar("_How", bound=BaseModel)


def _opened(text: str, scheme: str, kind: type[_How]) -> tuple[Path, _How]:
    place, _, query = text.removeprefix(f"{scheme}:").partition("?")
    title = f"{scheme}:{text.removeprefix(f'{scheme}:')}"
    if not place or "\0" in text:
        raise InputError(f"{title!r} names no images; write {scheme}:FOLDER")
    given = query_parameters(query, title)
    for parameter in given:
        if parameter not in kind.model_fields:
            raise unknown_name(f"parameter of {scheme}", parameter, kind.model_fields)
    if not Path(place).is_dir():
        raise InputError(f"there is no folder {place}; write {scheme}:FOLDER, a folder of such files")
    try:
        return Path(place), kind.model_validate(given)
    except ValidationError as error:
        raise InputError(f"{title}: {refused_values(error)}") from error


def _set_of(
    folder: Path,
    suffixes: Sequence[str],
    count: Callable[[bytes], _Counted],
    opened: Callable[[bytes], Any],
    draw: Callable[[Any, int], Image.Image],
    *,
    middle: bool,
    split: Split | None,
    name: str | None,
    what: str,
) -> ImageSet:
    root = folder.resolve()
    listing = list_images(root, suffixes, medical=True)
    kept = [path for path in listing.paths if not _is_beside(path)]
    listing.skipped += len(listing.paths) - len(kept)
    listing.paths = kept
    if not listing.paths:
        endings = " ".join(one or "(none)" for one in suffixes)
        raise InputError(
            f"{folder} holds no {what} files: looked for files ending in {endings}; {listing.skipped} other files were "
            f"skipped"
        )
    paths = sorted([*listing.paths, *listing.refused])
    places, class_names, splits = places_of(paths, listing)
    index = {class_name: number for number, class_name in enumerate(class_names)}
    rows: dict[str, list[object]] = {key: [] for key in ("id", "label", "split", "unit_id", "study", "group")}
    files, slices, refused = list[str](), list[int](), dict[int, str]()
    for path, place, shown in zip(paths, places, distinguished(printable(path) for path in paths), strict=True):
        found = _counted(root, path, listing.refused.get(path) or (BESIDE if place is None else None), count)
        chosen = range(found.slices // 2, found.slices // 2 + 1) if middle else range(found.slices)
        for at in chosen:
            if found.refused is not None:
                refused[len(files)] = found.refused
            files.append(path)
            slices.append(at)
            rows["id"].append(shown if found.slices == 1 else f"{shown}#{at + 1}")
            rows["label"].append(None if place is None or place[1] is None else index[place[1]])
            rows["split"].append(None if place is None else place[0])
            rows["unit_id"].append(found.unit or f"file {shown}")
            rows["study"].append(found.study)
            rows["group"].append(found.group)
    table = pa.table(
        {
            column: pa.array(values, COLUMNS.get(column, pa.string()))
            for column, values in rows.items()
            if column in ("id", "unit_id") or any(value is not None for value in values)
        }
    )
    names = tuple(printable(class_name) for class_name in class_names) or None
    source = SliceSource(root, files, slices, opened, draw, refused=refused)
    only = splits[0] if len(splits) == 1 else None
    made = ImageSet(source, table, names, name or printable(folder.name or root.name), split=only)
    note = f"slices of {what} files, windowed at full precision; models see 16 bits, and 8 where a file stores no more"
    made = replace(made, notes=(note,))
    return made if split is None else made.of_split(split)


def _is_beside(path: str) -> bool:
    """Whether a file with an ending that is read is an index, or is packed and no volume."""
    packed = path.lower().endswith(".gz") and not path.lower().endswith(".nii.gz")
    return packed or path.rpartition("/")[2] == "DICOMDIR"


def _counted(root: Path, path: str, refused: str | None, count: Callable[[bytes], _Counted]) -> _Counted:
    if refused is not None:
        return _Counted(refused=refused)
    try:
        return count(read_file(root, path, LIMITS.max_bytes))
    except RejectedImageError as error:
        return _Counted(refused=str(error))

"""What lies beside images: a folder of masks that are called like them, and a table that names their files."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pyarrow as pa

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet
from snellen.data.files.contained_file import printable
from snellen.data.files.file_source import FileSource
from snellen.data.files.folder import DICOM, SUFFIXES, list_images
from snellen.data.files.manifest import meaning
from snellen.data.files.manifest_table import Written, read_header, read_table
from snellen.data.files.medical.slice_source import SliceSource

#: Columns that name the files of a table, where none is named, in this order.
NAMING = ("path", "image", "file", "filename", "file_name", "image_id", "id", "name")

#: Endings of the names of masks, before the ending of the file.
MASK_ENDINGS = ("_mask", "-mask", "_masks", "_segmentation", "_seg")

#: Examples that a message names.
_SHOWN = 3


def with_masks(images: ImageSet, folder: Path) -> ImageSet:
    """The same images with the masks of a folder, each called like its image.

    A mask has the path of its image below the folder, or its bare name, where only one image has that; endings of files
    may differ, and the name of the mask may end in ``_mask`` or ``_segmentation``. Images may lack a mask.

    Raises:
        InputError: images that are not files, a folder without masks, masks that fit several images or are several of
            one, or both images without a mask and masks without an image.
    """
    if not isinstance(images.source, FileSource):
        raise InputError(f"masks lie beside images that are files, a folder or a manifest; {images.name} is neither")
    listing = list_images(folder.resolve())
    if not listing.paths:
        raise InputError(f"{folder} holds no masks: looked for images, {listing.skipped} other files were skipped")
    found = _matched(images, listing.paths, [_without_ending(path) for path in listing.paths], f"masks of {folder}")
    idle = [path for row, path in enumerate(listing.paths) if row not in set(found.values())]
    bare = [key for index, key in enumerate(images.ids) if index not in found]
    if idle and bare:
        raise InputError(
            f"{_counted(idle, 'mask')} of {folder} fit no image of {images.name}, and {_counted(bare, 'image')} have "
            f"no mask; call each mask like its image"
        )
    source = copy.copy(images.source)
    source.mask_root = folder.resolve()
    masks = [listing.paths[found[index]] if index in found else None for index in range(len(images))]
    note = f"{len(found)} of {len(images)} images have a mask in {printable(folder.name)}"
    notes = (*images.notes, note) if bare else images.notes
    return replace(
        images, source=source, table=_with(images.table, {"mask": pa.array(masks, COLUMNS["mask"])}), notes=notes
    )


def with_table(images: ImageSet, path: Path, columns: Mapping[str, str] | None = None) -> ImageSet:
    """The same images with the columns of a table, row by row.

    A row names the path of its image, as in its id, or its bare file name, with or without ending, where only one image
    has that. The column of names is the one that ``columns`` calls ``image``, or the first of :data:`NAMING`. Other
    columns mean what they do in a manifest, and further ones are kept. What the images already hold stays, unless
    ``columns`` names a column for it.

    Args:
        images: the set.
        path: ``.csv`` or ``.parquet``.
        columns: what columns mean: ``{"image": "file", "unit": "patient", "group": "hospital"}``.

    Raises:
        InputError: not such a table, no column of names, rows that fit several images, several rows of one image, or
            images without a row; the message counts them and names three.
    """
    given = dict(columns or {})
    naming = {"image", "path"} & set(given)
    if not naming:
        header = read_header(path)
        column = next((name for name in NAMING if name in header and name not in given.values()), None)
        if column is None:
            raise InputError(
                f"{path} has no column of file names; it has: {', '.join(header[:12])}. Say which one it is: "
                f'columns={{"image": "..."}}, --column image=...'
            )
        given["image"] = column
    written = read_table(path, columns=given)
    names = ["" if name is None else str(name) for name in written.columns["path"]]
    found = _rows_of(images, names, f"rows of {path}")
    bare = [key for index, key in enumerate(images.ids) if index not in found]
    if bare:
        raise InputError(
            f"{_counted(bare, 'image')} of {images.name} have no row in {path} ({given.get('image', 'path')}: "
            f"{', '.join(map(repr, names[:_SHOWN]))}); add them, or name another column: --column image=..."
        )
    rows = [found[index] for index in range(len(images))]
    kept = {
        name: [values[row] for row in rows] for name, values in written.columns.items() if name not in ("path", "id")
    }
    further = {name: values.take(pa.array(rows)) for name, values in written.further.items()}
    written_table = Written({"id": images.ids, **kept}, further, [written.rows[row] for row in rows])
    table, class_names, split = meaning(str(path), written_table)
    named = {_LONG.get(meant, meant) for meant in given}
    new = {
        name: table[name]
        for name in table.column_names
        if name != "id" and (name in named or name not in images.table.column_names)
    }
    labelled = bool({"label", "labels"} & set(new))
    notes = images.notes
    if len(set(rows)) < len(names):
        notes = (*notes, f"{len(names) - len(set(rows))} of {len(names)} rows of {printable(path.name)} name no image")
    return replace(
        images,
        table=_with(images.table, new),
        class_names=class_names if labelled else images.class_names,
        split=split if "split" in new else images.split,
        notes=notes,
    )


def _rows_of(images: ImageSet, names: Sequence[str], what: str) -> dict[int, int]:
    """Row of a table for each image. Of slices, a row may name the file: it then holds for all slices of it."""
    ids, stems = images.ids, [_stem(name) for name in names]
    files = [key.rpartition("#")[0] or key for key in ids] if isinstance(images.source, SliceSource) else ids
    first = dict[str, int]()
    for index, file in enumerate(files):
        first.setdefault(file, index)
    if len(first) == len(ids) or set(names) & set(ids):
        return _matched(images, names, stems, what)
    whole = images.select(list(first.values()))
    whole = replace(whole, table=_with(whole.table, {"id": pa.array(list(first), COLUMNS["id"])}))
    found = _matched(whole, names, stems, what)
    places = {file: place for place, file in enumerate(first)}
    return {index: found[places[file]] for index, file in enumerate(files) if places[file] in found}


#: Short meaning → column.
_LONG = {"unit": "unit_id", "bag": "bag_id"}


def _matched(images: ImageSet, names: Sequence[str], stems: Sequence[str], what: str) -> dict[int, int]:
    """Position of the name that fits each image: by path, by path less its ending, by file name, by bare name.

    Raises:
        InputError: names that fit several images, or several that fit one.
    """
    ids = images.ids
    ways: tuple[tuple[Callable[[str], str], Sequence[str]], ...] = (
        (str, names),
        (_stem, stems),
        (_name, [_name(name) for name in names]),
        (lambda key: _stem(_name(key)), [_name(stem) for stem in stems]),
    )
    found: dict[int, int] = {}
    left = set(range(len(names)))
    vague: list[str] = []
    double: list[str] = []
    for way, spelled in ways:
        places: dict[str, list[int]] = {}
        for index, key in enumerate(ids):
            places.setdefault(way(key), []).append(index)
        for row in sorted(left):
            at = places.get(spelled[row], [])
            if len(at) > 1:
                vague.append(names[row])
            elif at and at[0] in found:
                double.append(names[row])
            elif at:
                found[at[0]] = row
            if at:
                left.discard(row)
    if vague:
        raise InputError(
            f"{_counted(vague, 'name')} among the {what} fit several images of {images.name}; write the path of "
            f"each, as in {ids[0]!r}"
        )
    if double:
        raise InputError(f"{_counted(double, 'name')} among the {what} are of an image that another one names, too")
    return found


def _name(path: str) -> str:
    return PurePosixPath(path.replace("\\", "/")).name


def _stem(path: str) -> str:
    """A path less its ending, where that is one of an image."""
    stem, dot, ending = path.replace("\\", "/").rpartition(".")
    return stem if stem and f"{dot}{ending}".lower() in (*SUFFIXES, *DICOM) else path.replace("\\", "/")


def _without_ending(path: str) -> str:
    """A path less the ending of its file, and less what makes it the name of a mask."""
    stem = _stem(path)
    return next((stem[: -len(ending)] for ending in MASK_ENDINGS if stem.lower().endswith(ending)), stem)


def _counted(names: Iterable[str], noun: str) -> str:
    listed = list(names)
    shown = ", ".join(repr(printable(name)) for name in listed[:_SHOWN])
    return f"{len(listed)} {noun}{'s' if len(listed) > 1 else ''} ({shown}{', …' if len(listed) > _SHOWN else ''})"


def _with(table: pa.Table, columns: Mapping[str, pa.Array | pa.ChunkedArray]) -> pa.Table:
    """A table with columns added, or put in place of those of their name."""
    for name, values in columns.items():
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, values)
        else:
            table = table.append_column(name, values)
    return table

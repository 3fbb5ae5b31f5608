"""Slides as an image set: tiles with tissue, in bags that have the slide's label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from snellen.core.errors import InputError, RejectedImageError, unknown_name
from snellen.core.images import ImageSet, Split
from snellen.core.progress import Progress, Silent
from snellen.core.refused_values import refused_values
from snellen.data.files.contained_file import locate
from snellen.data.files.whole_slides.handles import Handles
from snellen.data.files.whole_slides.slide_file import DEFAULT_LIMITS, SlideFile, SlideLimits
from snellen.data.files.whole_slides.slide_list import ListedSlide, list_slides
from snellen.data.files.whole_slides.slide_source import IndexedSlide, SlideSource, slide_table
from snellen.data.files.whole_slides.tiling import TileIndex, Tiling, index_tiles, tissue_mask
from snellen.data.reference_query import query_parameters

SCHEME = "slides:"

#: Longest side of the picture that tissue is found in, and pixels of it along a tile: coarse enough for gaps between
#: nuclei to close, fine enough for the share of tissue of a tile.
_LONGEST, _ALONG_TILE = 2048, 16

#: Specks and holes of less than this share of a tile are removed.
_SMALLEST = 0.25


def load_slides(
    path: Path,
    tiling: Tiling | None = None,
    *,
    split: Split | None = None,
    class_names: Sequence[str] | None = None,
    limits: SlideLimits = DEFAULT_LIMITS,
    name: str | None = None,
    progress: Progress | None = None,
) -> ImageSet:
    """Index the tissue of slides, and give their tiles as images that are read on demand.

    Columns: ``bag_id`` (the slide), ``bag_label`` (its label), ``unit_id`` (its patient, or the slide by name and
    contents where no patient is known: tiles of a slide are not independent), ``group`` (its site), ``split``,
    ``label`` (truth of the tile, where NAME.tiles.parquet lies beside a slide of two classes and has this very grid;
    for testing), ``tile_row`` and ``tile_column`` (places in the grid) and ``tissue`` (share). Ids are
    SLIDE/ROW-COLUMN.

    A slide that cannot be read, or has no tile with enough tissue, stays in the set as one image under its own name:
    reading it raises with the reason, so that it is reported and never silently left out. No more of a slide is in
    memory than an overview of at most 2048 pixels along each side, while it is indexed, and one tile, while it is read.

    Args:
        path: a folder, a table, or one slide; see :func:`~snellen.data.files.whole_slides.slide_list.list_slides`.
        tiling: tile, magnification, stride, least share of tissue.
        split: only slides of this split.
        class_names: of the slides, in order: the first of two is the negative one; None: those that occur, sorted.
        limits: what a slide may cost the machine. name: shown in reports. progress: is called for every slide.

    Raises:
        InputError: nothing there, or no tile of any slide can be used; the message names slides and reasons.
        MissingExtraError: the extra snellen[wsi] is not installed.
    """
    chosen, listener = tiling or Tiling(), progress or Silent()
    listed = list_slides(path, class_names)
    if split is not None:
        listed = listed.of_split(split)
    handles: Handles[Any] = Handles()
    indexed = []
    listener.begin("indexing slides", len(listed.slides))
    for slide in listed.slides:
        indexed.append(_indexed(listed.root, slide, chosen, limits, handles))
        listener.advance("indexing slides", 1, slide.id)
    listener.finish("indexing slides")
    if all(slide.tiles is None for slide in indexed):
        first = "; ".join(slide.refused for slide in indexed[:3])
        raise InputError(f"none of the {len(indexed)} slides of {path} has tiles that can be used: {first}")
    splits = {slide.split for slide in listed.slides}
    only: Split | None = splits.pop() if len(splits) == 1 else None
    source = SlideSource(indexed, chosen.tile)
    return ImageSet(source, slide_table(listed, indexed, chosen), listed.class_names, name or listed.name, split=only)


def load_reference(
    text: str, *, split: Split | None = None, name: str | None = None, progress: Progress | None = None
) -> ImageSet:
    """Load ``slides:PATH`` or ``slides:PATH?tile=224&mpp=0.5&…`` (the scheme may be missing).

    Parameters are those of :class:`~snellen.data.files.whole_slides.tiling.Tiling`, and ``classes=normal,tumor``, the
    names of the classes in order.

    Args:
        text: the reference.
        split: only slides of this split. name: shown in reports. progress: is called for every slide.

    Raises:
        UnknownNameError: no such parameter.
        InputError: a value that is refused, or as :func:`load_slides`.
    """
    path, _, query = text.removeprefix(SCHEME).partition("?")
    shown = f"{SCHEME}{text.removeprefix(SCHEME)}"
    if not path or "\0" in text:
        raise InputError(f"{shown!r} names no slides; write slides:FOLDER or slides:FILE.csv")
    given = query_parameters(query, shown)
    classes = given.pop("classes", None)
    for parameter in given:
        if parameter not in Tiling.model_fields:
            raise unknown_name("parameter of slides", parameter, [*Tiling.model_fields, "classes"])
    try:
        tiling = Tiling.model_validate(given)
    except ValidationError as error:
        raise InputError(f"{shown}: {refused_values(error)}") from error
    names = None if classes is None else classes.split(",")
    return load_slides(Path(path), tiling, split=split, class_names=names, name=name, progress=progress)


def _indexed(
    root: Path, slide: ListedSlide, tiling: Tiling, limits: SlideLimits, handles: Handles[Any]
) -> IndexedSlide:
    file = None
    try:
        if slide.refused is not None:
            raise RejectedImageError(f"slide {slide.id}: {slide.refused}")
        file = SlideFile(locate(root, slide.path), name=slide.id, mpp=tiling.slide_mpp, limits=limits, handles=handles)
        tiles = index_slide(file, tiling)
    except RejectedImageError as error:
        reason = str(error) if slide.id in str(error) else f"slide {slide.id}: {error}"
        return IndexedSlide(slide.id, file, None, reason)
    if not len(tiles):
        return IndexedSlide(slide.id, file, None, _without_tiles(file, tiling))
    return IndexedSlide(slide.id, file, tiles)


def index_slide(file: SlideFile, tiling: Tiling) -> TileIndex:
    """The tiles of one slide that carry enough tissue.

    Raises:
        RejectedImageError: no magnification is known, the slide is coarser than the wanted one, a region is damaged, or
            a limit is broken.
    """
    mpp = file.resolution()
    along = tiling.tile * tiling.mpp / mpp / _ALONG_TILE
    overview, pixel = file.overview(max(1.0, along, max(file.size) / _LONGEST), coarser=True)
    across = tiling.tile * tiling.mpp / mpp / pixel
    mask = tissue_mask(overview, smallest=_SMALLEST * across**2)
    tiles = index_tiles(
        file.size, file.downsamples, mpp, mask, pixel, tiling, most=file.limits.max_tiles, name=file.name
    )
    if tiles.read_side**2 > file.limits.max_read_pixels:
        raise RejectedImageError(
            f"slide {file.name}: a tile of {tiling.tile} pixels at {tiling.mpp:g} microns is read from "
            f"{tiles.read_side}×{tiles.read_side} pixels, more than {file.limits.max_read_pixels} (max_read_pixels); "
            f"it has no coarser level"
        )
    return tiles


def _without_tiles(file: SlideFile, tiling: Tiling) -> str:
    microns = tiling.tile * tiling.mpp
    if min(file.size) * file.resolution() < microns:
        return f"slide {file.name} is smaller than one tile of {microns:g} microns"
    return (
        f"slide {file.name} has no tile with {tiling.tissue:.0%} tissue: a bag without tiles. Check its "
        f"thumbnail; set less tissue (tissue=…), or leave the slide out"
    )

"""The panel that shows where in a bag the evidence lies: heat maps of the worst bags and of some right ones."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.auditing.bag_table import BagTable
from snellen.auditing.heat_map import SIDE, grid_boxes, heat_picture, outlined_picture
from snellen.checks.panels import HeatPicture, Panel
from snellen.checks.per_image import PerImage
from snellen.checks.pictures import keep_file
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.files.tiled_source import TiledSource, boxes_of_tiles

#: Right bags that are shown beside wrong ones, where there are any.
RIGHT_SHOWN = 2


def heat_panel(
    bags: BagTable, known: PerImage, images: ImageSet | None, names: tuple[str, ...], count: int
) -> tuple[list[Panel], dict[str, bytes]]:
    """One panel, and its pictures by name; none where the places of images in their bags are not known.

    Pictures are made again from the image set: the evidence holds numbers. A bag whose picture cannot be read, or of
    which only the rows and columns of images are known (in their attributes), is drawn as plain squares.

    Args:
        bags: of the audit.
        known: the images behind them.
        images: the audited set; None: nothing can be drawn.
        names: of the classes.
        count: how many bags at most.
    """
    if images is None:
        return [], {}
    position = {key: index for index, key in enumerate(images.ids)}
    drawn: list[HeatPicture] = []
    blobs: dict[str, bytes] = {}
    for place in chosen_bags(bags, count):
        rows = bags.members[place]
        positions = np.array([position[known.ids[row]] for row in rows], dtype=np.int64)
        boxes = _boxes(images, positions)
        if boxes is None:
            continue
        truth = _truth(images, positions, known.labels[rows], bags.positive)
        below = _thumbnail(images, bags.ids[place])
        heat = heat_picture(boxes, bags.probabilities[rows], truth=truth, below=below)
        drawn.append(
            HeatPicture(
                title=bags.ids[place],
                caption=_caption(bags, place, names, truth),
                plain=None if below is None else keep_file(blobs, outlined_picture(below, boxes, truth)),
                heat=keep_file(blobs, heat),
            )
        )
    if not drawn:
        return [], {}
    name = names[bags.positive]
    return [
        Panel(
            check="bags",
            title="Where in the bags the evidence lies",
            about=(
                f"Each bag as it is, and with the probability of {name} of each of its images. Wrong bags come first, "
                f"furthest from the threshold; some right ones follow. Images known to be {name} are outlined."
            ),
            x_label=f"probability of {name}",
            heat=tuple(drawn),
        )
    ], blobs


def chosen_bags(bags: BagTable, count: int) -> list[int]:
    """Bags to show, by position: wrong ones furthest from the threshold, then right ones of both classes in turn."""
    distance = np.abs(bags.scores - bags.threshold)

    def ranked(mask: NDArray[np.bool_]) -> list[int]:
        return sorted(np.flatnonzero(mask).tolist(), key=lambda place: (-distance[place], bags.ids[place]))

    wrong, right = ranked(bags.labelled & ~bags.correct), bags.correct
    turns = [ranked(right & bags.truth), ranked(right & ~bags.truth)]
    longest = max(map(len, turns))
    mixed = [own[turn] for turn in range(longest) for own in turns if turn < len(own)]
    kept = wrong[: max(count - min(RIGHT_SHOWN, len(mixed)), 0)]
    return (kept + mixed)[:count]


def _caption(bags: BagTable, place: int, names: tuple[str, ...], truth: NDArray[np.bool_] | None) -> str:
    score, threshold = bags.scores[place], bags.threshold
    is_positive, called = bool(bags.truth[place]), bool(bags.called[place])
    verdict = {(True, False): "missed", (False, True): "false alarm"}.get((is_positive, called), "right")
    several = len(bags.members[place])
    known = "" if truth is None else f", {int(truth.sum())} known to be {names[bags.positive]}"
    return (
        f"{verdict}: {names[bags.labels[place]]}, score {score:.3f} (positive from {threshold:.3g} on); {several} "
        f"{'image' if several == 1 else 'images'}{known}"
    )


def _thumbnail(images: ImageSet, bag: str) -> Image.Image | None:
    if not isinstance(images.source, TiledSource):
        return None
    try:
        return images.source.bag_thumbnail(bag, SIDE)
    except (RejectedImageError, InputError):
        return None


def _boxes(images: ImageSet, positions: NDArray[np.int64]) -> NDArray[np.float64] | None:
    """Places of tiles: those of the source, else the rows and columns that are known; None without either."""
    if isinstance(images.source, TiledSource):
        return boxes_of_tiles(images, positions)
    try:
        if {"tile_row", "tile_column"} <= set(images.table.column_names):
            rows, columns = (
                images.table[name].take(positions.tolist()).to_pylist() for name in ("tile_row", "tile_column")
            )
        elif "attributes" in images.table.column_names:
            said: Sequence[object] = images.table["attributes"].take(positions.tolist()).to_pylist()
            places = [json.loads(str(one)) for one in said]
            rows, columns = ([int(one[name]) for one in places] for name in ("row", "column"))
        else:
            return None
        return grid_boxes(rows, columns)
    except (ValueError, KeyError, TypeError, OverflowError):
        return None


def _truth(
    images: ImageSet, positions: NDArray[np.int64], labels: NDArray[np.int64], positive: int
) -> NDArray[np.bool_] | None:
    """Which tiles are known to be positive: by their labels, or else by masks that are not empty; None if unknown."""
    if (labels >= 0).any():
        return labels == positive
    if "mask" not in images.table.column_names:
        return None
    try:
        masks = [images.read_mask(place) for place in positions.tolist()]
    except (RejectedImageError, InputError):
        return None
    if all(mask is None for mask in masks):
        return None
    return np.array([mask is not None and mask.getextrema() != (0, 0) for mask in masks])

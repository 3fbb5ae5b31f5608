"""Heat maps of bags: the probabilities of tiles over a bag seen from afar, of the worst bags and of some right ones."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from snellen.auditing.bag_table import BagTable
from snellen.checks.panels import HeatPicture, Panel, keep_file
from snellen.checks.per_image import PerImage
from snellen.core.errors import InputError, RejectedImageError
from snellen.core.images import ImageSet
from snellen.data.files.bags import TiledSource, boxes_of_tiles
from snellen.methods.explanations.overlay import scale_colours

#: Longest side of a picture, pixels.
SIDE = 512

#: How much the darkest part of the picture below darkens a tile's colour; where that is white, it is the scale's own.
SHADE = 0.4

#: Opacity of what is no tile: it steps back on light and on dark pages.
ASIDE = 0.3

#: Width of each of the two lines of an outline, one light and one dark, as a share of a tile's side; at most so many
#: pixels, and at least one.
LINE, WIDEST_LINE = 0.1, 4


def heat_picture(
    boxes: NDArray[np.float64],
    values: NDArray[np.float64],
    *,
    truth: NDArray[np.bool_] | None = None,
    below: Image.Image | None = None,
    side: int = SIDE,
) -> Image.Image:
    """Values of m tiles in the places of the tiles, RGBA; where tiles overlap, the largest value shows.

    Args:
        boxes: (m, 4), x0, y0, x1, y1 of each tile, as shares of the width and height of the picture.
        values: (m,), in [0, 1].
        truth: (m,), which tiles are known to be positive; they are outlined.
        below: the picture that the tiles are of, which shades their colours; None for plain squares.
        side: longest side, pixels.
    """
    width, height = _extent(boxes, below, side)
    pixels = np.zeros((height, width, 4), dtype=np.float64)
    if below is not None:
        grey = np.asarray(below.convert("L").resize((width, height), Image.Resampling.LANCZOS), dtype=np.float64)
        pixels[..., :3], pixels[..., 3] = grey[..., None], 255 * ASIDE
    shade = np.ones((height, width, 1)) if below is None else 1 - SHADE * (1 - pixels[..., :1] / 255)
    colours = scale_colours(values)
    for place in np.argsort(values, kind="stable").tolist():
        part = _window(boxes[place], width, height)
        pixels[part][..., :3] = shade[part] * colours[place]
        pixels[part][..., 3] = 255
    return Image.fromarray(_outlined(pixels, boxes, truth).round().astype(np.uint8), "RGBA")


def outlined_picture(
    picture: Image.Image, boxes: NDArray[np.float64], truth: NDArray[np.bool_] | None, *, side: int = SIDE
) -> Image.Image:
    """The picture that tiles are of, RGB, with the outline of those known to be positive.

    Args:
        picture: of the whole bag.
        boxes: (m, 4), as those of :func:`heat_picture`.
        truth: (m,), which tiles are known to be positive; None for no outline.
        side: longest side, pixels.
    """
    width, height = _extent(boxes, picture, side)
    pixels = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), dtype=np.float64)
    opaque = np.concatenate([pixels, np.full((height, width, 1), 255.0)], axis=2)
    return Image.fromarray(_outlined(opaque, boxes, truth)[..., :3].round().astype(np.uint8), "RGB")


def grid_boxes(rows: ArrayLike, columns: ArrayLike) -> NDArray[np.float64]:
    """Boxes of tiles with known row and column alone, from the first of each that occurs: (m,), (m,) → (m, 4).

    Raises:
        OverflowError: a row or column beyond 32 bits.

    >>> grid_boxes([0, 1], [2, 3]).tolist()
    [[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0]]
    """
    places = [np.asarray(axis, dtype=np.int32).astype(np.int64) for axis in (columns, rows)]
    starts = [(axis - axis.min(), axis.max() - axis.min() + 1) for axis in places]
    low = [start / count for start, count in starts]
    high = [(start + 1) / count for start, count in starts]
    return np.stack([*low, *high], axis=1)


def _extent(boxes: NDArray[np.float64], below: Image.Image | None, side: int) -> tuple[int, int]:
    """Width and height with the requested longest side: those of the picture, or of as many square tiles."""
    if below is not None:
        wide, high = below.size
        scale = side / max(wide, high)
        return max(round(wide * scale), 1), max(round(high * scale), 1)
    steps = 1 / (boxes[:, 2:] - boxes[:, :2]).min(axis=0)
    across, down = max(round(float(steps[0])), 1), max(round(float(steps[1])), 1)
    if max(across, down) > side:  # more tiles than pixels, as where rows and columns are pixels of a slide
        return max(across * side // max(across, down), 1), max(down * side // max(across, down), 1)
    tile = side // max(across, down)
    return across * tile, down * tile


def _window(box: NDArray[np.float64], width: int, height: int) -> tuple[slice, slice]:
    """Pixels of a box, at least one."""
    left, top, right, bottom = (round(float(edge)) for edge in box * (width, height, width, height))
    left, top = min(left, width - 1), min(top, height - 1)
    return slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))


def _outlined(
    pixels: NDArray[np.float64], boxes: NDArray[np.float64], truth: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """A white line within the border of the tiles that are true, a black one without: one shows on any ground."""
    if truth is None or not truth.any():
        return pixels
    height, width = pixels.shape[:2]
    sides = (boxes[:, 2:] - boxes[:, :2]) * (width, height)
    line = min(max(round(LINE * float(sides.min())), 1), WIDEST_LINE)
    inside = np.zeros((height, width), dtype=bool)
    for box in boxes[truth]:
        inside[_window(box, width, height)] = True
    drawn = pixels.copy()
    drawn[_grown(~inside, line) & inside] = 255.0
    drawn[_grown(inside, line) & ~inside] = (0.0, 0.0, 0.0, 255.0)
    return drawn


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """The mask and all pixels that are no more than so many steps from it along rows and columns."""
    found = mask
    for axis in (0, 1):
        padded = np.pad(found, [(by, by) if one == axis else (0, 0) for one in (0, 1)])
        length = mask.shape[axis]
        shifted = [np.take(padded, np.arange(step, step + length), axis=axis) for step in range(2 * by + 1)]
        found = np.logical_or.reduce(shifted)
    return found


#: Right bags that are shown beside wrong ones, where there are any.
RIGHT_SHOWN = 2


def heat_panel(
    bags: BagTable, known: PerImage, images: ImageSet | None, names: tuple[str, ...], count: int
) -> tuple[list[Panel], dict[str, bytes]]:
    """One panel, and its pictures by name; none where the places of images in their bags are not known.

    Pictures are made again from the image set: the evidence holds numbers. A bag whose picture cannot be read, or one
    with known rows and columns of images alone (in their attributes), is drawn as plain squares.

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
            attributes: Sequence[object] = images.table["attributes"].take(positions.tolist()).to_pylist()
            places = [json.loads(str(one)) for one in attributes]
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

"""A bag seen from afar with the probabilities of its tiles over it, and the outline of those known to be positive."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from snellen.methods.explanations.colour_scale import scale_colours

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
    """Boxes of tiles of which only row and column are known, from the first of each that occurs: (m,), (m,) → (m, 4).

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
    """Width and height with the longest side as asked: those of the picture, or of as many square tiles."""
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

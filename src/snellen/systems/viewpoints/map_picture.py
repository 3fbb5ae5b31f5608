"""A map over azimuth and elevation as a picture: a field of colour for each, with its figure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from snellen.methods.explanations.overlay import scale_colours

#: Width and height of a field; of the strips beside and below for degrees, and of the title; pixels.
_WIDE, _HIGH, _LEFT, _BELOW, _TITLE = 42, 30, 92, 40, 30

_INK, _FAINT, _EMPTY = (0, 0, 0), (110, 110, 110), (235, 235, 235)


def map_picture(
    values: NDArray[np.float64],
    azimuths: tuple[float, ...],
    elevations: tuple[float, ...],
    title: str,
    *,
    full: float = 1.0,
) -> Image.Image:
    """Draw a map, from above on top, from the front (azimuth 0) in the middle; RGB.

    Args:
        values: (rows, columns), rows from below to above, in [0, ``full``]; nan where nothing is known (grey).
        azimuths, elevations: edges of columns and rows, degrees.
        title: above the map.
        full: the value of the last colour.
    """
    rows, columns = values.shape
    picture = Image.new("RGB", (_LEFT + columns * _WIDE + _WIDE // 2, _TITLE + rows * _HIGH + _BELOW), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(15), ImageFont.load_default(12)
    draw.text((8, 7), title, _INK, large)
    colours = scale_colours(np.nan_to_num(values) / max(full, 1e-12))
    for row in range(rows):
        top = _TITLE + (rows - 1 - row) * _HIGH
        for column in range(columns):
            value, left = float(values[row, column]), _LEFT + column * _WIDE
            colour = _EMPTY if math.isnan(value) else tuple(int(part) for part in colours[row, column])
            draw.rectangle((left, top, left + _WIDE - 2, top + _HIGH - 2), fill=colour)
            if not math.isnan(value):
                light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
                ink = (0, 0, 0) if light else (255, 255, 255)
                draw.text((left + _WIDE // 2, top + _HIGH // 2), f"{value:.0%}", ink, small, anchor="mm")
    for edge, degrees in enumerate(elevations):
        place = _TITLE + (rows - edge) * _HIGH
        draw.text((_LEFT - 8, place), f"{degrees:.0f}°", _FAINT, small, anchor="rm")
    for edge, degrees in enumerate(azimuths):
        draw.text((_LEFT + edge * _WIDE, _TITLE + rows * _HIGH + 10), f"{degrees:.0f}°", _FAINT, small, anchor="mm")
    middle = _LEFT + columns * _WIDE // 2
    draw.text((middle, _TITLE + rows * _HIGH + 28), "azimuth (0°: from the front)", _FAINT, small, anchor="mm")
    draw.text((8, _TITLE + rows * _HIGH // 2), "elevation", _FAINT, small, anchor="lm")
    return picture

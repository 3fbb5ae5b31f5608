"""A figure of views over azimuth and elevation: where around objects a classifier fails."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from snellen.core.errors import InputError
from snellen.data.worlds.viewpoints import CENTRES, COORDINATES, HALF_RANGES
from snellen.methods.explanations.overlay import scale_colours

_AZIMUTH, _ELEVATION = COORDINATES.index("azimuth"), COORDINATES.index("elevation")


@dataclass(frozen=True, kw_only=True)
class Region:
    """A field of a map.

    Attributes:
        azimuth, elevation: from and to, degrees.
    """

    azimuth: tuple[float, float]
    elevation: tuple[float, float]

    def holds(self, viewpoints: ArrayLike) -> NDArray[np.bool_]:
        """Which viewpoints (n, 6) lie in it, bool (n,); an azimuth counts modulo 360°."""
        given = _checked(viewpoints)
        turned = _turned(given[:, _AZIMUTH])
        high = given[:, _ELEVATION]
        top = self.elevation[1] >= CENTRES[_ELEVATION] + HALF_RANGES[_ELEVATION]
        found: NDArray[np.bool_] = (turned >= self.azimuth[0]) & (turned < self.azimuth[1])
        return found & (high >= self.elevation[0]) & ((high < self.elevation[1]) | (top & (high <= self.elevation[1])))

    def __str__(self) -> str:
        azimuth, elevation = (f"{low:.0f}° to {high:.0f}°" for low, high in (self.azimuth, self.elevation))
        return f"azimuth {azimuth}, elevation {elevation}"


@dataclass(frozen=True, kw_only=True)
class ViewMap:
    """Means of one figure over fields of azimuth and elevation.

    Attributes:
        azimuths: edges of the columns, degrees, from −180 on.
        elevations: edges of the rows, degrees, from −70 on: from below to above.
        means: (rows, columns); nan where there is no view.
        views, objects: how many fell into each field, int64 (rows, columns).
    """

    azimuths: tuple[float, ...]
    elevations: tuple[float, ...]
    means: NDArray[np.float64]
    views: NDArray[np.int64]
    objects: NDArray[np.int64]

    def region(self, row: int, column: int) -> Region:
        """The field in a row and a column."""
        return Region(
            azimuth=(self.azimuths[column], self.azimuths[column + 1]),
            elevation=(self.elevations[row], self.elevations[row + 1]),
        )

    def lowest(self, *, objects: int = 1) -> tuple[int, int] | None:
        """Row and column of the field with the lowest mean, of those with at least so many objects; None without."""
        enough = np.where(self.objects >= max(objects, 1), self.means, np.inf)
        if not np.isfinite(enough).any():
            return None
        row, column = divmod(int(enough.argmin()), enough.shape[1])
        return row, column


def view_map(
    viewpoints: ArrayLike, values: ArrayLike, objects: Sequence[str], *, azimuths: int = 8, elevations: int = 5
) -> ViewMap:
    """Mean of a figure of views in each field of azimuth and elevation.

    An object counts in each field with the mean of its own views there, so that one with many views does not weigh
    more.

    >>> seen = np.array([[0.0, -170, 60, 4, 0, 0], [0, 10, 60, 4, 0, 0], [0, 10, 60, 4, 0, 0]])
    >>> view_map(seen, [0, 1, 1], ["a", "a", "b"], azimuths=2, elevations=1).means.tolist()
    [[0.0, 1.0]]

    Args:
        viewpoints: (n, 6), see :mod:`snellen.data.worlds.viewpoints`.
        values: (n,), such as whether a view is classified rightly.
        objects: of each view.
        azimuths, elevations: number of columns and rows.

    Raises:
        InputError: other shapes, less than one field, or a number that is not finite.
    """
    given, figures = _checked(viewpoints), np.asarray(values, dtype=np.float64)
    if azimuths < 1 or elevations < 1:
        raise InputError(f"a map needs at least one column and one row; got {azimuths} and {elevations}")
    if figures.shape != (len(given),) or len(objects) != len(given) or not np.isfinite(figures).all():
        raise InputError(
            f"a map takes one finite value and one object for each of {len(given)} viewpoints; got {figures.shape} "
            f"and {len(objects)}"
        )
    columns = _edges(_AZIMUTH, azimuths)
    rows = _edges(_ELEVATION, elevations)
    codes = np.unique(np.asarray(objects, dtype=object).astype(str), return_inverse=True)[1].reshape(-1)
    several = int(codes.max()) + 1 if len(codes) else 0
    column = np.clip(np.searchsorted(columns, _turned(given[:, _AZIMUTH]), side="right") - 1, 0, azimuths - 1)
    row = np.clip(np.searchsorted(rows, given[:, _ELEVATION], side="right") - 1, 0, elevations - 1)
    place = (row * azimuths + column) * several + codes
    counts, sums = (
        np.bincount(place, weights=weights, minlength=elevations * azimuths * several).reshape(elevations, azimuths, -1)
        for weights in (None, figures)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        own = sums / counts
        known = (counts > 0).sum(2)
        means = np.where(counts > 0, own, 0.0).sum(2) / known
    return ViewMap(
        azimuths=tuple(columns.tolist()),
        elevations=tuple(rows.tolist()),
        means=means,
        views=counts.sum(2).astype(np.int64),
        objects=known.astype(np.int64),
    )


def _edges(coordinate: int, count: int) -> NDArray[np.float64]:
    centre, half = CENTRES[coordinate], HALF_RANGES[coordinate]
    return np.linspace(centre - half, centre + half, count + 1)


def _turned(azimuth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Azimuths in [−180, 180)."""
    turned: NDArray[np.float64] = (azimuth + 180.0) % 360.0 - 180.0
    return turned


def _checked(viewpoints: ArrayLike) -> NDArray[np.float64]:
    given = np.asarray(viewpoints, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != len(COORDINATES) or not np.isfinite(given).all():
        raise InputError(f"viewpoints must be finite numbers (n, 6): {', '.join(COORDINATES)}; got {given.shape}")
    return given


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

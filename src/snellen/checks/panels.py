"""Curves, tables and heat maps of a report as data, and its pictures under the hash of their bytes."""

from __future__ import annotations

import hashlib
import io

import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from snellen.core.preprocessing import to_image


class Point(BaseModel):
    """A point of a line, with an interval where one is known.

    Attributes:
        x: place on the horizontal axis.
        y: place on the vertical axis.
        low: lower end of the 95 % interval of y; null where there is none.
        high: upper end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: float
    y: float
    low: float | None = None
    high: float | None = None


class Line(BaseModel):
    """Points that belong together, ascending in x.

    Attributes:
        name: shown beside the line.
        points: ascending in x.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    points: tuple[Point, ...]
    reference: bool = Field(False, description="what an ideal, or a guessing, model would show; drawn dashed")


class HeatPicture(BaseModel):
    """A picture, and the same with values over its parts.

    Attributes:
        title: what it is of.
        caption: the text below it.
        plain: name of the picture as it is (sha256 of the file), where there is one.
        heat: name of the one with colours.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    caption: str
    plain: str | None = None
    heat: str


class Panel(BaseModel):
    """One figure or table, or pictures with a scale of colours.

    Attributes:
        check: name of the check that made it.
        title: what it shows.
        about: how to read it, one sentence.
        x_label, y_label: what the axes are, with units.
        lines: the curves; none for a table alone.
        head, rows: a table; none for a figure alone.
        heat: pictures with values in [0, 1] as colours; ``x_label`` says what they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    title: str
    about: str = ""
    x_label: str = ""
    y_label: str = ""
    lines: tuple[Line, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str | float | int, ...], ...] = ()
    heat: tuple[HeatPicture, ...] = ()


#: Longest side of a picture in the report, pixels. Smaller images stay as they are: the page enlarges them, sharply.
SIDE = 160

#: Up to this side, no pixel may change: compression would blur exactly what is shown.
EXACT = 64


def keep_picture(blobs: dict[str, bytes], image: torch.Tensor) -> str:
    """Put an image (3, h, w) in [0, 1] among the pictures, as a small WebP file; returns its name (sha256)."""
    picture = to_image(image)
    scale = min(SIDE / max(picture.size), 1.0)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return keep_file(blobs, picture, lossless=max(size) <= EXACT, quality=85)


def keep_file(blobs: dict[str, bytes], picture: Image.Image, *, lossless: bool = False, quality: int = 80) -> str:
    """Put a picture of any size among the pictures, as a WebP file; returns its name (sha256)."""
    stream = io.BytesIO()
    picture.save(stream, "WEBP", lossless=lossless, quality=quality, method=4)
    key = hashlib.sha256(stream.getvalue()).hexdigest()
    blobs[key] = stream.getvalue()
    return key

"""Curves, tables and heat maps of a report, as data: what a check shows beside its findings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Point(BaseModel):
    """A point of a line, with an interval where one is known."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: float
    y: float
    low: float | None = None
    high: float | None = None


class Line(BaseModel):
    """Points that belong together, ascending in x."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    points: tuple[Point, ...]
    reference: bool = Field(False, description="what an ideal, or a guessing, model would show; drawn dashed")


class HeatPicture(BaseModel):
    """A picture, and the same with values over its parts.

    Attributes:
        title: what it is of.
        caption: what is said of it.
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
        heat: pictures with values in [0, 1] as colours, of which ``x_label`` says what they are.
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

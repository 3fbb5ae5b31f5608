"""Curves and tables of a report, as data: what a check shows beside its findings."""

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


class Panel(BaseModel):
    """One figure or table.

    Attributes:
        check: name of the check that made it.
        title: what it shows.
        about: how to read it, one sentence.
        x_label, y_label: what the axes are, with units.
        lines: the curves; none for a table alone.
        head, rows: a table; none for a figure alone.
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

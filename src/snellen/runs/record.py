"""What the records of several verbs share: figures with intervals, images that were rejected, and a summary to show."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

#: The table with a row for each image and setting.
EVIDENCE = "evidence.parquet"


class Figure(BaseModel):
    """A figure with its 95 % interval; None where there is none, and for ends of an interval that are not bounded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    low: float | None
    high: float | None
    n: int = Field(description="images")


class RejectedImage(BaseModel):
    """An image that counts nowhere, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    reason: str


@dataclass(frozen=True)
class Table:
    """Rows of a summary.

    Attributes:
        columns: heads.
        rows: of as many cells.
        numbers: positions of the columns that are set to the right.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Summary:
    """What a terminal shows of a result, in order: lines and tables. All of it is data and is escaped when shown.

    Attributes:
        heading: what was run on what.
        parts: lines and tables.
        rejected: what could not be used; the first few are named.
        files: what was written, as paths.
        record: name of the file that holds everything.
        last: lines behind the list of files.
    """

    heading: str
    parts: tuple[str | Table, ...]
    rejected: tuple[RejectedImage, ...] = ()
    files: tuple[str, ...] = ()
    record: str = ""
    last: tuple[str, ...] = ()


class ShownResult(Protocol):
    """The result of a verb over another form of data than images."""

    @property
    def folder(self) -> Path | None:
        """Where the files are; None where nothing was kept."""
        ...

    def to_json(self) -> dict[str, Any]:
        """JSON values of the record."""
        ...

    def summary(self) -> Summary:
        """What a terminal shows."""
        ...


def figure_row(name: str, figure: Figure) -> tuple[str, str, str, str]:
    """Name, value, interval and number of images; what is not bounded is a dash.

    >>> figure_row("accuracy", Figure(value=0.5, low=None, high=1.0, n=4))
    ('accuracy', '0.5000', '– – 1.0000', '4')
    """
    value, low, high = ("–" if end is None else f"{end:.4f}" for end in (figure.value, figure.low, figure.high))
    return name, value, f"{low} – {high}" if figure.n else "", str(figure.n)

"""What the records of several verbs share: figures with intervals, images that were rejected, and a summary to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, cast

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.evidence import Evidence
from snellen.core.formats import FORMATS

#: The table with a row for each image and setting.
EVIDENCE = "evidence.parquet"


class Figure(BaseModel):
    """A figure with its 95 % interval; None where there is none, and for ends of an interval that are not bounded.

    Attributes:
        value: the estimate; null where nothing could be measured.
        low: lower end of the 95 % interval; null where there is none.
        high: upper end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    low: float | None
    high: float | None
    n: int = Field(description="images")


class RejectedImage(BaseModel):
    """An image that counts nowhere, and why.

    Attributes:
        id: of the image.
        reason: why it counts nowhere.
    """

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


class RunResult(BaseModel):
    """What a call leaves. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: everything that could change a byte.
        files: that were written beside the record, relative to the folder.
        folder: where they are; None where nothing was kept.
        evidence: the table with a row for each image and setting, in memory; None where there is none.
        note: of a part of a call, how far all of it is.
    """

    #: Name of the file that holds the record.
    file: ClassVar[str]

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    plan: dict[str, Any]
    files: tuple[str, ...] = ()
    folder: Path | None = Field(None, exclude=True)
    evidence: Evidence | None = Field(None, exclude=True, repr=False)
    note: str | None = Field(None, exclude=True)

    @classmethod
    def of_part(cls, plan: Mapping[str, Any], note: str, folder: Path) -> Self:
        """What a part of a call leaves: a note, and no figures."""
        return cast(Self, cls.model_construct(plan=dict(plan), note=note, folder=folder))

    def to_json(self) -> dict[str, Any]:
        """JSON values, as the file holds them."""
        if self.note is not None:
            return {"plan": self.plan, "note": self.note}
        return FORMATS[self.file].stamped(self.model_dump(mode="json"))

    def summary(self) -> Summary:
        """What a terminal shows."""
        raise NotImplementedError

    def path_of(self, ending: str) -> Path | None:
        """The first file with this ending; None where there is none."""
        return next(iter(self.paths_of(ending)), None)

    def paths_of(self, ending: str) -> tuple[Path, ...]:
        """The files with this ending, in the order in which they were written."""
        return tuple(self.folder / file for file in self.files if file.endswith(ending)) if self.folder else ()

    def __repr__(self) -> str:
        # What was assumed of a model in memory, such as the order of its classes, changes every figure.
        assumed = (self.plan.get("model") or {}).get("notes", ())
        return "\n".join(
            [f"{type(self).__name__}({self.note or self._verdict()})", *(f"note: {one}" for one in assumed)]
        )

    __str__ = __repr__

    def _verdict(self) -> str:
        """What came out, in a line."""
        settings = getattr(self, "settings", {})
        return "; ".join(f"{name}: {figures.verdict}" for name, figures in settings.items())


def figure_row(name: str, figure: Figure) -> tuple[str, str, str, str]:
    """Name, value, interval and number of images; what is not bounded is a dash.

    >>> figure_row("accuracy", Figure(value=0.5, low=None, high=1.0, n=4))
    ('accuracy', '0.5000', '– – 1.0000', '4')
    """
    value, low, high = ("–" if end is None else f"{end:.4f}" for end in (figure.value, figure.low, figure.high))
    return name, value, f"{low} – {high}" if figure.n else "", str(figure.n)

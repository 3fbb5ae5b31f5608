"""The record of scans: what ``scan.json`` holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from snellen.core.evidence import Evidence
from snellen.core.formats import FORMATS
from snellen.core.outcomes import Scanned
from snellen.runs.record import EVIDENCE as EVIDENCE
from snellen.runs.record import RejectedImage

RECORD = "scan.json"

#: How messages call it.
WHAT = "scan"


class ScannedFigures(BaseModel):
    """What one method found.

    Attributes:
        method: the method and its parameters.
        statistic: what the verdict rests on; None where nothing could be measured.
        verdict: in guarded words.
        figures: further figures by name.
        assumptions: what they rest on.
        control: what a method that does nothing scores, in words, or None.
        rejected: what this method could not use.
        pictures: files of its pictures, relative to the folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: dict[str, Any]
    statistic: float | None
    verdict: str
    figures: dict[str, float | None]
    assumptions: tuple[str, ...]
    control: str | None
    rejected: tuple[RejectedImage, ...]
    pictures: tuple[str, ...]


class ScannedSet(BaseModel):
    """What scans found. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: model (None without one), data, settings with their methods, seed, machine, versions.
        settings: what each method found, by name.
        files: evidence and pictures, relative to the folder.
        folder: where the files are; None where nothing was kept.
        evidence: the table with the rows of all methods, in memory.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    plan: dict[str, Any]
    settings: dict[str, ScannedFigures]
    files: tuple[str, ...] = ()
    folder: Path | None = Field(None, exclude=True)
    evidence: Evidence | None = Field(None, exclude=True, repr=False)

    def to_json(self) -> dict[str, Any]:
        """JSON values, as the file holds them."""
        return FORMATS[RECORD].stamped(self.model_dump(mode="json"))

    def __repr__(self) -> str:
        return f"ScannedSet({'; '.join(f'{name}: {found.verdict}' for name, found in self.settings.items())})"

    __str__ = __repr__


def scanned_figures(scanned: Scanned, method: dict[str, Any], pictures: tuple[str, ...]) -> ScannedFigures:
    """What one method found, without its rows; NaN and infinity become None."""
    rejected = scanned.evidence.where(status="rejected").table
    ids, reasons = rejected["example_id"].to_pylist(), rejected["reason"].to_pylist()
    return ScannedFigures(
        method=method,
        statistic=_finite(scanned.statistic),
        verdict=scanned.verdict,
        figures={name: _finite(value) for name, value in scanned.figures.items()},
        assumptions=scanned.evidence.assumptions,
        control=scanned.evidence.control,
        rejected=tuple(RejectedImage(id=key, reason=reason or "") for key, reason in zip(ids, reasons, strict=True)),
        pictures=pictures,
    )


def _finite(value: float | None) -> float | None:
    return None if value is None or not abs(value) < float("inf") else float(value)

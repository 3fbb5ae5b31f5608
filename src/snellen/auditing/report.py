"""The result of an audit as data: what report.json holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from snellen.checks.check import Measured
from snellen.checks.eye_chart import EyeChart
from snellen.checks.panels import Panel
from snellen.core.finding import Finding
from snellen.core.formats import REPORT
from snellen.data.rejections import listed_reasons

#: Names of pictures are hashes, never paths.
HASH = re.compile("[0-9a-f]{64}")


class CheckStatus(BaseModel):
    """Whether a check ran, and if not, or if it could conclude nothing, why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    status: Literal["done", "skipped", "failed"]
    reason: str | None = None


class Judged(BaseModel):
    """How many hypotheses the audit tested together, and how many became findings, at which false discovery rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hypotheses: int
    findings: int
    rate: float


class AuditReport(BaseModel):
    """Everything an audit found. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        model: name, identity, classes, what the loader assumed.
        data: name, fingerprint, number of images used and rejected.
        metrics: figures by dotted name.
        findings: ranked by harm.
        tested: how many hypotheses were tested together.
        eye_chart: retained accuracy by severity and nuisance; None when nothing of the kind was measured.
        panels: curves and tables.
        checks: what ran, what was skipped and why.
        notes: how to read the figures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Measured]
    findings: tuple[Finding, ...]
    tested: Judged
    eye_chart: EyeChart | None = None
    panels: tuple[Panel, ...] = ()
    checks: tuple[CheckStatus, ...]
    notes: tuple[str, ...] = ()
    folder: Path | None = Field(None, exclude=True, description="the run directory, when the audit wrote one")

    def to_json(self) -> dict[str, Any]:
        """JSON values, each finding with its level and key, as the file holds them."""
        record = self.model_dump(mode="json")
        for row, finding in zip(record["findings"], self.findings, strict=True):
            row |= {"level": finding.level, "key": finding.key}
        for panel in record["panels"]:
            if not panel["heat"]:  # said only where there are such pictures
                del panel["heat"]
        return REPORT.stamped(record)

    def __repr__(self) -> str:
        accuracy = self.metrics.get("clean.accuracy")
        clean = f"clean accuracy {accuracy.value:.3f}, " if accuracy else ""
        lost, reasons = self.data.get("rejected", 0), self.data.get("rejected_reasons", {})
        rejected = f", {lost} of {self.data['images']} images rejected ({listed_reasons(reasons)})" if lost else ""
        return (
            f"AuditReport({self.model['name']} on {self.data['name']}: {clean}{len(self.findings)} findings{rejected})"
        )

    __str__ = __repr__

    def _repr_html_(self) -> str:
        # The page needs the report, and the report, here alone, needs the page.
        from snellen.auditing.html import render_notebook

        return render_notebook(self, self._pictures())

    def _pictures(self) -> dict[str, bytes]:
        """Pictures of the examples that the run directory holds, by name; none when nothing was kept."""
        if self.folder is None:
            return {}
        named = {name for f in self.findings for e in f.examples for name in (e.image, e.after) if name is not None}
        files = {name: self.folder / "blobs" / name for name in sorted(named) if HASH.fullmatch(name)}
        return {name: file.read_bytes() for name, file in files.items() if file.is_file()}

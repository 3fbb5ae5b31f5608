"""The record of generated trajectories and of what classifiers made of them: what ``nuisance.json`` holds."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from snellen.runs.record import EVIDENCE as EVIDENCE
from snellen.runs.record import RejectedImage, RunResult, Summary, Table

RECORD, MANIFEST, REJECTED = "nuisance.json", "manifest.csv", "rejected.csv"

#: How messages call it.
WHAT = "set of nuisance trajectories"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CurvePoint(_Part):
    """Accuracy at one strength and what is lost since strength 0, with 95 % intervals over objects.

    ``neutral`` is the accuracy of the same trajectories at strength 0: a weak classifier has little to lose.

    Attributes:
        strength: of the shift.
        accuracy: at it.
        low: lower end of the interval of the accuracy.
        high: upper end.
        neutral: accuracy of the same trajectories at strength 0.
        drop: accuracy lost since strength 0.
        drop_low: lower end of its interval.
        drop_high: upper end.
    """

    strength: float
    n: int = Field(description="trajectories")
    accuracy: float
    low: float
    high: float
    neutral: float
    drop: float
    drop_low: float
    drop_high: float


class Failures(_Part):
    """Where trajectories that are right at strength 0, or wrong there already, first fail.

    Attributes:
        n: trajectories.
        failed: of these, how many ever fail.
        mean_of_failed: mean strength at which they fail; null where none does.
        histogram: how many first fail at each strength.
    """

    n: int
    failed: int
    mean_of_failed: float | None
    margin: float = Field(description="mean distance from the failure point to that of what never fails")
    never: float = Field(description="failure point of what never fails")
    histogram: dict[str, int]


class NuisanceFigures(_Part):
    """Of one classifier under one shift; None where no trajectory could be measured.

    Attributes:
        curve: by ascending strength.
        failures: where trajectories first fail.
    """

    curve: tuple[CurvePoint, ...]
    failures: Failures
    relative_error: float | None = Field(
        None,
        description="what it loses over what the reference model loses; null if that is nothing",
    )


class Orders(_Part):
    """Classifiers under one shift, the most accurate first, at each strength; and changes of that order.

    Attributes:
        by_strength: names of classifiers, the most accurate first, by strength.
    """

    by_strength: dict[str, tuple[str, ...]]
    changes: tuple[str, ...] = Field(description="pairs that change places beyond chance, in words")


class RejectedTrajectory(_Part):
    """A trajectory that the filter took out, and why.

    Attributes:
        id: of the trajectory.
        reason: why the filter took it out.
    """

    id: str
    reason: str


class NuisanceSet(RunResult):
    """Trajectories as files. Holds no clock reading: equal inputs give equal bytes.

    Attributes:
        plan: method, models, sliders, classifiers, seeds, versions.
        thresholds: of the filter; empty without one.
        kept: trajectories that are kept, by shift.
        rejected: those that are not.
        figures: by classifier, then by shift.
        mean_relative_error: rCE of each classifier over the shifts, where there is a reference model.
        orders: by shift; empty for fewer than two classifiers.
        notes: what a reader must know.
        sliders: folder of the sliders that drew them.
    """

    file: ClassVar[str] = RECORD

    thresholds: dict[str, float]
    kept: dict[str, int]
    rejected: tuple[RejectedTrajectory, ...] = ()
    figures: dict[str, dict[str, NuisanceFigures]] = Field(default_factory=dict)
    mean_relative_error: dict[str, float | None] = Field(default_factory=dict)
    orders: dict[str, Orders] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sliders: str | None = Field(None, exclude=True, description="folder of the sliders")

    @property
    def manifest(self) -> Path:
        """What :func:`snellen.load_images` reads: the trajectories that are kept."""
        return (self.folder or Path()) / MANIFEST

    def summary(self) -> Summary:
        """Trajectories that are kept, where classifiers break, and who changes places."""
        parts: list[str | Table] = []
        for concept, kept in self.kept.items():
            lost = sum(one.id.startswith(f"{concept}/") for one in self.rejected)
            parts.append(
                f"{concept}: {kept} trajectories" + (f", {lost} rejected by the filter" if self.thresholds else "")
            )
        if self.figures:
            heads = ("classifier", "shift", "at 0", "lost at most", "at", "fails first at", "relative error")
            rows = [
                (name, concept, *_cells(found))
                for name, by_concept in self.figures.items()
                for concept, found in by_concept.items()
            ]
            parts.append(Table(heads, tuple(rows)))
        for name, error in self.mean_relative_error.items():
            parts.append(f"rCE of {name}: {'undefined' if error is None else f'{error:.3f}'}")
        for concept, order in self.orders.items():
            changes = order.changes or ("no two classifiers change places beyond chance",)
            parts += [f"{concept}: {change}" for change in changes]
        parts += [f"note: {note}" for note in self.notes]
        return Summary(
            "Classes under nuisances of rising strength",
            tuple(parts),
            rejected=tuple(RejectedImage(id=one.id, reason=one.reason) for one in self.rejected),
            files=self.files,
            record=RECORD,
            last=() if self.sliders is None else (f"Sliders: {self.sliders}",),
        )

    def _verdict(self) -> str:
        return f"{sum(self.kept.values())} trajectories in {str(self.folder)!r}, {', '.join(self.kept)}"


def _cells(found: NuisanceFigures) -> tuple[str, ...]:
    """Accuracy without the shift, the largest drop and its strength, the mean first failure, the relative error."""
    worst = max(found.curve, key=lambda point: point.drop)
    failures = found.failures
    first = "never" if failures.mean_of_failed is None else f"{failures.mean_of_failed:.2f}"
    return (
        f"{found.curve[0].accuracy:.3f}",
        f"{worst.drop:.3f} ({worst.drop_low:.3f} – {worst.drop_high:.3f})",
        f"{worst.strength:g}",
        f"{first} ({failures.failed} of {failures.n})",
        "–" if found.relative_error is None else f"{found.relative_error:.3f}",
    )

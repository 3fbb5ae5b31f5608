"""What is proven of the majority decision under noise, for classifiers that were trained to be smoothed."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from snellen.checks.check import Batch, CheckFigure, CheckInput, CheckResult, Companion, Several
from snellen.checks.panels import Line, Panel, Point
from snellen.checks.sampled import Sampled
from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.images import ImageSet
from snellen.methods.smoothing.branches import noise_of
from snellen.methods.smoothing.by_votes import VoteCertificate
from snellen.methods.smoothing.dual_smoothing import DualSmoothing
from snellen.methods.smoothing.smoothing import Smoothing
from snellen.metrics.clustered import clustered_mean, clustered_share

#: Radii of the curve.
POINTS = 8


class Certified(Sampled):
    """Certified accuracy of the vote under noise, on a share of the images; the noise is that of the training."""

    name: ClassVar[str] = "certified"
    summary: ClassVar[str] = "l2 radius within which the vote under noise is proven, where the model was trained for it"
    several: ClassVar[Several | None] = "each"
    needs: ClassVar = frozenset({"labels", "layers"})

    share: float = Field(0.1, gt=0, le=1, description="share of the images that are certified, drawn by their ids")
    most: int | None = Field(500, ge=1, description="images that are certified at most, on average; none: no bound")
    samples: int = Field(1000, ge=1, description="noisy samples of each network that bound the vote")
    selection: int = Field(100, ge=1, description="noisy samples of each network that choose the class")
    alpha: float = Field(0.001, gt=0, lt=1, description="probability that the certificate of an image is wrong")

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why it cannot run: a model that was not trained to be smoothed, above all."""
        if noise_of(classifier.module) is None:
            return f"certifies models that were trained under noise, and {classifier.name} does not say that it was"
        return super().missing(classifier, images, companions) or self.method(classifier).missing(classifier)

    @property
    def concurrent(self) -> bool:
        """See :attr:`Check.concurrent`."""
        return True

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names("accuracy", "abstentions", "average_radius")

    def cost(self) -> float:
        """Noisy samples of two networks, for the share that is drawn."""
        return 2 * self.share * (self.samples + self.selection)

    def method(self, classifier: Classifier) -> VoteCertificate:
        """The certificate that the networks were trained for."""
        noise = noise_of(classifier.module)
        halves = noise is not None and noise.view is not None
        kind = DualSmoothing if halves else Smoothing
        return kind(samples=self.samples, selection=self.selection, alpha=self.alpha)

    def measure(self, batch: Batch) -> Evidence | None:
        """Certificates of a share of the labelled images; those that cannot be certified in this way are skipped."""
        part, method = self.sample(batch), self.method(batch.classifier)
        if part is None:
            return None
        reasons = method.unusable(part.classifier, part.images)
        refused = [row for row, reason in enumerate(reasons) if reason is not None]
        usable = torch.tensor([row for row, reason in enumerate(reasons) if reason is None], dtype=torch.int64)
        rows = []
        if len(usable):
            taken = part.take(usable)
            found = method.certify(taken.classifier, taken.images, rng=taken.rng.child(self.name))
            rows.append(
                found.evidence(
                    taken.classifier, taken.ids, taken.labels.tolist(), setting=self.name, unit_ids=taken.unit_ids
                )
            )
        if refused:
            rows.append(
                Evidence.of(
                    [part.ids[row] for row in refused],
                    setting=self.name,
                    model=part.classifier.name,
                    unit_ids=[part.unit_ids[row] for row in refused],
                    label=part.labels[refused].tolist(),
                    status="skipped",
                    reason=[reasons[row] for row in refused],
                )
            )
        return Evidence.merge(rows)

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Certified accuracy at any radius, the average radius, abstentions, and the curve."""
        every = reading.evidence.where(setting=self.name)
        rows = {row["example_id"]: row for row in every.where(status="ok").table.to_pylist()}
        notes = [*_left_out(every), *self.sampling_notes(reading)]
        if not rows:
            return CheckResult(
                notes=_left_out(every),
                skipped="of so few images none was drawn, or none could be certified; raise share",
            )
        judged = np.array([key in rows for key in reading.images.ids])
        found = [rows[key] for key in np.asarray(reading.images.ids, dtype=object)[judged]]
        radii = np.array([row["value"] for row in found])
        held = np.array([row["prediction"] is not None for row in found])
        right = held & np.array([row["prediction"] == row["label"] for row in found])
        units = reading.images.units_of(judged)
        proven = np.where(right, radii, 0.0)
        mean = clustered_mean(proven, units)
        low, high = mean.interval() if len(proven) > 1 else (0.0, float(radii.max()))
        largest = self.method(reading.classifier).largest(reading.classifier)
        metrics = {
            f"{self.name}.accuracy": _share(right, units),
            f"{self.name}.abstentions": _share(~held, units),
            f"{self.name}.average_radius": CheckFigure(
                value=float(proven.mean()), low=max(low, 0.0), high=min(high, largest), n=len(proven)
            ),
        }
        points = []
        for radius in np.linspace(0, largest, POINTS + 1)[1:].tolist():
            figure = _share(right & (radii >= radius), units)
            points.append(Point(x=radius, y=figure.value, low=figure.low, high=figure.high))
        panel = Panel(
            check=self.name,
            title="Certified accuracy",
            about="Share of the images whose right class is proven to win the vote within a radius.",
            x_label="l2 radius, [0, 1] pixel units",
            y_label="certified accuracy",
            lines=(Line(name=self.name, points=tuple(points)),),
        )
        return CheckResult(metrics=metrics, panels=[panel], notes=[*reading.evidence.assumptions, *notes])


def _left_out(evidence: Evidence) -> list[str]:
    """How many drawn images could not be certified, and why; they count in no figure."""
    reasons = evidence.where(status="skipped").table["reason"].to_pylist()
    return [
        f"Certificates: {reasons.count(reason)} drawn images were not certified and count in no figure: {reason}."
        for reason in dict.fromkeys(reasons)
    ]


def _share(values: NDArray[np.bool_], units: NDArray[np.int64] | None) -> CheckFigure:
    low, high = clustered_share(values, units)
    return CheckFigure(value=float(values.mean()), low=low, high=high, n=len(values))

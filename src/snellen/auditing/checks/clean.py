"""The unchanged images: accuracy, calibration, the worst class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from torch import Tensor

from snellen.auditing.check import Batch, Check, Measured
from snellen.evidence import Evidence
from snellen.finding import Finding, FindingExample
from snellen.metrics.calibration import ReliabilityBins
from snellen.metrics.intervals import newcombe_difference, wilson

#: Calibration has no error scale of its own. Expected calibration error beyond that of a calibrated model → harm.
CALIBRATION_HARM: tuple[tuple[float, float], ...] = ((0.15, 0.05), (0.05, 0.005), (0.02, 0.0))


class Clean(Check):
    """Accuracy and calibration on the images as they are."""

    name: ClassVar[str] = "clean"
    summary: ClassVar[str] = "accuracy, calibration and the worst class on the images as they are"

    bins: int = Field(15, ge=2, description="equal-width bins of the expected calibration error")
    resamples: int = Field(200, ge=50, description="bootstrap resamples for its interval")
    examples: int = Field(5, ge=0, description="pictures for each finding")

    def cost(self) -> float:
        """Clean scores are computed for every audit anyway."""
        return 1.0

    def measure(self, batch: Batch) -> Evidence:
        """Prediction and confidence of each image."""
        labels_only = batch.classifier.output == "labels"
        confidence = None if labels_only else batch.classifier.probabilities(batch.scores).amax(1).tolist()
        return Evidence.of(
            batch.ids,
            setting="clean",
            model=batch.classifier.name,
            unit_ids=batch.unit_ids,
            label=[None if label < 0 else label for label in batch.labels.tolist()],
            prediction=batch.classifier.predict(batch.scores).tolist(),
            value=confidence,
        )

    def metrics(self, evidence: Evidence, clean: Evidence) -> dict[str, Measured]:
        """Accuracy, mean accuracy over the classes, expected calibration error."""
        tally = evidence.tally("clean")
        if not tally.n:
            return {}
        low, high = wilson(tally.correct, tally.n)
        figures = {"clean.accuracy": Measured(value=tally.accuracy, low=low, high=high, n=tally.n)}
        confidence, correct = _confidence_and_correct(evidence)
        if len(confidence):
            ece = ReliabilityBins.of(confidence, correct, self.bins).ece
            draws = np.random.default_rng(0).integers(0, len(confidence), (self.resamples, len(confidence)))
            resampled = [ReliabilityBins.of(confidence[d], correct[d], self.bins).ece for d in draws]
            # A resampled error is biased upwards by about as much as the error itself: reflect around the estimate.
            upper, lower = np.quantile(resampled, [0.975, 0.025])
            figures["clean.ece"] = Measured(
                value=ece,
                low=max(2 * ece - float(upper), 0.0),
                high=max(2 * ece - float(lower), ece),
                n=len(confidence),
            )
        return figures

    def findings(self, evidence: Evidence, clean: Evidence, names: Sequence[str]) -> list[Finding]:
        """The worst class if it is worse than the rest for certain, and calibration if it is off for certain."""
        return [*self._worst_class(evidence, names), *self._calibration(evidence)]

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """Nothing is changed."""
        return None

    def _worst_class(self, evidence: Evidence, names: Sequence[str]) -> list[Finding]:
        rows = _labelled(evidence)
        total, wrong = Counter(rows["label"].to_pylist()), Counter[int]()
        confused: dict[int, Counter[int]] = {}
        for label, prediction in zip(rows["label"].to_pylist(), rows["prediction"].to_pylist(), strict=True):
            if label != prediction:
                wrong[label] += 1
                confused.setdefault(label, Counter())[prediction] += 1
        if len(total) < 2:
            return []
        worst = max(total, key=lambda label: (wrong[label] / total[label], label))
        n, rest = total[worst], sum(total.values()) - total[worst]
        rest_wrong = sum(wrong.values()) - wrong[worst]
        # The worst of k classes was picked after looking: Bonferroni over the classes.
        low, _ = newcombe_difference(wrong[worst], n, rest_wrong, rest, 1 - 0.05 / len(total))
        if low <= 0:
            return []
        taken_for, times = confused[worst].most_common(1)[0]
        chosen = rows.filter(pc.and_(pc.equal(rows["label"], worst), pc.not_equal(rows["prediction"], worst)))
        return [
            Finding(
                kind="worst_class",
                harm=low * n / len(rows),
                title=(
                    f"{names[worst]} is right in {1 - wrong[worst] / n:.0%} of its images, the other classes in "
                    f"{1 - rest_wrong / rest:.0%}"
                ),
                facts={
                    "class": names[worst],
                    "images": n,
                    "accuracy": 1 - wrong[worst] / n,
                    "accuracy_elsewhere": 1 - rest_wrong / rest,
                    "gap_low": low,
                    "mostly_taken_for": names[taken_for],
                    "times": times,
                },
                examples=_examples(chosen, names, self.examples),
            )
        ]

    def _calibration(self, evidence: Evidence) -> list[Finding]:
        confidence, correct = _confidence_and_correct(evidence)
        if not len(confidence):
            return []
        ece = ReliabilityBins.of(confidence, correct, self.bins).ece
        # A calibrated model has an error too, the larger the fewer the images: compare with what it would show
        # (consistency resampling, Bröcker and Smith 2007): outcomes drawn from the stated confidences.
        draws = np.random.default_rng(0).random((self.resamples, len(confidence))) < confidence
        calibrated = np.array([ReliabilityBins.of(confidence, drawn, self.bins).ece for drawn in draws])
        if ece <= np.quantile(calibrated, 0.95):
            return []
        excess = ece - float(calibrated.mean())
        harm = next((harm for bound, harm in CALIBRATION_HARM if excess >= bound), None)
        if harm is None:
            return []
        gap = float(confidence.mean() - correct.mean())
        direction = "overconfident" if gap > 0 else "underconfident"
        return [
            Finding(
                kind="calibration",
                harm=harm,
                title=f"Confidence is off by {ece:.1%} on average; over all images {direction} by {abs(gap):.1%}",
                facts={
                    "ece": ece,
                    "ece_if_calibrated": float(calibrated.mean()),
                    "mean_confidence": float(confidence.mean()),
                    "accuracy": float(correct.mean()),
                },
            )
        ]


def _labelled(evidence: Evidence) -> pa.Table:
    table = evidence.where(setting="clean", status="ok").table
    return table.filter(pc.is_valid(table["label"]))


def _confidence_and_correct(evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
    rows = _labelled(evidence)
    rows = rows.filter(pc.is_valid(rows["value"]))
    return rows["value"].to_numpy(), pc.equal(rows["label"], rows["prediction"]).to_numpy().astype(np.float64)


def _examples(rows: pa.Table, names: Sequence[str], count: int) -> tuple[FindingExample, ...]:
    """The most confident mistakes."""
    rows = rows.sort_by([("value", "descending"), ("example_id", "ascending")]).slice(0, count)
    return tuple(
        FindingExample(example_id=row["example_id"], caption=f"{names[row['label']]} → {names[row['prediction']]}")
        for row in rows.to_pylist()
    )

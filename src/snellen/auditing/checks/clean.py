"""The unchanged images: accuracy, calibration, the worst class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from torch import Tensor

from snellen.auditing.calibration import CalibrationError, calibration_error
from snellen.auditing.check import Batch, Check, Measured
from snellen.auditing.examples import confident_mistakes
from snellen.evidence import Evidence
from snellen.finding import Finding
from snellen.metrics.exact_test import fisher_greater
from snellen.metrics.intervals import newcombe_difference, wilson

#: Calibration has no error scale of its own. Lower bound of the expected calibration error → harm.
CALIBRATION_HARM: tuple[tuple[float, float], ...] = ((0.15, 0.05), (0.05, 0.005), (0.0, 0.0))

#: Error rate of each finding of this check, shared equally by what it tests.
ALPHA = 0.05


class Clean(Check):
    """Accuracy and calibration on the images as they are."""

    name: ClassVar[str] = "clean"
    summary: ClassVar[str] = "accuracy, calibration and the worst class on the images as they are"

    bins: int = Field(15, ge=2, description="equal-width bins of the expected calibration error")
    resamples: int = Field(200, ge=50, description="resamples for its bounds")
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
        """Accuracy and expected calibration error."""
        tally = evidence.tally("clean")
        if not tally.n:
            return {}
        low, high = wilson(tally.correct, tally.n)
        figures = {"clean.accuracy": Measured(value=tally.accuracy, low=low, high=high, n=tally.n)}
        ece = self._calibration_error(evidence)
        if ece is not None:
            figures["clean.ece"] = Measured(value=ece.value, low=ece.low, high=ece.high, n=tally.n)
        return figures

    def findings(self, evidence: Evidence, clean: Evidence, names: Sequence[str]) -> list[Finding]:
        """No better than a constant answer; a class that is worse than the rest; confidence that is off."""
        rows = _labelled(evidence)
        return [*self._accuracy(rows, names), *self._worst_class(rows, names), *self._calibration(evidence)]

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """Nothing is changed."""
        return None

    def _accuracy(self, rows: pa.Table, names: Sequence[str]) -> list[Finding]:
        """A classifier that cannot be told from one that always gives the same answer."""
        labels = Counter(rows["label"].to_pylist())
        if len(labels) < 2:
            return []
        n, correct = len(rows), _correct(rows)
        constant, times = labels.most_common(1)[0]
        if correct == n or wilson(correct, n).low > times / n:
            return []
        harm = wilson(n - correct, n).low
        return [
            Finding(
                kind="accuracy",
                harm=harm,
                title=(
                    f"Accuracy of {correct / n:.1%} cannot be told from always answering {names[constant]} "
                    f"({times / n:.1%})"
                ),
                facts={"accuracy": correct / n, "constant_answer": names[constant], "its_accuracy": times / n},
                examples=confident_mistakes(rows.to_pylist(), names, self.examples),
            )
        ]

    def _worst_class(self, rows: pa.Table, names: Sequence[str]) -> list[Finding]:
        """The class that loses most images against the others, if any loses some for certain."""
        total = Counter(rows["label"].to_pylist())
        right = Counter(rows.filter(pc.equal(rows["label"], rows["prediction"]))["label"].to_pylist())
        wrong = {label: total[label] - right[label] for label in total}
        everyone, all_wrong = sum(total.values()), sum(wrong.values())
        candidates = []
        for label, n in sorted(total.items()):
            rest, rest_wrong = everyone - n, all_wrong - wrong[label]
            # Every class is tested: Bonferroni. Fisher's test decides, since it holds its level for small classes; the
            # interval then tells how much.
            p = fisher_greater(wrong[label], n, rest_wrong, rest)
            low, _ = newcombe_difference(wrong[label], n, rest_wrong, rest, 1 - ALPHA / len(total))
            if rest and p <= ALPHA / 2 / len(total) and low > 0:
                candidates.append((low * n / everyone, label, low))
        if not candidates:
            return []
        harm, worst, low = max(candidates, key=lambda candidate: (candidate[0], -candidate[1]))
        n, rest = total[worst], everyone - total[worst]
        own = rows.filter(pc.equal(rows["label"], worst))
        taken_for, times = Counter(p for p in own["prediction"].to_pylist() if p != worst).most_common(1)[0]
        here, elsewhere = right[worst] / n, (everyone - all_wrong - right[worst]) / rest
        return [
            Finding(
                kind="worst_class",
                harm=harm,
                title=f"{names[worst]} is right in {here:.0%} of its images, the other classes in {elsewhere:.0%}",
                facts={
                    "class": names[worst],
                    "images": n,
                    "accuracy": here,
                    "accuracy_elsewhere": elsewhere,
                    "gap_low": low,
                    "mostly_taken_for": names[taken_for],
                    "times": times,
                },
                examples=confident_mistakes(own.to_pylist(), names, self.examples),
            )
        ]

    def _calibration_error(self, evidence: Evidence) -> CalibrationError | None:
        rows = _labelled(evidence)
        rows = rows.filter(pc.is_valid(rows["value"]))
        if not len(rows):
            return None
        correct = pc.equal(rows["label"], rows["prediction"]).cast(pa.float64())
        return calibration_error(rows["value"].to_numpy(), correct.to_numpy(), bins=self.bins, resamples=self.resamples)

    def _calibration(self, evidence: Evidence) -> list[Finding]:
        ece = self._calibration_error(evidence)
        if ece is None or ece.low == 0:
            return []
        rows = _labelled(evidence)
        confidence, accuracy = float(pc.mean(rows["value"]).as_py()), _correct(rows) / len(rows)
        direction = "overconfident" if confidence > accuracy else "underconfident"
        return [
            Finding(
                kind="calibration",
                harm=next(harm for bound, harm in CALIBRATION_HARM if ece.low >= bound),
                title=(
                    f"Confidence is off by {ece.value:.1%} on average; over all images {direction} by "
                    f"{abs(confidence - accuracy):.1%}"
                ),
                facts={
                    "ece": ece.value,
                    "ece_low": ece.low,
                    "ece_if_calibrated": ece.if_calibrated,
                    "mean_confidence": confidence,
                    "accuracy": accuracy,
                },
            )
        ]


def _labelled(evidence: Evidence) -> pa.Table:
    table = evidence.where(setting="clean", status="ok").table
    return table.filter(pc.is_valid(table["label"]))


def _correct(rows: pa.Table) -> int:
    return int(pc.sum(pc.equal(rows["label"], rows["prediction"])).as_py() or 0)

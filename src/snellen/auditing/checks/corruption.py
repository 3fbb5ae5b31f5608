"""Common corruptions at five severities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, get_args

from pydantic import Field
from torch import Tensor

from snellen.auditing.check import Batch, Check, Measured, correct_by_id
from snellen.evidence import Evidence
from snellen.finding import Finding, FindingExample
from snellen.metrics.intervals import mean_interval
from snellen.shifts.corruption import Corruption, Kind
from snellen.sweep import curve, drops, failure_points, measure, setting_name


class CommonCorruptions(Check):
    """Noise, blur, brightness, contrast and pixelation at severities 1 to 5."""

    name: ClassVar[str] = "corruption"
    summary: ClassVar[str] = "accuracy under noise, blur, brightness, contrast and pixelation, severities 1 to 5"
    needs: ClassVar = frozenset({"labels"})

    kinds: tuple[Kind, ...] = Field(get_args(Kind), min_length=1, description="which corruptions")
    severities: tuple[float, ...] = Field((1, 2, 3, 4, 5), min_length=1, description="which severities, in (0, 5]")
    examples: int = Field(5, ge=0, description="pictures for each finding")

    def cost(self) -> float:
        """One pass for each kind and severity; making the images costs about a tenth of a pass."""
        return 1.1 * len(self.kinds) * len(self.severities)

    def measure(self, batch: Batch) -> Evidence:
        """Prediction and confidence of each image under each kind and severity."""
        return Evidence.merge(
            measure(
                [batch.classifier],
                batch.images,
                batch.labels,
                name=kind,
                transformation=lambda images, severity, rng, kind=kind: Corruption(kind=kind).shift(  # type: ignore[misc]
                    images, severity, rng=rng
                ),
                strengths=self.severities,
                ids=batch.ids,
                unit_ids=batch.unit_ids,
                rng=batch.rng.child(kind),
                neutral_scores={batch.classifier.name: batch.scores},
            )
            for kind in self.kinds
        )

    def metrics(self, evidence: Evidence, clean: Evidence) -> dict[str, Measured]:
        """Accuracy for each kind and severity."""
        model = evidence.table["model"][0].as_py()
        return {
            f"corruption.{kind}.{point.strength:g}.accuracy": Measured(
                value=point.accuracy, low=point.low, high=point.high, n=point.n
            )
            for kind in self.kinds
            for point in curve(evidence, kind, model)
            if point.strength > 0
        }

    def findings(self, evidence: Evidence, clean: Evidence, names: Sequence[str]) -> list[Finding]:
        """One finding for each kind that costs accuracy for certain, averaged over the severities."""
        model = evidence.table["model"][0].as_py()
        before = correct_by_id(clean, "clean")
        found = []
        for kind in self.kinds:
            after = [correct_by_id(evidence, setting_name(kind, severity)) for severity in self.severities]
            lost = [
                before[key] - sum(right[key] for right in after) / len(after)
                for key in before
                if all(key in right for right in after)
            ]
            if len(lost) < 2:
                continue
            # Several kinds are tested in one audit: Bonferroni over them.
            low, high = mean_interval(lost, 1 - 0.05 / len(self.kinds))
            if low <= 0:
                continue
            mean, clean_accuracy = sum(lost) / len(lost), sum(before.values()) / len(before)
            worst = max(drops(evidence, kind, model), key=lambda drop: drop.value)
            first_failures = [p for p in failure_points(evidence, kind, model).values() if p is not None]
            found.append(
                Finding(
                    kind="corruption",
                    harm=min(low, 1.0),
                    title=f"{_readable(kind)} costs {100 * mean:.1f} points of accuracy on average over the severities",
                    facts={
                        "corruption": kind,
                        "clean_accuracy": clean_accuracy,
                        "mean_drop": mean,
                        "mean_drop_low": low,
                        "mean_drop_high": high,
                        "worst_severity": worst.strength,
                        "worst_drop": worst.value,
                        "share_ever_broken": len(first_failures) / max(sum(before.values()), 1),
                    },
                    examples=self._examples(evidence, before, kind, worst.strength, names),
                )
            )
        return found

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The corrupted images at the worst severity."""
        kind = Corruption(kind=str(finding.facts["corruption"]))
        return kind.shift(batch.images, float(finding.facts["worst_severity"]), rng=batch.rng.child(kind.kind))

    def _examples(
        self, evidence: Evidence, before: Mapping[str, bool], kind: str, severity: float, names: Sequence[str]
    ) -> tuple[FindingExample, ...]:
        """Images that were right and are wrong, most confident first."""
        rows = evidence.where(setting=setting_name(kind, severity), status="ok").table
        rows = rows.sort_by([("value", "descending"), ("example_id", "ascending")]).to_pylist()
        broken = [row for row in rows if before.get(row["example_id"]) and row["prediction"] != row["label"]]
        return tuple(
            FindingExample(
                example_id=row["example_id"],
                caption=f"{names[row['label']]} → {names[row['prediction']]}",
            )
            for row in broken[: self.examples]
        )


def _readable(kind: str) -> str:
    return kind.replace("_", " ").capitalize()

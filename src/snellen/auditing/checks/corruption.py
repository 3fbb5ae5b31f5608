"""Common corruptions at five severities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, get_args

import pyarrow.compute as pc
from pydantic import Field, field_validator
from torch import Tensor

from snellen.auditing.check import Batch, Check, Measured
from snellen.auditing.examples import confident_mistakes
from snellen.corruption.tables import MAX_SEVERITY
from snellen.evidence import Evidence
from snellen.finding import Finding
from snellen.metrics.intervals import mean_interval
from snellen.shifts.corruption import Corruption, Kind
from snellen.sweep import curve, failure_points, measure, setting_name

Severity = Annotated[float, Field(gt=0, le=MAX_SEVERITY)]

#: Added to the drops before the interval is taken: one image more that is lost and one more that is gained, as the
#: adjusted Wald interval of Agresti and Min (2005) does for paired shares. Two images that are both lost prove nothing.
PSEUDO_OBSERVATIONS = (1.0, -1.0)


class CommonCorruptions(Check):
    """Noise, blur, brightness, contrast and pixelation at severities 1 to 5."""

    name: ClassVar[str] = "corruption"
    summary: ClassVar[str] = "accuracy under noise, blur, brightness, contrast and pixelation, severities 1 to 5"
    needs: ClassVar = frozenset({"labels"})

    kinds: tuple[Kind, ...] = Field(get_args(Kind), min_length=1, description="which corruptions")
    severities: tuple[Severity, ...] = Field((1, 2, 3, 4, 5), min_length=1, description="which severities, in (0, 5]")
    examples: int = Field(5, ge=0, description="pictures for each finding")

    @field_validator("kinds", "severities")
    @classmethod
    def _once_each(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"each only once, got {values}")
        return values

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
        before = clean.correct("clean")
        found = []
        for kind in self.kinds:
            after = {s: decisions(evidence, setting_name(kind, s)) for s in self.severities}
            paired = [key for key in before if all(key in right for right in after.values())]
            if not paired:
                continue
            lost = [before[key] - sum(right[key] for right in after.values()) / len(after) for key in paired]
            # Several kinds are tested in one audit: Bonferroni over them.
            low, high = mean_interval([*lost, *PSEUDO_OBSERVATIONS], 1 - 0.05 / len(self.kinds))
            if low <= 0:
                continue
            mean, clean_accuracy = sum(lost) / len(lost), sum(before[key] for key in paired) / len(paired)
            remaining = {severity: sum(right[key] for key in paired) / len(paired) for severity, right in after.items()}
            worst = min(remaining, key=remaining.__getitem__)
            rows = evidence.where(setting=setting_name(kind, worst), status="ok").table.to_pylist()
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
                        "worst_severity": worst,
                        "worst_drop": clean_accuracy - remaining[worst],
                        "share_ever_broken": len(first_failures) / max(sum(before.values()), 1),
                    },
                    examples=confident_mistakes(
                        [row for row in rows if before.get(row["example_id"])], names, self.examples
                    ),
                )
            )
        return found

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The corrupted images at the worst severity."""
        kind = Corruption(kind=str(finding.facts["corruption"]))
        return kind.shift(batch.images, float(finding.facts["worst_severity"]), rng=batch.rng.child(kind.kind))


def decisions(evidence: Evidence, setting: str) -> dict[str, bool]:
    """Whether each labelled example was right; no decision at all (scores that are not finite) is a wrong one."""
    table = evidence.where(setting=setting, status="failed").table
    undecided = table.filter(pc.is_valid(table["label"]))["example_id"].to_pylist()
    return {**dict.fromkeys(undecided, False), **evidence.correct(setting)}


def _readable(kind: str) -> str:
    return kind.replace("_", " ").capitalize()

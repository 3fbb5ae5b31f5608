"""Corruptions of a benchmark at five severities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, field_validator, model_validator
from torch import Tensor

from snellen.auditing.check import Batch, Check, Measured
from snellen.auditing.checks.corruption_figures import class_breaks, decisions, error_metrics, half_lost_at
from snellen.auditing.checks.corruption_reference import find_reference
from snellen.auditing.examples import confident_mistakes
from snellen.classifier import Classifier
from snellen.corruption.benchmarks import IMAGENET_C, BenchmarkName, benchmark
from snellen.corruption.tables import MAX_SEVERITY
from snellen.evidence import Evidence
from snellen.finding import Finding
from snellen.metrics.corruption_error import Reference
from snellen.metrics.intervals import mean_interval
from snellen.shifts.corruption import Corruption
from snellen.sweep import Transformation, curve, failure_points, measure, setting_name

Severity = Annotated[float, Field(gt=0, le=MAX_SEVERITY)]

#: Added to the drops before the interval is taken: one image more that is lost and one more that is gained, as the
#: adjusted Wald interval of Agresti and Min (2005) does for paired shares. Two images that are both lost prove nothing.
PSEUDO_OBSERVATIONS = (1.0, -1.0)


class CommonCorruptions(Check):
    """All kinds of corruption of a benchmark at severities 1 to 5: noise, blur, weather, compression and more."""

    name: ClassVar[str] = "corruption"
    summary: ClassVar[str] = "accuracy under the 15 corruptions of ImageNet-C, or those of a MedMNIST-C set"
    needs: ClassVar = frozenset({"labels"})

    benchmark: BenchmarkName = Field("imagenet-c", description="whose kinds and strengths")
    kinds: tuple[str, ...] = Field(
        (), description="which kinds; none named: those that the benchmark's figures average"
    )
    severities: tuple[Severity, ...] = Field((1, 2, 3, 4, 5), min_length=1, description="which severities, in (0, 5]")
    strict: bool = Field(False, description="published settings in the order of their mean change")
    parity: bool = Field(False, description="as published to the last step: values cut to bytes, grey images coloured")
    textures: str | None = Field(None, description="folder of frost or stain textures in place of the built-in ones")
    reference: Annotated[Reference | None, BeforeValidator(find_reference)] = Field(
        None,
        description="model that errors are divided by (mCE): alexnet/imagenet-c, alexnet/bloodmnist …, or the run "
        "directory of another model's audit on the same images",
    )
    examples: int = Field(5, ge=0, description="pictures for each finding")

    @field_validator("kinds", "severities")
    @classmethod
    def _once_each(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"each only once, got {values}")
        return values

    @model_validator(mode="after")
    def _known_kinds(self) -> CommonCorruptions:
        for kind in self.kinds:
            self._shift(kind)
        if self.reference is not None:
            missing = [kind for kind in self.chosen if kind not in self.reference.mean_errors]
            if missing:
                raise ValueError(f"the reference {self.reference.name!r} has no error for {', '.join(missing)}")
            if self.reference.severities != len(self.severities):
                raise ValueError(
                    f"the reference {self.reference.name!r} is a mean over {self.reference.severities} severities, "
                    f"this check one over {len(self.severities)}"
                )
        return self

    @property
    def chosen(self) -> tuple[str, ...]:
        """The kinds that are measured."""
        return self.kinds or benchmark(self.benchmark).main

    def notes(self, classifier: Classifier) -> tuple[str, ...]:
        """Whose strengths these are, for which size, and whose errors they are divided by."""
        told = [f"Corruptions are those of {self.benchmark}; severities 1 to 5 are those of its published tables."]
        size = classifier.preparation.size
        if size is not None:
            unpublished = [kind for kind in self.chosen if not self._published(kind, size)]
            if unpublished:
                told.append(
                    f"Not exactly as published (image size {size[1]} × {size[0]}, severity, built-in textures, or a "
                    f"fault of the published code that is mended): {', '.join(unpublished)}."
                )
        if self.reference is not None:
            told.append(
                f"corruption.mce and corruption.relative_mce divide errors by those of {self.reference.name} "
                f"({self.reference.source}), taken as known."
            )
        return tuple(told)

    def cost(self) -> float:
        """One pass for each kind and severity; making the images costs about half a pass of a small network."""
        return 1.5 * len(self.chosen) * len(self.severities)

    def measure(self, batch: Batch) -> Evidence:
        """Prediction and confidence of each image under each kind and severity."""
        return Evidence.merge(
            measure(
                [batch.classifier],
                batch.images,
                batch.labels,
                name=kind,
                transformation=self._transformation(kind),
                strengths=self.severities,
                ids=batch.ids,
                unit_ids=batch.unit_ids,
                rng=batch.rng.child(kind),
                neutral_scores={batch.classifier.name: batch.scores},
            )
            for kind in self.chosen
        )

    def metrics(self, evidence: Evidence, clean: Evidence) -> dict[str, Measured]:
        """Accuracy for each kind and severity; errors over the severities, also divided by the reference's."""
        model = evidence.table["model"][0].as_py()
        accuracies = {
            f"corruption.{kind}.{point.strength:g}.accuracy": Measured(
                value=point.accuracy, low=point.low, high=point.high, n=point.n
            )
            for kind in self.chosen
            for point in curve(evidence, kind, model)
            if point.strength > 0
        }
        errors = error_metrics(
            evidence,
            clean,
            self.chosen,
            self.severities,
            balanced=self.benchmark != IMAGENET_C,
            reference=self.reference,
        )
        return {**accuracies, **errors}

    def findings(self, evidence: Evidence, clean: Evidence, names: Sequence[str]) -> list[Finding]:
        """One finding for each kind that costs accuracy for certain, averaged over the severities."""
        return [found for kind in self.chosen if (found := self._finding(kind, evidence, clean, names)) is not None]

    def _finding(self, kind: str, evidence: Evidence, clean: Evidence, names: Sequence[str]) -> Finding | None:
        model = evidence.table["model"][0].as_py()
        before = clean.correct("clean")
        after = {severity: decisions(evidence, setting_name(kind, severity)) for severity in self.severities}
        paired = [key for key in before if all(key in right for right in after.values())]
        if not paired:
            return None
        lost = [before[key] - sum(right[key] for right in after.values()) / len(after) for key in paired]
        # Several kinds are tested in one audit: Bonferroni over them.
        low, high = mean_interval([*lost, *PSEUDO_OBSERVATIONS], 1 - 0.05 / len(self.chosen))
        if low <= 0:
            return None
        mean, clean_accuracy = sum(lost) / len(lost), sum(before[key] for key in paired) / len(paired)
        remaining = {severity: sum(right[key] for key in paired) / len(paired) for severity, right in after.items()}
        worst = min(remaining, key=remaining.__getitem__)
        rows = evidence.where(setting=setting_name(kind, worst), status="ok").table.to_pylist()
        points = failure_points(evidence, kind, model)
        broken = class_breaks(evidence, clean, kind, self.severities, names)
        half = half_lost_at(points)
        return Finding(
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
                "share_ever_broken": sum(p is not None for p in points.values()) / max(len(points), 1),
                "half_lost_by_severity": "never" if half is None else half,
                "classes_broken": ", ".join(f"{name} from {at:g}" for name, at in broken.items()) or "none",
            },
            examples=confident_mistakes([row for row in rows if before.get(row["example_id"])], names, self.examples),
        )

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The corrupted images at the worst severity."""
        kind = str(finding.facts["corruption"])
        return self._shift(kind).shift(batch.images, float(finding.facts["worst_severity"]), rng=batch.rng.child(kind))

    def _published(self, kind: str, size: tuple[int, int]) -> bool:
        chosen = benchmark(self.benchmark)
        return all(
            chosen.strength(
                kind, severity, *size, strict=self.strict, parity=self.parity, textures=self.textures is not None
            ).published
            for severity in self.severities
        )

    def _transformation(self, kind: str) -> Transformation:
        shift = self._shift(kind)
        return lambda images, severity, rng: shift.shift(images, severity, rng=rng)

    def _shift(self, kind: str) -> Corruption:
        return Corruption(
            benchmark=self.benchmark, kind=kind, strict=self.strict, parity=self.parity, textures=self.textures
        )


def _readable(kind: str) -> str:
    return kind.replace("_", " ").capitalize()

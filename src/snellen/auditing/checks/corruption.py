"""Corruptions of a benchmark at five severities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, field_validator, model_validator
from torch import Tensor

from snellen.auditing.checks.corrupted_sets import measured_sets
from snellen.auditing.checks.corruption_reference import check_conditions, find_reference
from snellen.checks.check import Batch, Conclusion, Measured, Reading, Several
from snellen.checks.eye_chart import Column
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.per_image import ABSENT, PerImage, confident_mistakes
from snellen.checks.sampled import Sampled
from snellen.checks.strengths import (
    Lost,
    accuracy_at,
    chart_column,
    class_breaks,
    error_metrics,
    failure_severities,
    half_lost_at,
    lost_over,
    normalised_errors,
    outcomes_by_kind,
)
from snellen.checks.usual_losses import UsualLoss, usual_losses
from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.methods.corruptions.benchmarks import IMAGENET_C, BenchmarkName, benchmark
from snellen.methods.corruptions.corruption import Corruption
from snellen.methods.corruptions.operators import MAX_SEVERITY
from snellen.metrics.corruption_error import Reference
from snellen.metrics.power import detectable_loss
from snellen.metrics.sweep import Transformation, measure, setting_name

Severity = Annotated[float, Field(gt=0, le=MAX_SEVERITY)]


class CommonCorruptions(Sampled):
    """All kinds of corruption of a benchmark at severities 1 to 5: noise, blur, weather, compression and more."""

    name: ClassVar[str] = "corruption"
    summary: ClassVar[str] = "accuracy under the 15 corruptions of ImageNet-C, or those of a MedMNIST-C set"
    several: ClassVar[Several | None] = "sides"
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
    most: int | None = Field(
        2_000, ge=1, description="images that are corrupted at most, on average, drawn by their ids; none: no bound"
    )

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
            check_conditions(self.reference, self.model_dump(mode="json", exclude={"reference"}))
        return self

    @property
    def chosen(self) -> tuple[str, ...]:
        """The kinds that are measured."""
        return self.kinds or benchmark(self.benchmark).main

    def _notes(self, classifier: Classifier) -> tuple[str, ...]:
        """Whose strengths these are, for which size, and whose errors they are divided by."""
        lines = [f"Corruptions are those of {self.benchmark}; severities 1 to 5 are those of its published tables."]
        size = classifier.preparation.size
        if size is not None:
            unpublished = [kind for kind in self.chosen if not self._published(kind, size)]
            if unpublished:
                lines.append(
                    f"Not exactly as published (image size {size[1]} × {size[0]}, severity, built-in textures, or a "
                    f"fault of the published code that is mended): {', '.join(unpublished)}."
                )
        seen = [kind for kind in self.chosen if kind in _trained_on(classifier)]
        if seen:
            lines.append(
                f"{classifier.name} was trained on images under {', '.join(seen)}, as its card says: what is measured "
                f"there is no robustness to the unknown."
            )
        return tuple(lines)

    def _notes_on_reference(self, metrics: Mapping[str, Measured], data: str) -> list[str]:
        """Whose errors were divided by, and what the means leave out."""
        if self.reference is None or not metrics:
            return []
        found = normalised_errors(metrics, self.reference)
        lines = [
            f"corruption.mce and corruption.relative_mce divide errors by those of {self.reference.name} "
            f"({self.reference.source}), taken as known."
        ]
        if self.reference.conditions.get("data", data) != data:
            lines.append(f"{self.reference.name} was measured on other images than these.")
        lines += [f"No corruption.mce of {kind}: {why}." for kind, why in found.undefined.items()]
        lines += [f"No corruption.relative_mce of {kind}: {why}." for kind, why in found.relative_undefined.items()]
        if found.unmeasured:
            lines.append(
                f"The means leave out {', '.join(found.unmeasured)}, which were not measured: they are not the "
                f"benchmark's mCE."
            )
        return lines

    @property
    def concurrent(self) -> bool:
        """See :attr:`Check.concurrent`."""
        return True

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names(
            "clean_error",
            "error",
            *(("mce", "relative_mce") if self.reference is not None else ()),
            *(f"{kind}.error" for kind in self.chosen),
            *(f"{kind}.{severity:g}.accuracy" for kind in self.chosen for severity in self.severities),
        )

    @property
    def all_labels_at_once(self) -> bool:
        """An image is corrupted once for all labels."""
        return True

    def cost(self) -> float:
        """One pass for each kind and severity; making the images costs a quarter of one, as measured.

        1.21 passes in all with the bundled fashion CNN at 28 pixels, 1.25 with EfficientNet-Lite0 at 224.
        """
        return 1.25 * self.share * len(self.chosen) * len(self.severities)

    def measure(self, batch: Batch) -> Evidence | None:
        """Prediction and confidence of each image under each kind and severity."""
        drawn = self.part_of(batch)
        if drawn is None:
            return None
        if drawn.classifier.task == "multilabel":
            return measured_sets(drawn, {kind: self._transformation(kind) for kind in self.chosen}, self.severities)
        return Evidence.merge(
            measure(
                [drawn.classifier],
                drawn.images,
                drawn.labels,
                name=kind,
                transformation=self._transformation(kind),
                strengths=self.severities,
                ids=drawn.ids,
                unit_ids=drawn.unit_ids,
                rng=drawn.rng.child(kind),
                neutral_scores={drawn.classifier.name: drawn.scores},
            )
            for kind in self.chosen
        )

    def conclude(self, reading: Reading) -> Conclusion:
        """Accuracy by kind and severity; one hypothesis for each kind: it costs no accuracy over the severities."""
        outcomes = outcomes_by_kind(reading.evidence, reading.images, self.chosen, self.severities)
        accuracies = {
            f"corruption.{kind}.{severity:g}.accuracy": accuracy_at(rows, reading.images.units)
            for kind, by_severity in outcomes.items()
            for severity, rows in sorted(zip(self.severities, by_severity, strict=True), key=lambda pair: pair[0])
            if (rows != ABSENT).any()
        }
        errors = error_metrics(
            reading.images, outcomes, balanced=self.benchmark != IMAGENET_C, reference=self.reference
        )
        usual = self._usual(reading)
        tested = [self._hypothesis(kind, rows, reading, usual.get(kind)) for kind, rows in outcomes.items()]
        return Conclusion(
            metrics={**accuracies, **errors},
            hypotheses=[hypothesis for hypothesis in tested if hypothesis is not None],
            columns=self._columns(reading, outcomes),
            sight=[lambda alpha: _unseen(reading.images, outcomes, alpha)],
            notes=(
                *self._notes(reading.classifier),
                *self._notes_on_reference(errors, reading.data),
                *self.sampling_notes(reading),
            ),
        )

    def _columns(self, reading: Reading, outcomes: Mapping[str, NDArray[np.int8]]) -> list[Column]:
        """One column of the eye chart for each kind."""
        found = [chart_column(kind, self.name, rows, self.severities, reading) for kind, rows in outcomes.items()]
        return [one for one in found if one is not None]

    def _hypothesis(
        self, kind: str, outcomes: NDArray[np.int8], reading: Reading, usual: UsualLoss | None
    ) -> Hypothesis | None:
        images = reading.images
        found = lost_over(images.correct, outcomes, images.units)
        if found is None:
            return None
        return Hypothesis(
            found.drop.p_value(),
            found.drop.lower,
            lambda harm: self._finding(kind, outcomes, found, reading, harm, usual),
        )

    def _finding(
        self,
        kind: str,
        outcomes: NDArray[np.int8],
        found: Lost,
        reading: Reading,
        harm: float,
        usual: UsualLoss | None,
    ) -> Finding:
        images = reading.images
        failures = failure_severities(images, outcomes, self.severities)
        broken = class_breaks(images, outcomes, self.severities, reading.names, kinds=len(self.chosen))
        half = half_lost_at(failures)
        interval = found.drop.interval(0.95)
        decided, sure = images.decisions(reading.evidence, setting_name(kind, self.severities[found.worst]))
        return Finding(
            kind="corruption",
            subject=kind,
            harm=harm,
            usual=0.0 if usual is None else usual.high,
            p_value=found.drop.p_value(),
            title=f"{_readable(kind)} costs {100 * found.mean:.1f} points of accuracy on average over the severities"
            + ("" if usual is None else f" (healthy classifiers: {100 * usual.low:.0f} to {100 * usual.high:.0f})"),
            facts={
                "corruption": kind,
                "clean_accuracy": found.before,
                "mean_drop": found.mean,
                "mean_drop_low": interval.low,
                "mean_drop_high": interval.high,
                "worst_severity": self.severities[found.worst],
                "worst_drop": found.before - float(found.after[found.worst]),
                "share_ever_broken": float(np.isfinite(failures).mean()) if len(failures) else 0.0,
                "half_lost_by_severity": "never" if half is None else half,
                "classes_broken": ", ".join(f"{name} from {at:g}" for name, at in broken.items()) or "none",
            },
            examples=confident_mistakes(
                images,
                reading.names,
                self.examples,
                predictions=np.where(images.correct, decided, ABSENT),
                confidence=sure,
            ),
        )

    def _usual(self, reading: Reading) -> Mapping[str, UsualLoss]:
        """What healthy classifiers of like images lose, by kind; not known of other strengths than the published."""
        given = (self.benchmark, sorted(self.severities), self.strict, self.parity, self.textures)
        size = reading.classifier.preparation.size
        if given != (IMAGENET_C, [1, 2, 3, 4, 5], False, False, None) or size is None or reading.audited is None:
            return {}
        return usual_losses(min(size), reading.audited)

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The corrupted images at the worst severity."""
        kind = str(finding.facts["corruption"])
        return self._shift(kind).shift(batch.images, float(finding.facts["worst_severity"]), rng=batch.rng.child(kind))

    def _published(self, kind: str, size: tuple[int, int]) -> bool:
        chosen = benchmark(self.benchmark)
        return all(
            chosen.strength(
                kind, severity, *size, strict=self.strict, parity=self.parity, textures=self.textures
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


def _trained_on(classifier: Classifier) -> tuple[str, ...]:
    """Kinds, of this benchmark or of the same name in another, that augmented the training of an artifact."""
    kinds = classifier.recipe.get("kinds", ())
    return tuple(str(kind) for kind in kinds) if isinstance(kinds, (list, tuple)) else ()


def _unseen(images: PerImage, outcomes: Mapping[str, NDArray[np.int8]], alpha: float) -> str | None:
    """The least loss that would be found under each kind: where most changes cancel, it is the largest."""
    needed = []
    for rows in outcomes.values():
        found = lost_over(images.correct, rows, images.units)
        if found is not None:
            units = images.units_of(found.paired)
            count = int(found.paired.sum()) if units is None else len(np.unique(units))
            needed.append(detectable_loss(count, found.drop.standard_error**2 * count, alpha))
    losses = [loss for loss in needed if loss is not None]
    if not losses or len(losses) < len(needed):
        return None
    return f"a corruption that costs {100 * max(losses):.1f} points of accuracy on average over its severities"


def _readable(kind: str) -> str:
    return kind.replace("_", " ").capitalize().replace("Jpeg", "JPEG")

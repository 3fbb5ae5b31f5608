"""Corruptions at five severities: those that fit the domain of the images, or those of a published benchmark."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, field_validator, model_validator
from torch import Tensor

from snellen.auditing.checks.corrupted_sets import measured_sets
from snellen.auditing.checks.corruption_reference import benchmark_of, check_reference, find_reference, reference_notes
from snellen.auditing.checks.damage_findings import DamageFindings, unseen
from snellen.auditing.checks.family_words import not_compared_note
from snellen.auditing.checks.fitting_kinds import fit_note, fit_panel, named_kinds
from snellen.auditing.checks.guessed_domain import guess_domain
from snellen.checks.check import Batch, CheckInput, CheckResult, Several
from snellen.checks.eye_chart import Column
from snellen.checks.per_image import ABSENT
from snellen.checks.sampled import Sampled
from snellen.checks.strengths import (
    accuracy_at,
    chart_column,
    error_metrics,
    outcomes_by_kind,
)
from snellen.checks.usual_losses import UsualLoss, usual_losses
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, import_extra
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.methods.corruptions.benchmarks import (
    IMAGENET_C,
    OWN,
    SIZED,
    BenchmarkName,
    benchmark,
    same_strengths,
)
from snellen.methods.corruptions.corruption import Corruption
from snellen.methods.corruptions.domains import EVERYTHING, Domain, domain
from snellen.methods.corruptions.nrtk_kinds import NRTK_KINDS
from snellen.methods.corruptions.operators import MAX_SEVERITY
from snellen.metrics.corruption_error import Reference
from snellen.metrics.sweep import Transformation, measure

Severity = Annotated[float, Field(gt=0, le=MAX_SEVERITY)]

#: The domain is guessed from the images.
GUESS = "guess"


class CommonCorruptions(Sampled):
    """The kinds of damage that fit the domain of the images, at severities 1 to 5, or all of a published benchmark."""

    name: ClassVar[str] = "corruption"
    summary: ClassVar[str] = (
        "accuracy under noise, blur, weather, light and compression that fit the domain of the images"
    )
    several: ClassVar[Several | None] = "sides"
    needs: ClassVar = frozenset({"labels"})

    benchmark: BenchmarkName = Field(
        SIZED,
        description="whose kinds and strengths: sized, our own for images of any size, of the kinds that fit the "
        "domain; imagenet-c, bloodmnist …, as published",
    )
    domain: str = Field(
        GUESS,
        description="what the images are: photos, products, documents, satellite, industrial, medical:KIND, or all; "
        "guess: by the names of classes and the images",
    )
    guessed: bool = Field(False, description="whether the domain was guessed; the audit sets it")
    kinds: tuple[str, ...] = Field(
        (),
        description="which kinds or families; none named: those that fit the domain, or that the figures of a "
        "published benchmark average",
    )
    also: tuple[str, ...] = Field(
        (), description="kinds or families that are measured beside these, such as fog, weather or nrtk"
    )
    families: bool | None = Field(
        None,
        description="one finding for each family of kinds, or one for each kind; none: families with our strengths",
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

    @model_validator(mode="before")
    @classmethod
    def _strengths_that_go_with_it(cls, given: object) -> object:
        """The benchmark of a reference, or of a medical domain, where none is named."""
        if not isinstance(given, Mapping) or "benchmark" in given:
            return given
        if given.get("reference") is not None:
            return {**given, "benchmark": benchmark_of(find_reference(given["reference"]))}
        named = given.get("domain", GUESS)
        return given if named == GUESS else {**given, "benchmark": domain(str(named)).benchmark}

    @field_validator("kinds", "also", "severities")
    @classmethod
    def _once_each(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"each only once, got {values}")
        return values

    @model_validator(mode="after")
    def _known_kinds(self) -> CommonCorruptions:
        if self.domain != GUESS and self._fitted.benchmark != self.benchmark:
            raise InputError(
                f"the domain {self.domain} has the strengths {self._fitted.benchmark}, and the benchmark is "
                f"{self.benchmark}; leave one of them out"
            )
        named = (*self._named(self.kinds), *self._named(self.also))
        guessing = (self.domain, self.benchmark) == (GUESS, SIZED)
        self._check_reference(named if guessing else self.chosen)
        return self

    def _check_reference(self, kinds: Collection[str]) -> None:
        """Refuse a reference that was measured otherwise, or not under all of these kinds."""
        if self.reference is not None:
            check_reference(self.reference, kinds, self.model_dump(mode="json", exclude={"reference"}))

    @property
    def chosen(self) -> tuple[str, ...]:
        """The kinds that are measured; before the domain is known, all that any may have."""
        base = self._named(self.kinds)
        if not base:
            base = self._fitted.kinds if self.benchmark in OWN else benchmark(self.benchmark).main
        return tuple(dict.fromkeys((*base, *self._named(self.also))))

    @property
    def by_family(self) -> bool:
        """Whether a finding is one of a family."""
        return self.benchmark in OWN if self.families is None else self.families

    @property
    def _fitted(self) -> Domain:
        if self.domain != GUESS:
            return domain(self.domain)
        medical = self.benchmark.replace(f"{SIZED}-", "medical:")
        return domain(medical if self.benchmark in OWN and self.benchmark != SIZED else EVERYTHING)

    def _named(self, names: tuple[str, ...]) -> tuple[str, ...]:
        return named_kinds(names, benchmark(self.benchmark), self._fitted)

    def seeing(self, images: ImageSet, classifier: Classifier) -> CommonCorruptions:
        """The same check with the domain of the images, where none is declared.

        Raises:
            InputError: the reference was measured otherwise than this domain is, or no kind of NRTK is for it.
            MissingExtraError: kinds of NRTK are named, and the package is not installed.
        """
        check = self
        if self.domain == GUESS and self.benchmark == SIZED:
            named = domain(guess_domain(images, classifier.class_names).domain)
            check = self.model_copy(update={"domain": named.name, "benchmark": named.benchmark, "guessed": True})
        check._check_reference(check.chosen)
        if set(check.chosen) & NRTK_KINDS.keys():
            import_extra("nrtk", "nrtk", "damage by NRTK")
        return check

    def _notes(self, classifier: Classifier) -> tuple[str, ...]:
        """Whose strengths these are, for which size, and which of the kinds were trained on."""
        size = classifier.preparation.size
        if self.benchmark in OWN:
            of = "" if size is None else f" of {size[1]} × {size[0]} pixels"
            lines = [
                f"Severities 1 to 5 are the audit's own, for images{of}: blurs and losses of resolution act at any "
                f"size. --set corruption.benchmark=imagenet-c (or a set of MedMNIST-C) takes published strengths."
            ]
        else:
            lines = [f"Corruptions are those of {self.benchmark}; severities 1 to 5 are those of its published tables."]
            if size is not None and (unpublished := [kind for kind in self.chosen if not self._published(kind, size)]):
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

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Accuracy by kind and severity; one hypothesis for each family or kind: it costs no accuracy."""
        own, chosen = self.benchmark in OWN, benchmark(self.benchmark)
        outcomes = outcomes_by_kind(reading.evidence, reading.images, self.chosen, self.severities)
        accuracies = {
            f"corruption.{kind}.{severity:g}.accuracy": accuracy_at(rows, reading.images.units)
            for kind, by_severity in outcomes.items()
            for severity, rows in sorted(zip(self.severities, by_severity, strict=True), key=lambda pair: pair[0])
            if (rows != ABSENT).any()
        }
        errors = error_metrics(reading.images, outcomes, balanced=chosen.balanced, reference=self.reference)
        usual = self._usual(reading)
        columns = self._columns(reading, outcomes)
        damage = DamageFindings(reading, outcomes, self.severities, usual, self.examples)
        acuities = {column.name: column.acuity for column in columns}
        return CheckResult(
            metrics={**accuracies, **errors},
            hypotheses=damage.of_families(chosen.families, self._fitted, acuities)
            if self.by_family
            else damage.of_kinds(),
            columns=columns,
            panels=[fit_panel(self._fitted, chosen, self.chosen, self.name)] if own else [],
            sight=[lambda alpha: unseen(reading.images, outcomes, alpha, self._rivals(outcomes))],
            notes=(
                *([fit_note(self._fitted, self.chosen, self._why(reading))] if own else []),
                *self._notes(reading.classifier),
                *not_compared_note([kind for kind in outcomes if kind not in usual]),
                *([] if self.reference is None else reference_notes(self.reference, errors, reading.data)),
                *self.sampling_notes(reading),
            ),
        )

    def _rivals(self, kinds: Collection[str]) -> Mapping[str, int]:
        """How many measured kinds share the hypothesis of each: all of its family, or itself alone."""
        if not self.by_family:
            return dict.fromkeys(kinds, 1)
        chosen = benchmark(self.benchmark)
        return {kind: len(chosen.of_subject(chosen.family(kind), tuple(kinds))) for kind in kinds}

    def _columns(self, reading: CheckInput, outcomes: Mapping[str, NDArray[np.int8]]) -> list[Column]:
        """One column of the eye chart for each kind."""
        found = [chart_column(kind, self.name, rows, self.severities, reading) for kind, rows in outcomes.items()]
        return [one for one in found if one is not None]

    def _why(self, reading: CheckInput) -> str | None:
        """Why the domain was guessed; None where it was declared."""
        if not self.guessed:
            return None
        if reading.audited is None:
            return "by the names of classes and the images"
        guess = guess_domain(reading.audited, reading.names)
        return guess.why if guess.domain == self.domain else "from all images that were given"

    def _usual(self, reading: CheckInput) -> Mapping[str, UsualLoss]:
        """What healthy classifiers of like images lose, by kind; not known of other strengths than the published."""
        given = (sorted(self.severities), self.strict, self.parity, self.textures)
        size = reading.classifier.preparation.size
        if given != ([1, 2, 3, 4, 5], False, False, None) or size is None or reading.audited is None:
            return {}
        if self.benchmark not in (IMAGENET_C, SIZED):
            return {}
        found: dict[str, UsualLoss] = {}
        for measured in dict.fromkeys((IMAGENET_C, self.benchmark)):
            known = usual_losses(min(size), reading.audited, measured)
            alike = {
                side: same_strengths(self.benchmark, min(size), measured, side)
                for side in {one.side for one in known.values()}
            }
            found |= {kind: one for kind, one in known.items() if kind in alike[one.side]}
        return found

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

"""One attribute of the object is changed and its pixels are not: size, place, direction, how busy its background is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from torch import Tensor

from snellen.checks.check import Batch, Check, CheckFigure, CheckInput, CheckResult, Companion, LackedSetting
from snellen.checks.eye_chart import Column
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.per_image import ABSENT, RIGHT, confident_mistakes
from snellen.checks.strengths import accuracy_at, chart_column, outcomes_by_kind
from snellen.core.classifier import Classifier
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.methods.edits.masked_object import Fill, Parts
from snellen.metrics.sweep import measure, setting_name
from snellen.models.diffusion.loading import load_generator
from snellen.models.segmenters.object_masks import fitting_segmenter
from snellen.systems.attribute_editing.attribute_loss import CONTROL, AttributeLosses, edits_panel, worst_panel
from snellen.systems.attribute_editing.edited_batch import EditedBatch
from snellen.systems.attribute_editing.method import AttributeEditing
from snellen.systems.attribute_editing.published import SETTINGS, Kind

#: Setting of the rows of images without a known object.
OBJECT = "object"

#: Words of an attribute in titles.
WORDS = {
    "size": "The size of the object",
    "position": "The place of the object",
    "direction": "The direction of the object",
    "background": "How busy or plain the background is",
}


class Attributes(Check):
    """Right decisions that are lost when an object is resized, moved or turned before its own background.

    The background is the image's own, with the object taken out and the hole filled; the object is put back changed.
    What that costs by itself is measured by the control ``inver``, which puts it back as it was: harm is what is lost
    beyond the control, of the same images. An image that one edit cannot be made of counts in none. With ``generator``
    backgrounds are painted by a diffusion model, and made plainer and busier as well. Backgrounds of other images are
    the matter of the check ``background``.
    """

    name: ClassVar[str] = "attributes"
    summary: ClassVar[str] = (
        "whether decisions change with an object's size, place or direction (where masks or a segmenter are given)"
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    share: float = Field(0.5, gt=0, le=1, description="share of the images that are looked at, drawn by their ids")
    kinds: tuple[Kind, ...] = Field(
        (), description="which edits; none named: all of size, place and direction, and of backgrounds with a generator"
    )
    severities: tuple[Annotated[float, Field(gt=0, le=5)], ...] = Field(
        (5,), min_length=1, description="how far each edit goes, in (0, 5]; 5 is the published edit"
    )
    segmenter: str | None = Field(
        None, description="reference of a segmenter in place of masks (isnet:FILE.onnx, hf:FOLDER, bundled:scene-sam)"
    )
    generator: str | None = Field(
        None, description="reference of the diffusion model that paints backgrounds; none: copy and paste"
    )
    steps: int = Field(100, ge=1, description="steps of the diffusion model's schedule")
    made: int = Field(25, ge=1, description="how many of them, the last ones, are made")
    fill: Fill = Field("moved", description="how the object is taken out of its background")
    ring: float = Field(
        0.05, ge=0, lt=1, description="width of what is taken out around an object with it, of the image's longer side"
    )
    parts: Parts = Field("largest", description="of several parts of a mask, the largest is the object, or all are")
    examples: int = Field(5, ge=0, description="pictures for each finding")

    @field_validator("kinds", "severities")
    @classmethod
    def _once_each(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"each only once, got {values}")
        return values

    @field_validator("severities")
    @classmethod
    def _ascending(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(sorted(values))

    @model_validator(mode="after")
    def _possible(self) -> Attributes:
        for kind in self.kinds:
            if kind == CONTROL:
                raise ValueError(f"{CONTROL} is the control, and is always measured")
            if kind == "random_background":
                raise ValueError("backgrounds of other images are the matter of the check background")
            if SETTINGS[kind].adversarial:
                raise ValueError(f"{kind} searches with the gradients of a model, and is no attribute of images")
            lacking = self.editing(kind).missing()
            if lacking is not None:
                raise ValueError(f"{lacking} (--set {self.name}.generator=bundled:scene-painter)")
        return self

    @property
    def chosen(self) -> tuple[Kind, ...]:
        """The edits that are measured beside the control."""
        return self.kinds or tuple(
            setting.kind
            for setting in SETTINGS.values()
            if setting.in_mean
            and not setting.adversarial
            and setting.kind != "random_background"
            and (self.generator is not None or not setting.guided)
        )

    def editing(self, kind: Kind) -> AttributeEditing:
        """One edit."""
        return AttributeEditing(
            kind=kind, generator=self.generator, steps=self.steps, made=self.made, fill=self.fill, parts=self.parts
        )

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why it cannot run: without masks nobody knows what the object is."""
        masked = any(mask is not None for mask in images.column("mask"))
        if self.segmenter is None and not masked:
            return LackedSetting(
                f"needs to know where the objects are, and {images.name} has no masks (column mask); give them, or a "
                f"segmenter: --set {self.name}.segmenter=isnet:FILE.onnx",
                "segmenter",
            )
        return super().missing(classifier, images, companions)

    def resolved(self, classifier: Classifier) -> Attributes:
        """As it is; a segmenter or a generator that cannot be used raises now, and not in the first batch."""
        if self.segmenter is not None:
            fitting_segmenter(self.segmenter, classifier.device)
        if self.generator is not None:
            load_generator(self.generator)
        return self

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        attributes = dict.fromkeys(SETTINGS[kind].attribute for kind in self.chosen)
        return self._names(
            *(f"{kind}.{severity:g}.accuracy" for kind in (CONTROL, *self.chosen) for severity in self.severities),
            *(f"{attribute}.lost" for attribute in attributes),
        )

    def cost(self) -> float:
        """A pass for the control and each edit at each severity, of the share that is drawn, and as much again.

        With copy and paste 13 passes in all with EfficientNet-Lite0 at 224 pixels, 6 of them for making the seven
        edits; 60 with a network as small as ``bundled:scene-cnn`` at 32. Each step of a generator counts as a pass, and
        as three where it is guided.
        """
        kinds = (CONTROL, *self.chosen)
        painted = sum(self.made * (3 if SETTINGS[kind].guided else 1) for kind in kinds) if self.generator else 0
        return self.share * len(self.severities) * (2 * len(kinds) + painted)

    def measure(self, batch: Batch) -> Evidence | None:
        """Prediction and confidence of each drawn image under the control and every edit."""
        if batch.originals is None:
            return None
        drawn = batch.rng.child(self.name).uniform("share", ()) < self.share
        looked = batch.take((drawn & (batch.labels.cpu() >= 0)).nonzero().flatten())
        if not looked.ids:
            return None
        found = EditedBatch.of(looked, self.editing(CONTROL), self.segmenter, self.ring)
        refused = Evidence.of(
            [key for key, _ in found.refused],
            setting=OBJECT,
            model=batch.classifier.name,
            status="skipped",
            reason=[why for _, why in found.refused],
        )
        part = found.part
        if part is None:
            return refused
        edits = {kind: found.transformation(self.editing(kind)) for kind in (CONTROL, *self.chosen)}
        return Evidence.merge(
            [
                refused,
                *(
                    measure(
                        [part.classifier],
                        part.images,
                        part.labels,
                        name=kind,
                        transformation=edit,
                        strengths=self.severities,
                        ids=part.ids,
                        unit_ids=part.unit_ids,
                        rng=part.rng.child(self.name),
                        validity=edit.validity,
                        neutral_scores={part.classifier.name: part.scores},
                    )
                    for kind, edit in edits.items()
                ),
            ]
        )

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Accuracy under each edit; one hypothesis for each attribute: it costs nothing beyond the editing itself."""
        outcomes = outcomes_by_kind(reading.evidence, reading.images, (CONTROL, *self.chosen), self.severities)
        losses = AttributeLosses.of(reading.images, outcomes)
        notes = self._notes(reading, losses)
        if losses is None:
            return CheckResult(notes=notes)
        worst, lost_by = losses.worst(self._confidences(losses, reading)), losses.lost_by()
        return CheckResult(
            metrics=self._metrics(losses),
            hypotheses=[
                Hypothesis(
                    losses.lost(attribute).p_value(),
                    losses.lost(attribute).lower,
                    partial(self._finding, attribute, losses, reading),
                )
                for attribute in losses.attributes
            ],
            columns=self._columns(losses, outcomes, reading),
            panels=[
                edits_panel(self.name, losses, self.severities[-1]),
                worst_panel(self.name, losses, worst, lost_by),
            ],
            lists={
                self.name: [
                    {"id": key, "right": bool(right), "worst": which, "lost_by": list(by), **lost}
                    for key, right, which, by, lost in zip(
                        losses.known.ids, losses.known.correct, worst, lost_by, losses.by_image(), strict=True
                    )
                ]
            },
            notes=notes,
        )

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The images under the worst edit of the attribute."""
        if batch.originals is None:
            return None
        kind = next((one for one in self.chosen if one == finding.facts["worst_edit"]), None)
        if kind is None:
            return None
        found = EditedBatch.of(batch, self.editing(kind), self.segmenter, self.ring)
        if found.part is None or len(found.part.ids) < len(batch.ids):
            return None
        edit = found.transformation(self.editing(kind))
        return edit(batch.images, self.severities[-1], batch.rng.child(self.name))

    def _confidences(self, losses: AttributeLosses, reading: CheckInput) -> dict[str, NDArray[np.float64]]:
        """Of the decisions under each edit at the largest severity; under the control's name, of the unedited ones."""
        known, last = losses.known, self.severities[-1]
        found: dict[str, NDArray[np.float64]] = {
            CONTROL: np.full(len(known), np.nan) if known.confidence is None else known.confidence
        }
        for kind in self.chosen:
            found[kind] = reading.images.decisions(reading.evidence, setting_name(kind, last))[1][losses.paired]
        return found

    def _metrics(self, losses: AttributeLosses) -> dict[str, CheckFigure]:
        found = {}
        for kind, rows in losses.right.items():
            for severity, right in zip(self.severities, rows, strict=True):
                at = accuracy_at(np.where(right, RIGHT, 0).astype(np.int8), losses.known.units)
                found[f"{self.name}.{setting_name(kind, severity)}.accuracy"] = at
        for attribute in losses.attributes:
            found[f"{self.name}.{attribute}.lost"] = losses.lost_measured(losses.kinds_of(attribute))
        return found

    def _columns(
        self, losses: AttributeLosses, outcomes: Mapping[str, NDArray[np.int8]], reading: CheckInput
    ) -> list[Column]:
        """One column of the eye chart for each attribute: that of its edit which costs most."""
        found = []
        for attribute in losses.attributes:
            worst = min(losses.kinds_of(attribute), key=lambda kind: float(losses.right[kind].mean()))
            found.append(chart_column(worst, self.name, outcomes[worst], self.severities, reading))
        # Of a single severity there is no scale along which sight ends somewhere.
        ends = {} if len(self.severities) > 1 else {"acuity": None}
        return [one.model_copy(update=ends) for one in found if one is not None]

    def _notes(self, reading: CheckInput, losses: AttributeLosses | None) -> list[str]:
        table = reading.evidence.table
        skipped = [
            (key, why)
            for key, why, status in zip(
                table["example_id"].to_pylist(), table["reason"].to_pylist(), table["status"].to_pylist(), strict=True
            )
            if status in ("skipped", "invalid")
        ]
        told = []
        if skipped:
            first = dict(reversed(skipped))
            common = Counter(first.values()).most_common(1)[0][0]
            told.append(
                f"Attributes: {len(first)} of the drawn images count in no figure, because an edit cannot be made of "
                f"them; most often: {common}."
            )
        if losses is None and not skipped:
            told.append("Attributes: of so few images none was drawn; raise attributes.share.")
        return told

    def _finding(self, attribute: str, losses: AttributeLosses, reading: CheckInput, harm: float) -> Finding:
        kinds = losses.kinds_of(attribute)
        worst = min(kinds, key=lambda kind: float(losses.right[kind].mean()))
        beyond, last = losses.lost_measured(kinds), self.severities[-1]
        decided, sure = reading.images.decisions(reading.evidence, setting_name(worst, last))
        return Finding(
            kind="attribute",
            subject=attribute,
            harm=harm,
            p_value=losses.lost(attribute).p_value(),
            title=f"{WORDS[attribute]} costs {100 * beyond.value:.1f} points of accuracy beyond what editing does",
            facts={
                "images": len(losses.known),
                "accuracy_unedited": float(losses.known.correct.mean()),
                "accuracy_control": float(losses.right[CONTROL].mean()),
                "mean_lost": beyond.value,
                "mean_lost_low": beyond.low,
                "mean_lost_high": beyond.high,
                "worst_edit": worst,
                "worst_accuracy": float(losses.right[worst][-1].mean()),
                **{f"drop_{kind}": losses.drop(kind).drop for kind in kinds},
            },
            examples=confident_mistakes(
                reading.images,
                reading.names,
                self.examples,
                predictions=np.where(reading.images.correct & losses.paired, decided, ABSENT),
                confidence=sure,
            ),
        )

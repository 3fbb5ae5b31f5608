"""Nuisances of continuous strength: the audited scenes drawn again, or the classes generated under words of a user."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field, ValidationError, field_validator
from torch import Tensor

from snellen.checks.check import Batch, Check, CheckFigure, CheckInput, CheckResult, Companion, LackedSetting
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.per_image import ABSENT, confident_mistakes
from snellen.checks.strengths import chart_column, outcomes_by_kind
from snellen.checks.usual_losses import UsualLoss, healthy_fact, healthy_words, usual_losses
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError, SnellenError
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.data.worlds.optotypes.factors import NUISANCES, Nuisance
from snellen.data.worlds.optotypes.nuisances import STRONGEST
from snellen.metrics.sweep import Transformation, measure, setting_name
from snellen.systems.continuous_nuisance.generated_conclusion import concluded
from snellen.systems.continuous_nuisance.generated_trajectories import TrajectoryPlan
from snellen.systems.continuous_nuisance.method import ContinuousNuisance
from snellen.systems.continuous_nuisance.nuisance_loss import (
    NuisanceLoss,
    loss_panels,
    lost_by_image,
    nuisance_loss,
)
from snellen.systems.continuous_nuisance.presets import Preset
from snellen.systems.continuous_nuisance.redrawn_scenes import Redrawn, has_scenes, prepared, redrawable, worsened
from snellen.systems.continuous_nuisance.strengths import PUBLISHED

#: Setting of the rows that say which images could not be drawn again.
SCENE = "scene"


class NuisanceCheck(Check):
    """Scenes whose records are known, drawn again with more and more of one nuisance and nothing else changed.

    Only images whose record draws the very picture are used, so that what was planted in them or done to them since is
    never taken away unnoticed. A scene that has some of a nuisance already has at least that much of it.

    With a ``generator``, objects of the model's classes are generated under shifts of any words at rising strength, and
    filtered (CNS-Bench, :class:`snellen.systems.continuous_nuisance.method.ContinuousNuisance`): once, at the end of an
    audit, in one process. The results hold for generated images and not for the audited ones.
    """

    name: ClassVar[str] = "nuisance"
    summary: ClassVar[str] = "at which strength of a nuisance decisions fail (scenes of optotypes, or a generator)"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    share: float = Field(0.25, gt=0, le=1, description="share of the images that are looked at, drawn by their ids")
    nuisances: tuple[Nuisance, ...] = Field(NUISANCES, min_length=1, description="which nuisances of scenes")
    strengths: tuple[Annotated[float, Field(gt=0, le=STRONGEST)], ...] = Field(
        (1, 2, 3, 4, 5), min_length=1, description="which strengths of them, in (0, 5]"
    )
    examples: int = Field(5, ge=0, description="pictures for each finding")
    generator: str | None = Field(
        None, description="diffusers:FOLDER or bundled:scene-diffusion: the model's classes are generated, too"
    )
    concept: tuple[str, ...] = Field((), description="shifts to generate: words (fog), or NAME=WORDS")
    sliders: str = Field("", description="folder of the sliders; trained and written there where they are missing")
    seeds: int = Field(5, ge=1, description="generated things of each class")
    grid: tuple[float, ...] = Field(PUBLISHED, description="strengths of generated shifts, ascending from 0")
    text_image: str | None = Field(None, description="text-image model of the filter of generated images")
    second_encoder: str | None = Field(None, description="second encoder of that filter")
    avoid: Path | None = Field(
        None, description="folder of snellen scan generator: what it found to fail is not generated"
    )
    preset: Preset | None = Field(
        None, description="imagenet: settings, shifts and thresholds of generated images are the published ones"
    )

    @field_validator("nuisances", "strengths")
    @classmethod
    def _once_each(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"each only once, got {values}")
        return values

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why it cannot run: nobody knows how these images would look under a nuisance."""
        if self.generator is not None and classifier.task in self.tasks:
            try:
                self._trajectory_plan(classifier)
            except SnellenError as error:
                return str(error)
            return super().missing(classifier, images, companions) if has_scenes(images) else None
        if not has_scenes(images):
            return LackedSetting(
                f"draws scenes again, and {images.name} has no records of scenes (column attributes, as in "
                f"optotypes:scenes); or give a generator: --set nuisance.generator=diffusers:FOLDER",
                "generator",
            )
        return super().missing(classifier, images, companions)

    def cost(self) -> float:
        """One pass for each nuisance and strength, of the share that is drawn; drawing costs a quarter of one.

        Generated images are of the model and not of each audited image, and are not counted here.
        """
        return 1.25 * self.share * len(self.nuisances) * len(self.strengths)

    def measure(self, batch: Batch) -> Evidence | None:
        """Prediction and confidence of each drawn image at each strength of each nuisance."""
        if batch.originals is None:
            return None
        part = batch.take((self._draws(batch) & (batch.labels.cpu() >= 0)).nonzero().flatten())
        if not part.ids or part.originals is None:
            return None
        found = redrawable(part.originals)
        known = [row for row, one in enumerate(found) if isinstance(one, Redrawn)]
        lost = [(part.ids[row], one) for row, one in enumerate(found) if isinstance(one, str)]
        measured = []
        if lost:
            measured.append(
                Evidence.of(
                    [key for key, _ in lost],
                    setting=SCENE,
                    model=batch.classifier.name,
                    status="skipped",
                    reason=[why for _, why in lost],
                )
            )
        if known:
            scenes = [one for one in found if isinstance(one, Redrawn)]
            part = part.take(torch.tensor(known))
            measured += [
                measure(
                    [part.classifier],
                    part.images,
                    part.labels,
                    name=nuisance,
                    transformation=_redrawing(scenes, nuisance, part.classifier),
                    strengths=self.strengths,
                    ids=part.ids,
                    unit_ids=part.unit_ids,
                    rng=part.rng.child(nuisance),
                    neutral_scores={part.classifier.name: part.scores},
                )
                for nuisance in self.nuisances
            ]
        return Evidence.merge(measured)

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Accuracy by nuisance and strength, failure points; one hypothesis each: it costs no accuracy."""
        drawn = self._of_scenes(reading) if self._read_scenes(reading) else CheckResult()
        if self.generator is None:
            return drawn
        made = self._trajectory_plan(reading.classifier).generate(reading.classifier, reading.rng.seed)
        found = concluded(made, self.name, self.generator, reading.classifier, pictured=reading.pictured)
        return CheckResult(
            metrics={**drawn.metrics, **found.metrics},
            hypotheses=[*drawn.hypotheses, *found.hypotheses],
            columns=drawn.columns,
            panels=[*drawn.panels, *found.panels],
            lists={**drawn.lists, **found.lists},
            pictures=found.pictures,
            notes=[*drawn.notes, *found.notes],
        )

    def _read_scenes(self, reading: CheckInput) -> bool:
        """Whether scenes are to be reported: not for photographs, whose user requested generated images alone."""
        return self.generator is None or reading.audited is None or has_scenes(reading.audited)

    def _trajectory_plan(self, classifier: Classifier) -> TrajectoryPlan:
        """What is to be generated; see :meth:`TrajectoryPlan.of` for what it refuses."""
        given = {"text_image": self.text_image, "second_encoder": self.second_encoder}
        said: dict[str, Any] = {name: reference for name, reference in given.items() if reference is not None}
        said |= {"concept": self.concept} if self.concept else {}
        try:
            method = ContinuousNuisance(
                generator=str(self.generator), sliders=self.sliders, strengths=self.grid,
                device=str(classifier.device), avoid=self.avoid, **said,
            )  # fmt: skip
        except ValidationError as error:
            raise InputError("; ".join(str(one["msg"]) for one in error.errors())) from error
        return TrajectoryPlan.of(method, classifier, seeds=self.seeds, examples=self.examples, preset=self.preset)

    def _of_scenes(self, reading: CheckInput) -> CheckResult:
        known = reading.images
        outcomes = outcomes_by_kind(reading.evidence, known, self.nuisances, self.strengths)
        losses: dict[str, NuisanceLoss] = {}
        for nuisance in self.nuisances:
            loss = nuisance_loss(known, outcomes[nuisance], self.strengths)
            if loss is not None:
                losses[nuisance] = loss
        usual = self._usual(reading)
        columns = [
            chart_column(f"{SCENE}_{nuisance}", self.name, outcomes[nuisance], self.strengths, reading)
            for nuisance in losses
        ]
        return CheckResult(
            metrics=self._metrics(losses),
            hypotheses=[
                Hypothesis(
                    loss.lost.drop.p_value(), loss.lost.drop.lower, partial(self._finding, name, loss, usual, reading)
                )
                for name, loss in losses.items()
            ],
            columns=[one for one in columns if one is not None],
            panels=loss_panels(
                losses,
                self.strengths,
                check=self.name,
                title="The same scenes under a nuisance",
                about="Strength 0 is the scene as it is.",
            ),
            lists={self.name: lost_by_image(known, losses, outcomes)} if losses else {},
            notes=self._notes(losses, reading),
        )

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The scenes at the worst strength."""
        found = [] if batch.originals is None else redrawable(batch.originals)
        scenes = [one for one in found if isinstance(one, Redrawn)]
        if not scenes or len(scenes) < len(found) or finding.subject not in self.nuisances:
            return None
        strength = float(finding.facts["worst_strength"])
        return _redrawing(scenes, finding.subject, batch.classifier)(batch.images, strength, batch.rng)

    def _draws(self, batch: Batch) -> Tensor:
        """Which images of a batch are used, bool (n,)."""
        return batch.rng.child(self.name).uniform("share", ()) < self.share

    def _metrics(self, losses: Mapping[str, NuisanceLoss]) -> dict[str, CheckFigure]:
        return {
            f"{self.name}.{nuisance}.{name}": figure
            for nuisance, loss in losses.items()
            for name, figure in loss.metrics(self.strengths).items()
        }

    def _usual(self, reading: CheckInput) -> Mapping[str, UsualLoss]:
        """What healthy classifiers lose in scenes of like size; not known of other strengths than the default."""
        size = reading.classifier.preparation.size
        if sorted(self.strengths) != [1, 2, 3, 4, 5] or size is None or reading.audited is None:
            return {}
        return usual_losses(min(size), reading.audited, self.name)

    def _notes(self, losses: Mapping[str, NuisanceLoss], reading: CheckInput) -> list[str]:
        skipped = reading.evidence.where(setting=SCENE).table["reason"].to_pylist()
        told = [
            f"Nuisance: {skipped.count(why)} images count in no figure: {why}."
            for why in sorted({str(one) for one in skipped})
        ]
        if not losses:
            told.append("Nuisance: of so few images none was drawn; raise nuisance.share.")
        return told

    def _finding(
        self, nuisance: str, loss: NuisanceLoss, known: Mapping[str, UsualLoss], reading: CheckInput, harm: float
    ) -> Finding:
        images, worst, usual = reading.images, self.strengths[loss.lost.worst], known.get(nuisance)
        decided, sure = images.decisions(reading.evidence, setting_name(nuisance, worst))
        return Finding(
            kind="nuisance",
            subject=nuisance,
            harm=harm,
            usual=0.0 if usual is None else usual.high,
            p_value=loss.lost.drop.p_value(),
            title=f"{nuisance.capitalize()} in the scene costs {100 * loss.lost.mean:.1f} points of accuracy on "
            f"average over the strengths{healthy_words(usual)}",
            facts={**loss.facts(nuisance, self.strengths), "healthy_classifiers": healthy_fact(usual)},
            examples=confident_mistakes(
                images,
                reading.names,
                self.examples,
                predictions=np.where(images.correct, decided, ABSENT),
                confidence=sure,
            ),
        )


def _redrawing(scenes: list[Redrawn], nuisance: Nuisance, classifier: Classifier) -> Transformation:
    """What draws these scenes again; of the images it takes the device alone."""

    def again(images: Tensor, strength: float, _rng: object) -> Tensor:
        drawn = [Redrawn(worsened(one.scene, nuisance, strength), one.side) for one in scenes]
        return prepared(drawn, classifier.preparation).to(images)

    return again

"""Models that decide each pixel: mean overlap (mIoU) of the images as they are, by group, corrupted and attacked."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, field_validator
from torch import Tensor

from snellen.auditing.overlap_hypotheses import (
    FEWEST,
    guessing,
    of_classes,
    of_corruptions,
    of_groups,
    under_attack,
)
from snellen.auditing.overlap_rows import (
    GROUND,
    UNCHANGED,
    OverlapRows,
    overlap_evidence,
    overlap_panels,
    reasons_of,
    skipped_evidence,
)
from snellen.checks.check import Batch, CheckInput, CheckResult, Companion
from snellen.checks.sampled import Sampled
from snellen.core.classifier import Classifier, Task
from snellen.core.criterion import VOID
from snellen.core.errors import InputError, ModelError, RejectedImageError
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.core.outcomes import NOT_FINITE
from snellen.methods.attacks.cospgd import CosPGD
from snellen.methods.attacks.segpgd import SegPGD
from snellen.methods.corruptions.benchmarks import IMAGENET_C, benchmark
from snellen.methods.corruptions.corruption import Corruption
from snellen.metrics.segmentation import weighted_overlap
from snellen.metrics.sweep import setting_name
from snellen.models.segmenters.pixel_maps import Masks, PixelMaps

#: Kinds that move pixels, so that the map of the image is no longer that of the picture.
MOVING = frozenset({"elastic_transform"})

#: Images that are attacked, on average, where no share is given.
ATTACKED = 100


class Segmentation(Sampled):
    """mIoU of a segmenter: as it is, by class and group, under corruptions, and under SegPGD and CosPGD.

    Corruptions and attacks are measured on samples. An attack is an undeclared one: its figures say what a segmenter
    loses, and no harm is counted. Intervals are bootstraps of whole units.
    """

    name: ClassVar[str] = "segmentation"
    summary: ClassVar[str] = "overlap of a segmenter, clean, by group, corrupted and attacked (task segment)"
    one_label: ClassVar[str] = "it reads a class for each pixel"
    needs: ClassVar[frozenset[Need]] = frozenset({"masks"})
    tasks: ClassVar[frozenset[Task]] = frozenset({"segment"})
    by_default: ClassVar[bool] = False

    masks: Masks | None = Field(
        None,
        description="what masks hold; none: object where images have labels. Object: the object of the image's class, "
        "before the class named background, else the first one. Class: the number of a class in each pixel, 255 where "
        "none is known",
    )
    kinds: tuple[str, ...] = Field(
        (), description="which corruptions of ImageNet-C; none named: all but those that move pixels"
    )
    severities: tuple[Annotated[float, Field(gt=0, le=5)], ...] = Field(
        (1, 3, 5), min_length=1, description="which severities, in (0, 5]"
    )
    epsilons: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (2 / 255, 8 / 255), description="largest change of a pixel by attacks, in [0, 1]; none: no attack"
    )
    steps: int = Field(10, ge=1, description="of the attacks")
    attacked: float | None = Field(
        None, gt=0, le=1, description="share of the corrupted images that are attacked; none: about a hundred images"
    )
    most: int | None = Field(500, ge=1, description="images that are corrupted at most, on average; none: no bound")
    examples: int = Field(5, ge=0, description="pictures for each finding")

    @field_validator("kinds", "severities", "epsilons")
    @classmethod
    def _once_each(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"each only once, got {values}")
        return values

    @field_validator("kinds")
    @classmethod
    def _known_kinds(cls, kinds: tuple[str, ...]) -> tuple[str, ...]:
        for kind in kinds:
            Corruption(kind=kind)
            if kind in MOVING:
                raise ValueError(f"{kind} moves pixels, so that masks no longer fit; leave it out")
        return kinds

    @property
    def chosen(self) -> tuple[str, ...]:
        """The kinds that are measured."""
        return self.kinds or tuple(kind for kind in benchmark(IMAGENET_C).main if kind not in MOVING)

    @property
    def attacks(self) -> dict[str, SegPGD | CosPGD]:
        """The attacks by setting."""
        return {
            setting_name(kind.name, round(epsilon * 255, 3)): kind(epsilon=epsilon, steps=self.steps)
            for epsilon in self.epsilons
            for kind in (SegPGD, CosPGD)
        }

    @property
    def concurrent(self) -> bool:
        """See :attr:`Check.concurrent`."""
        return True

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why it cannot run; without gradients the attacks alone are left out, with a note."""
        if self.masks == "object" and not images.has_labels:
            return f"needs labels that name the objects of the masks (masks=object), and {images.name} has none"
        if not any(images.column("mask")):
            return f"needs masks, and {images.name} brings none: a column mask, --masks FOLDER, or load_images(masks=…)"
        if self._values(images) == "object" and GROUND not in classifier.class_names:
            first, known = classifier.class_names[0], images.known_labels
            if (known == 0).any():
                return (
                    f"needs to know which class is the background. Masks are of objects, no class is named {GROUND}, "
                    f"and {first}, the first, is the class of images. Name it {GROUND}, or say that masks hold classes "
                    f"(--set {self.name}.masks=class)"
                )
        return super().missing(classifier, images, companions)

    def sized(self, images: int) -> Self:
        """See :meth:`Sampled.sized`; the share that is attacked is fixed here, too."""
        made = super().sized(images)
        if made.attacked is not None or not images:
            return made
        return made.model_copy(update={"attacked": min(1.0, ATTACKED / (made.share * images))})

    def cost(self) -> float:
        """One pass for each kind and severity, and three for each step of an attack."""
        attacks = (1.0 if self.attacked is None else self.attacked) * 3 * self.steps * len(self.attacks)
        return self.share * (1.25 * len(self.chosen) * len(self.severities) + attacks)

    def measure(self, batch: Batch) -> Evidence | None:
        """Pixels right, true and decided of each class, for each image and setting."""
        if batch.originals is None:
            return None
        maps, found, lost = list[Tensor](), list[int](), dict[int, str]()
        held = self._maps(batch.originals, batch.classifier)
        for row, pixels in enumerate(_bytes(batch.images)):
            try:
                maps.append(held.of(row, pixels))
                found.append(row)
            except RejectedImageError as error:
                lost[row] = str(error)
        parts = [skipped_evidence(batch, lost)] if lost else []
        if found:
            known, truth = batch.take(torch.tensor(found)), torch.stack(maps)
            if known.scores.shape[2:] != known.images.shape[2:]:
                given, wanted = ("x".join(map(str, one.shape[2:])) for one in (known.scores, known.images))
                raise ModelError(
                    f"{known.classifier.name} gives scores of {given} for images of {wanted} pixels; interpolate them "
                    f"to the size of the images"
                )
            parts.append(overlap_evidence(known, UNCHANGED, known.classifier.predict(known.scores), truth))
            draws = self.draws(known)
            chosen = (draws < self.share).nonzero().flatten()
            if len(chosen):
                parts += self._corrupted(known.take(chosen), truth[chosen.cpu()])
            chosen = (draws < self.share * (1.0 if self.attacked is None else self.attacked)).nonzero().flatten()
            if len(chosen) and known.classifier.differentiable:
                parts += self._attacked(known.take(chosen), truth[chosen.cpu()])
        return Evidence.merge(parts)

    def _values(self, images: ImageSet) -> Masks:
        """What masks of these images hold."""
        return self.masks or ("object" if images.has_labels else "class")

    def _maps(self, images: ImageSet, classifier: Classifier) -> PixelMaps:
        names = classifier.class_names
        return PixelMaps(
            images,
            classifier.preparation,
            masks=self._values(images),
            class_count=len(names),
            object_classes=range(len(names)),
            ground=names.index(GROUND) if GROUND in names else 0,
        )

    def _corrupted(self, batch: Batch, truth: Tensor) -> list[Evidence]:
        found = []
        for kind in self.chosen:
            made = Corruption(kind=kind)
            for severity in self.severities:
                images = made.shift(batch.images, severity, rng=batch.rng.child(kind))
                with torch.no_grad():
                    decided = batch.classifier.predict(batch.classifier(images))
                found.append(overlap_evidence(batch, setting_name(kind, severity), decided, truth))
        return found

    def _attacked(self, batch: Batch, truth: Tensor) -> list[Evidence]:
        found, labels = [], truth.to(batch.images.device)
        for setting, attack in self.attacks.items():
            try:
                scores = attack.attack(batch.classifier, batch.images, labels, rng=batch.rng.child("starts")).scores
            except ModelError:  # not one image of this batch can be attacked; others may be
                found.append(skipped_evidence(batch, dict.fromkeys(range(len(batch.ids)), NOT_FINITE), setting))
                continue
            found.append(overlap_evidence(batch, setting, batch.classifier.predict(scores), truth))
        return found

    def conclude(self, reading: CheckInput) -> CheckResult:
        """MIoU everywhere; hypotheses: it is above guessing, no class or group is worse, no kind costs any."""
        rows, why = OverlapRows.of(reading, self.name), reasons_of(reading.evidence)
        if rows is None:
            return CheckResult(skipped=f"no image has a mask that can be used{why}")
        if rows.units_in(rows.everywhere) < FEWEST:
            return CheckResult(
                skipped=f"needs {FEWEST} images (of different units, where these are known) with a usable mask; there "
                f"are {rows.units_in(rows.everywhere)}{why}"
            )
        classes = of_classes(rows, reading.names, examples=self.examples)
        groups = of_groups(rows, examples=self.examples)
        corrupted, lines = of_corruptions(rows, self.chosen, self.severities)
        attacked, findings = under_attack(rows, [(setting, _words(attack)) for setting, attack in self.attacks.items()])
        figures = {
            "miou": rows.figure(weighted_overlap(rows.parts), rows.everywhere),
            **classes.figures,
            **groups.figures,
            **attacked,
            **corrupted.figures,
        }
        return CheckResult(
            metrics={f"{self.name}.{name}": figure for name, figure in figures.items()},
            hypotheses=[
                guessing(rows, reading.names, examples=self.examples),
                *classes.hypotheses,
                *groups.hypotheses,
                *corrupted.hypotheses,
            ],
            findings=findings,
            panels=overlap_panels(rows, reading.names, lines, check=self.name),
            lists={self.name: rows.listed(reading.names)},
            notes=self._notes(rows, reading),
        )

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The images with wrong pixels in red."""
        if batch.originals is None:
            return None
        held, made = self._maps(batch.originals, batch.classifier), batch.images.clone()
        decisions = batch.classifier.predict(batch.scores).cpu()
        for row, (pixels, decided) in enumerate(zip(_bytes(batch.images), decisions, strict=True)):
            try:
                truth = held.of(row, pixels)
            except (RejectedImageError, InputError):
                continue
            wrong = ((decided != truth) & (truth != VOID)).to(made.device)
            red = torch.tensor([1.0, 0.0, 0.0], device=made.device)[:, None, None]
            made[row] = torch.where(wrong, 0.4 * made[row] + 0.6 * red, made[row])
        return made

    def _notes(self, rows: OverlapRows, reading: CheckInput) -> list[str]:
        notes = [
            "Segmentation: figures are overlaps (IoU, of several classes their mean), with bootstrap intervals. Harm "
            "is the lower bound of a loss of mIoU; that of a class or group is multiplied by its share."
        ]
        why = reasons_of(reading.evidence)
        if why:
            lost = len(reading.evidence.where(setting=UNCHANGED, status="skipped").table)
            notes.append(f"Segmentation: {lost} images count in no figure{why}.")
        if self.epsilons and not reading.classifier.differentiable:
            notes.append(f"Segmentation: {reading.classifier.name} has no gradients, so that it was not attacked.")
        corrupted = int(rows.at(setting_name(self.chosen[0], self.severities[0]))[0].sum())
        if corrupted < len(rows.ids):
            notes.append(
                f"Segmentation: {corrupted:,} of {len(rows.ids):,} images were corrupted, drawn by their ids "
                f"(--set {self.name}.most, .share and .attacked change how many)."
            )
        return notes


def _bytes(images: Tensor) -> Tensor:
    """Images as they were prepared, uint8 on the CPU."""
    return (images * 255).round().to(torch.uint8).cpu()


def _words(attack: SegPGD | CosPGD) -> str:
    return f"{type(attack).__name__} with changes of {attack.epsilon * 255:g} of 255"

"""Models that decide each pixel: mean overlap (mIoU) of the images as they are, by group, corrupted and attacked."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch import Tensor

from snellen.auditing.overlap_rows import (
    GROUND,
    UNCHANGED,
    OverlapRows,
    compared_with,
    lost_hypothesis,
    overlap_evidence,
    overlap_panels,
    reasons_of,
    skipped_evidence,
)
from snellen.checks.check import Batch, Companion, Conclusion, Measured, Reading
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Line, Point
from snellen.checks.per_image import rows_of
from snellen.checks.sampled import Sampled
from snellen.core.classifier import Classifier, Task
from snellen.core.criterion import VOID
from snellen.core.errors import InputError, ModelError, RejectedImageError
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding, FindingExample
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

#: With fewer independent units a figure has no interval that can be trusted, and nothing is tested.
FEWEST = 20

#: Share of the way from one answer for all pixels to a perfect overlap below which a model counts as guessing.
SIGHT = 0.1


class Segmentation(Sampled):
    """mIoU of a segmenter: as it is, by class and group, under corruptions, and under SegPGD and CosPGD.

    Corruptions and attacks are measured on samples. An attack is an undeclared one: its figures say what a segmenter
    loses, and no harm is counted. Intervals are bootstraps of whole units.
    """

    name: ClassVar[str] = "segmentation"
    summary: ClassVar[str] = "overlap of a segmenter, clean, by group, corrupted and attacked (task segment)"
    needs: ClassVar[frozenset[Need]] = frozenset({"masks"})
    tasks: ClassVar[frozenset[Task]] = frozenset({"segment"})
    by_default: ClassVar[bool] = False

    masks: Masks | None = Field(
        None,
        description="what masks hold: object: the object of the image's class, before the class named background, else "
        "the first one; class: the "
        "number of a class in each pixel, 255 where none is known; none: object where images have labels",
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
    attacked: float = Field(0.2, gt=0, le=1, description="share of the corrupted images that are attacked as well")
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
                    f"needs to know which class is the background: masks are of objects, no class is named {GROUND}, "
                    f"and {first}, the first, is the class of images; name it {GROUND}, or say that masks hold classes "
                    f"(--set {self.name}.masks=class)"
                )
        return super().missing(classifier, images, companions)

    def cost(self) -> float:
        """One pass for each kind and severity, and three for each step of an attack."""
        attacks = self.attacked * 3 * self.steps * len(self.attacks)
        return self.share * (1.25 * len(self.chosen) * len(self.severities) + attacks)

    def measure(self, batch: Batch) -> Evidence | None:
        """Pixels right, true and decided of each class, for each image and setting."""
        if batch.originals is None:
            return None
        maps, found, lost = list[Tensor](), list[int](), dict[int, str]()
        held = self._maps(batch.originals, batch.classifier)
        for row in range(len(batch.ids)):
            pixels = (batch.images[row] * 255).round().to(torch.uint8).cpu()
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
            chosen = (draws < self.share * self.attacked).nonzero().flatten()
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

    def conclude(self, reading: Reading) -> Conclusion:
        """MIoU everywhere; hypotheses: it is above guessing, no class or group is worse, no kind costs any."""
        rows, why = OverlapRows.of(reading, self.name), reasons_of(reading.evidence)
        if rows is None:
            return Conclusion(skipped=f"no image has a mask that can be used{why}")
        if rows.units_in(rows.everywhere) < FEWEST:
            return Conclusion(
                skipped=f"needs {FEWEST} images (of different units, where these are known) with a usable mask; there "
                f"are {rows.units_in(rows.everywhere)}{why}"
            )
        metrics = {f"{self.name}.miou": rows.figure(weighted_overlap(rows.parts), rows.everywhere)}
        hypotheses = [self._guessing(rows, reading.names), *self._classes(rows, reading.names, metrics)]
        hypotheses += self._groups(rows, metrics)
        lines = list[Line]()
        for kind in self.chosen:
            hypotheses += self._kind(kind, rows, metrics, lines)
        findings = self._attacks_found(rows, metrics)
        return Conclusion(
            metrics=metrics,
            hypotheses=hypotheses,
            findings=findings,
            panels=overlap_panels(rows, reading.names, lines, check=self.name),
            lists={self.name: rows.listed(reading.names)},
            notes=self._notes(rows, reading),
        )

    def _guessing(self, rows: OverlapRows, names: tuple[str, ...]) -> Hypothesis:
        """That the model sees: of what mIoU can be above one answer for all pixels, it has at least a tenth."""
        total = rows.parts.sum(0)
        present = total[1] > 0
        constant = float(total[1].max() / total[1].sum() / present.sum())
        bar = constant + SIGHT * (1 - constant)
        found = rows.sample(weighted_overlap(rows.parts), rows.everywhere)
        return lost_hypothesis(
            bar - found.value,
            found.standard_error,
            found.units,
            1.0,
            kind="accuracy",
            title=f"mIoU of {found.value:.2f} is hardly above that of one answer for all pixels ({constant:.2f})",
            facts={"miou": found.value, "one_answer": constant, "mostly_decided": names[int(total[2].argmax())]},
            examples=self._examples(rows),
        )

    def _classes(self, rows: OverlapRows, names: tuple[str, ...], metrics: dict[str, Measured]) -> list[Hypothesis]:
        """One hypothesis for each class: its overlap is no smaller than the mean of the others, without background."""
        total, found = rows.parts.sum(0), list[Hypothesis]()
        for label in np.flatnonzero(total[1] > 0).tolist():
            name, own = names[label], weighted_overlap(rows.parts, label)
            try:
                metrics[f"{self.name}.class.{name}.iou"] = rows.figure(own, rows.everywhere)
                others = weighted_overlap(rows.parts[:, :, compared_with(label, names)])
                lost = rows.paired(others, own, rows.everywhere)
            except InputError:
                continue  # so few images show the class, or the others, that most resamples hold none
            found.append(
                lost_hypothesis(
                    lost.value,
                    lost.standard_error,
                    lost.units,
                    float(total[1, label] / total[1].sum()),
                    kind="worst_class",
                    subject=name,
                    title=f"{name} has an overlap of {own(np.ones(len(rows.ids))):.2f}, {lost.value:.2f} less than the "
                    f"mean of the other classes",
                    facts={"class": name, "images": int((rows.parts[:, 1, label] > 0).sum()), "lost": lost.value},
                    examples=self._examples(rows, rows.parts[:, 1, label] > 0),
                )
            )
        return found

    def _groups(self, rows: OverlapRows, metrics: dict[str, Measured]) -> list[Hypothesis]:
        """One hypothesis for each group: its mIoU is no smaller than that of the other images."""
        found = list[Hypothesis]()
        for group, members in rows_of(rows.groups).items():
            inside = np.isin(np.arange(len(rows.ids)), members)
            if min(rows.units_in(inside), rows.units_in(~inside)) < FEWEST:
                continue
            own, others = (rows.sample(weighted_overlap(rows.parts[held]), held) for held in (inside, ~inside))
            metrics[f"{self.name}.group.{group}.miou"] = rows.figure(weighted_overlap(rows.parts[inside]), inside)
            lost = others.value - own.value
            found.append(
                lost_hypothesis(
                    lost,
                    float(np.hypot(own.standard_error, others.standard_error)),
                    min(own.units, others.units),
                    float(inside.mean()),
                    kind="group_gap",
                    subject=group,
                    title=f"Group {group} has a mIoU of {own.value:.2f}, the others {others.value:.2f}",
                    facts={"group": group, "images": int(inside.sum()), "lost": lost},
                    examples=self._examples(rows, inside),
                )
            )
        return found

    def _kind(self, kind: str, rows: OverlapRows, metrics: dict[str, Measured], lines: list[Line]) -> list[Hypothesis]:
        """That a kind of corruption costs no mIoU on average over the severities; figures and curve on the way."""
        severities = sorted(self.severities)
        measured = [rows.at(setting_name(kind, severity)) for severity in severities]
        held = np.logical_and.reduce([known for known, _ in measured])
        if rows.units_in(held) < FEWEST:
            return []
        before = weighted_overlap(rows.parts[held])
        after = [weighted_overlap(parts[held]) for _, parts in measured]
        points = [Point(x=0, y=before(np.ones(int(held.sum()))))]
        for severity, statistic in zip(severities, after, strict=True):
            figure = metrics[f"{self.name}.corruption.{kind}.{severity:g}.miou"] = rows.figure(statistic, held)
            points.append(Point(x=severity, y=figure.value, low=figure.low, high=figure.high))
        lines.append(Line(name=kind, points=tuple(points)))

        def mean(weights: NDArray[np.float64]) -> float:
            return float(np.mean([statistic(weights) for statistic in after]))

        lost = rows.paired(before, mean, held)
        words = kind.replace("_", " ").capitalize().replace("Jpeg", "JPEG")
        return [
            lost_hypothesis(
                lost.value,
                lost.standard_error,
                lost.units,
                1.0,
                kind="corruption",
                subject=kind,
                title=f"{words} costs {100 * lost.value:.1f} points of mIoU on average over the severities",
                facts={"corruption": kind, "images": int(held.sum()), "lost": lost.value},
            )
        ]

    def _attacks_found(self, rows: OverlapRows, metrics: dict[str, Measured]) -> list[Finding]:
        """What attacks leave: facts without a test, and without harm, because nobody declared such a threat."""
        found = []
        for setting, attack in self.attacks.items():
            held, parts = rows.at(setting)
            if rows.units_in(held) < 2:
                continue
            own = rows.figure(weighted_overlap(rows.parts[held]), held)
            left = metrics[f"{self.name}.attack.{setting}.miou"] = rows.figure(weighted_overlap(parts[held]), held)
            if left.high < own.low:
                found.append(
                    Finding(
                        kind="adversarial",
                        subject=setting,
                        harm=0.0,
                        title=f"{type(attack).__name__} with changes of {attack.epsilon * 255:g} of 255 leaves a mIoU "
                        f"of {left.value:.2f}; clean it is {own.value:.2f}",
                        facts={"images": int(held.sum()), "miou": left.value, "clean_miou": own.value},
                        treatments=(
                            "train on attacked images: snellen train context-upsampling --adversarial-steps 3",
                        ),
                    )
                )
        return found

    def _examples(self, rows: OverlapRows, chosen: NDArray[np.bool_] | None = None) -> tuple[FindingExample, ...]:
        """Images with the fewest right pixels."""
        order = np.argsort(rows.right, kind="stable")
        held = order if chosen is None else order[chosen[order]]
        return tuple(
            FindingExample(
                example_id=rows.ids[row],
                caption=f"{rows.right[row]:.0%} of the pixels are right; wrong ones are red in the second picture",
            )
            for row in held[: self.examples].tolist()
        )

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The images with wrong pixels in red."""
        if batch.originals is None:
            return None
        held, made = self._maps(batch.originals, batch.classifier), batch.images.clone()
        for row, decided in enumerate(batch.classifier.predict(batch.scores).cpu()):
            try:
                truth = held.of(row, (batch.images[row] * 255).round().to(torch.uint8).cpu())
            except (RejectedImageError, InputError):
                continue
            wrong = ((decided != truth) & (truth != VOID)).to(made.device)
            red = torch.tensor([1.0, 0.0, 0.0], device=made.device)[:, None, None]
            made[row] = torch.where(wrong, 0.4 * made[row] + 0.6 * red, made[row])
        return made

    def _notes(self, rows: OverlapRows, reading: Reading) -> list[str]:
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

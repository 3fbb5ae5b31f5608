"""Small deliberate changes: FGSM and PGD, per image the worst of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor

from snellen.attacks.fgsm import FGSM
from snellen.attacks.norms import Norm
from snellen.attacks.pgd import PGD
from snellen.auditing.check import Batch, Check, Measured
from snellen.classifier import Classifier
from snellen.criterion import Misclassified
from snellen.errors import ModelError
from snellen.evidence import Evidence
from snellen.finding import Finding, FindingExample
from snellen.images import ImageSet
from snellen.metrics.intervals import wilson
from snellen.outcomes import NOT_FINITE, ZERO_GRADIENT

#: Share of images with an exactly zero gradient from which on it is told.
MASKED_SHARE = 0.01


class Threat(BaseModel):
    """What an attacker may change.

    >>> Threat(norm="linf", size=8).label, round(Threat(norm="linf", size=8).epsilon, 5)
    ('linf.8', 0.03137)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    norm: Norm
    size: float = Field(gt=0, description="linf: grey levels out of 255; l2: length in [0, 1] pixel units")

    @property
    def epsilon(self) -> float:
        """In [0, 1] pixel units."""
        return self.size / 255 if self.norm == "linf" else self.size

    @property
    def label(self) -> str:
        """Part of metric and setting names."""
        return f"{self.norm}.{self.size:g}"

    @property
    def words(self) -> str:
        """For titles."""
        return f"at most {self.size:g}/255 in any pixel" if self.norm == "linf" else f"an L2 length of {self.size:g}"


class Adversarial(Check):
    """FGSM, then PGD on the images that are still right; each image counts as broken if either breaks it."""

    name: ClassVar[str] = "adversarial"
    summary: ClassVar[str] = "accuracy under FGSM and PGD, L-infinity and L2"
    needs: ClassVar = frozenset({"labels", "gradients"})

    threats: tuple[Threat, ...] = Field(
        (Threat(norm="linf", size=8), Threat(norm="l2", size=0.5)), min_length=1, description="what may be changed"
    )
    steps: int = Field(20, ge=1, description="PGD steps")
    restarts: int = Field(1, ge=1, description="PGD restarts")
    examples: int = Field(5, ge=0, description="pictures for each finding")

    @field_validator("threats")
    @classmethod
    def _once_each(cls, threats: tuple[Threat, ...]) -> tuple[Threat, ...]:
        labels = [threat.label for threat in threats]
        if len(set(labels)) != len(labels):
            raise ValueError(f"each threat only once, got {labels}")
        return threats

    def missing(self, classifier: Classifier, images: ImageSet) -> str | None:
        """Why the check cannot run: besides its needs, there must be a class to be taken for."""
        if len(classifier.class_names) < 2:
            return f"needs two classes, and {classifier.name} has one"
        return super().missing(classifier, images)

    def cost(self) -> float:
        """Upper estimate: every step a forward and a backward pass for every image; broken ones leave early."""
        return len(self.threats) * (4 + self.restarts * 3 * self.steps)

    def attacks(self, threat: Threat) -> dict[Literal["fgsm", "pgd"], FGSM | PGD]:
        """The attacks under one threat, cheap first."""
        return {
            "fgsm": FGSM(norm=threat.norm, epsilon=threat.epsilon),
            "pgd": PGD(norm=threat.norm, epsilon=threat.epsilon, steps=self.steps, restarts=self.restarts),
        }

    def measure(self, batch: Batch) -> Evidence:
        """For each threat, rows for each attack and for the worst of them."""
        return Evidence.merge(part for threat in self.threats for part in self._under(threat, batch))

    def _under(self, threat: Threat, batch: Batch) -> list[Evidence]:
        labelled = batch.labels >= 0
        predictions = batch.classifier.predict(batch.scores)
        open_ = labelled & (predictions == batch.labels)
        distances = torch.zeros(len(batch.ids), dtype=torch.float64)
        status = ["ok" if known else "skipped" for known in labelled.tolist()]
        reasons = ["not found" if right else "already" for right in open_.tolist()]
        parts = []
        for attack_name, attack in self.attacks(threat).items():
            tried = open_.nonzero().flatten()
            if not len(tried):
                break
            part = batch.take(tried)
            try:
                attacked = attack.attack(
                    batch.classifier, part.images, part.labels, criterion=Misclassified(), rng=part.rng
                )
            except ModelError:  # not one image of this batch can be attacked; others may be
                for position in tried.tolist():
                    status[position], reasons[position] = "failed", NOT_FINITE
                continue
            parts.append(
                attacked.evidence(
                    batch.classifier,
                    part.ids,
                    part.labels,
                    setting=f"{threat.label}.{attack_name}",
                    unit_ids=part.unit_ids,
                )
            )
            for row, position in enumerate(tried.tolist()):
                if attacked.status[row] == "found":
                    status[position], reasons[position] = "ok", f"found by {attack_name}"
                elif attacked.status[row] == "not finite":
                    status[position], reasons[position] = "failed", NOT_FINITE
            broken = tried[attacked.success]
            predictions[broken] = batch.classifier.predict(attacked.scores[attacked.success])
            distances[broken.cpu()] = attacked.distance[attacked.success].double().cpu()
            open_[broken] = False
        worst = Evidence.of(
            batch.ids,
            setting=threat.label,
            model=batch.classifier.name,
            unit_ids=batch.unit_ids,
            label=[None if label < 0 else label for label in batch.labels.tolist()],
            prediction=[None if s == "failed" else p for s, p in zip(status, predictions.tolist(), strict=True)],
            value=[None if s == "failed" else d for s, d in zip(status, distances.tolist(), strict=True)],
            status=status,
            reason=[r if known else "no label" for r, known in zip(reasons, labelled.tolist(), strict=True)],
            control="the same images unchanged (setting 'clean')",
            assumptions=[
                f"{threat.label}: broken means that FGSM or PGD ({self.steps} steps, {self.restarts} restart(s)) found "
                f"a change; a stronger attack may find more"
            ],
        )
        return [*parts, worst]

    def metrics(self, evidence: Evidence, clean: Evidence) -> dict[str, Measured]:
        """Accuracy under the worst attack of each threat, and under FGSM alone."""
        figures = {}
        for threat in self.threats:
            tally = evidence.tally(threat.label)
            if not tally.n:
                continue
            worst = evidence.correct(threat.label)
            after_fgsm = sum(r for key, r in evidence.correct(f"{threat.label}.fgsm").items() if key in worst)
            for key, correct in (
                (f"adversarial.{threat.label}.accuracy", tally.correct),
                (f"adversarial.{threat.label}.fgsm.accuracy", after_fgsm),
            ):
                low, high = wilson(correct, tally.n)
                figures[key] = Measured(value=correct / tally.n, low=low, high=high, n=tally.n)
        return figures

    def findings(self, evidence: Evidence, clean: Evidence, names: Sequence[str]) -> list[Finding]:
        """Told without harm: undefended models show the same, and only a declared threat makes it one."""
        return [
            *(finding for threat in self.threats for finding in self._fragility(threat, evidence, clean, names)),
            *self._useless_gradients(evidence),
        ]

    def _fragility(self, threat: Threat, evidence: Evidence, clean: Evidence, names: Sequence[str]) -> list[Finding]:
        before, after = clean.correct("clean"), evidence.correct(threat.label)
        common = [key for key in after if key in before]
        rows = evidence.where(setting=threat.label, status="ok").table.to_pylist()
        broken = [row for row in rows if str(row["reason"]).startswith("found")]
        if not broken:
            return []
        clean_accuracy = sum(before[key] for key in common) / len(common)
        accuracy = sum(after[key] for key in common) / len(common)
        return [
            Finding(
                kind="adversarial",
                harm=0.0,
                title=(
                    f"Changes of {threat.words} bring accuracy from {clean_accuracy:.1%} to {accuracy:.1%} "
                    f"(no harm counted: no threat was declared)"
                ),
                facts={
                    "threat": threat.label,
                    "clean_accuracy": clean_accuracy,
                    "accuracy": accuracy,
                    "median_distance_of_first_success": statistics.median(row["value"] for row in broken),
                },
                examples=tuple(
                    FindingExample(
                        example_id=row["example_id"],
                        caption=f"{names[row['label']]} → {names[row['prediction']]} ({row['reason']})",
                    )
                    for row in broken[: self.examples]
                ),
            )
        ]

    def _useless_gradients(self, evidence: Evidence) -> list[Finding]:
        """Where a gradient is exactly zero, an attack that follows it cannot search: unbroken is then not robust."""
        searched, stuck = 0, 0
        for threat in self.threats:
            searched += len(evidence.where(setting=f"{threat.label}.fgsm", status="ok"))
            stuck += len(evidence.where(setting=f"{threat.label}.fgsm", reason=ZERO_GRADIENT))
        share = stuck / searched if searched else 0.0
        if share < MASKED_SHARE:
            return []
        return [
            Finding(
                kind="gradient_masking",
                harm=0.0,
                title=(
                    f"Gradients are exactly zero in {share:.1%} of the searches: the attacks could go nowhere, and "
                    f"accuracy under attack says nothing about these images"
                ),
                facts={"zero_gradient_share": share},
            )
        ]

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The adversarial images: the same attacks again from the same seeds, on the examples alone."""
        if finding.kind != "adversarial":
            return None
        threat = next(t for t in self.threats if t.label == finding.facts["threat"])
        images = batch.images.clone()
        open_ = torch.arange(len(batch.ids), device=images.device)
        for attack in self.attacks(threat).values():
            if len(open_):
                part = batch.take(open_)
                attacked = attack.attack(batch.classifier, part.images, part.labels, rng=part.rng)
                images[open_] = attacked.images
                open_ = open_[~attacked.success]
        return images

"""Small deliberate changes: FGSM and PGD, per image the worst of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.attacks.fgsm import FGSM
from snellen.attacks.norms import Norm
from snellen.attacks.pgd import PGD
from snellen.auditing.check import Batch, Check, Measured, correct_by_id
from snellen.criterion import Misclassified
from snellen.evidence import Evidence
from snellen.finding import Finding, FindingExample
from snellen.metrics.intervals import wilson


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
        right = labelled & (batch.scores.argmax(1) == batch.labels)
        predictions, distances = batch.scores.argmax(1), torch.zeros(len(batch.ids), dtype=torch.float64)
        reasons = ["not found" if r else "already" for r in right.tolist()]
        still, parts = right.clone(), []
        for attack_name, attack in self.attacks(threat).items():
            if bool(still.any()):
                tried = still.nonzero().flatten()
                part = batch.take(tried)
                attacked = attack.attack(
                    batch.classifier, part.images, part.labels, criterion=Misclassified(), rng=part.rng
                )
                parts.append(
                    attacked.evidence(
                        batch.classifier,
                        part.ids,
                        part.labels,
                        setting=f"{threat.label}.{attack_name}",
                        unit_ids=part.unit_ids,
                    )
                )
                broken = tried[attacked.success]
                predictions[broken] = batch.classifier.predict(attacked.scores[attacked.success])
                distances[broken.cpu()] = attacked.distance[attacked.success].double().cpu()
                for position in broken.tolist():
                    reasons[position] = f"found by {attack_name}"
                still[broken] = False
        worst = Evidence.of(
            batch.ids,
            setting=threat.label,
            model=batch.classifier.name,
            unit_ids=batch.unit_ids,
            label=[None if label < 0 else label for label in batch.labels.tolist()],
            prediction=predictions.tolist(),
            value=distances.tolist(),
            status=["ok" if known else "skipped" for known in labelled.tolist()],
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
            by_fgsm = evidence.where(setting=f"{threat.label}.fgsm", reason="found")
            clean_right = sum(correct_by_id(clean, "clean").values())
            for key, correct in (
                (f"adversarial.{threat.label}.accuracy", tally.correct),
                (f"adversarial.{threat.label}.fgsm.accuracy", clean_right - len(by_fgsm)),
            ):
                low, high = wilson(correct, tally.n)
                figures[key] = Measured(value=correct / tally.n, low=low, high=high, n=tally.n)
        return figures

    def findings(self, evidence: Evidence, clean: Evidence, names: Sequence[str]) -> list[Finding]:
        """Told without harm: undefended models show the same, and only a declared threat makes it one."""
        before = correct_by_id(clean, "clean")
        found = []
        for threat in self.threats:
            tally = evidence.tally(threat.label)
            lost = sum(before.values()) - tally.correct
            if not tally.n or lost <= 0:
                continue
            rows = evidence.where(setting=threat.label, status="ok").table.to_pylist()
            broken = [row for row in rows if str(row["reason"]).startswith("found")]
            median = sorted(row["value"] for row in broken)[len(broken) // 2]
            found.append(
                Finding(
                    kind="adversarial",
                    harm=0.0,
                    title=(
                        f"Changes of {threat.words} bring accuracy from {sum(before.values()) / len(before):.1%} to "
                        f"{tally.accuracy:.1%} (no harm counted: no threat was declared)"
                    ),
                    facts={
                        "threat": threat.label,
                        "clean_accuracy": sum(before.values()) / len(before),
                        "accuracy": tally.accuracy,
                        "median_distance": median,
                    },
                    examples=tuple(
                        FindingExample(
                            example_id=row["example_id"],
                            caption=f"{names[row['label']]} → {names[row['prediction']]} ({row['reason']})",
                        )
                        for row in broken[: self.examples]
                    ),
                )
            )
        return found

    def illustrate(self, finding: Finding, batch: Batch) -> Tensor | None:
        """The adversarial images: the same attacks again, on the examples alone (same seeds, so the same images)."""
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

"""Small deliberate changes: FGSM and PGD, per image the worst of them."""

from __future__ import annotations

import statistics
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from snellen.auditing.threat import Threat, check_distinct, parse_threat
from snellen.checks.check import Batch, CheckFigure, CheckInput, CheckResult, Companion, Several
from snellen.checks.eye_chart import Column, chance_level, column, retained
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.per_image import ABSENT, RIGHT, PerImage
from snellen.checks.sampled import Sampled
from snellen.core.classifier import Classifier
from snellen.core.criterion import Misclassified
from snellen.core.errors import ModelError
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet
from snellen.core.outcomes import NOT_FINITE, ZERO_GRADIENT
from snellen.methods.attacks.fgsm import FGSM
from snellen.methods.attacks.pgd import PGD
from snellen.metrics.clustered import clustered_mean, clustered_share

#: Share of images with an exactly zero gradient from which on it is reported.
MASKED_SHARE = 0.01

#: Line of the eye chart at which a threat stands: it has one size, and no scale of severities.
LAST_LINE = 5.0

#: A threat, or its words: "linf:8/255".
AnyThreat = Annotated[Threat, BeforeValidator(parse_threat)]


class Adversarial(Sampled):
    """FGSM, then PGD on the images that are still right; each image counts as broken if either breaks it.

    Undeclared threats carry no harm, so that of many images a sample says enough; under declared ones all are attacked.
    """

    name: ClassVar[str] = "adversarial"
    summary: ClassVar[str] = "accuracy under FGSM and PGD, L-infinity and L2"
    several: ClassVar[Several | None] = "sides"
    needs: ClassVar = frozenset({"labels", "gradients"})

    threats: tuple[AnyThreat, ...] = Field(
        (Threat(norm="linf", size=8), Threat(norm="l2", size=0.5)), description="what is tried"
    )
    declared: tuple[AnyThreat, ...] = Field(
        (), description="threats that the classifier must withstand (--threat): only under these is fragility harm"
    )
    steps: int = Field(20, ge=1, description="PGD steps")
    restarts: int = Field(1, ge=1, description="PGD restarts")
    examples: int = Field(5, ge=0, description="pictures for each finding")
    most: int | None = Field(
        500, ge=1, description="images that are attacked at most, on average; none, or with declared threats: no bound"
    )

    @model_validator(mode="after")
    def _once_each(self) -> Adversarial:
        check_distinct(self.threats, self.declared)
        return self

    @property
    def tried(self) -> tuple[Threat, ...]:
        """All threats, declared ones first."""
        return tuple(dict.fromkeys((*self.declared, *self.threats)))

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why the check cannot run: besides its needs, there must be a class to be taken for."""
        if not self.tried:
            return "tries the threats that are named, and none is, such as linf:8/255"
        if len(classifier.class_names) < 2:
            return f"needs two classes, and {classifier.name} has one"
        return super().missing(classifier, images, companions)

    @property
    def concurrent(self) -> bool:
        """See :attr:`Check.concurrent`."""
        return True

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names(*(f"{threat.label}{attack}.accuracy" for threat in self.tried for attack in ("", ".fgsm")))

    def cost(self) -> float:
        """Share 0.6 of what every step for every image would be: broken images leave, wrong ones never come.

        Measured 0.57 for the bundled fashion CNN, 0.06 for EfficientNet-Lite0, where every image breaks at once.
        """
        return 0.6 * self.share * len(self.tried) * (4 + self.restarts * 3 * self.steps)

    def sized(self, images: int) -> Adversarial:
        """See :meth:`Sampled.sized`; with declared threats as it is."""
        return self if self.declared else super().sized(images)

    def attacks(self, threat: Threat) -> dict[Literal["fgsm", "pgd"], FGSM | PGD]:
        """The attacks under one threat, cheap first."""
        return {
            "fgsm": FGSM(norm=threat.norm, epsilon=threat.epsilon),
            "pgd": PGD(norm=threat.norm, epsilon=threat.epsilon, steps=self.steps, restarts=self.restarts),
        }

    def measure(self, batch: Batch) -> Evidence | None:
        """For each threat, rows for each attack and for the worst of them."""
        drawn, parts = self.part_of(batch), list[Evidence]()
        if drawn is None:
            return None
        for threat in self.tried:
            parts += self._under(threat, drawn)
        return Evidence.merge(parts)

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
            distances[broken.cpu()] = attacked.distance[attacked.success].cpu().double()
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

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Accuracy under each threat. Harm only under a declared one: undefended models all show the rest."""
        images, metrics, columns = reading.images, dict[str, CheckFigure](), list[Column]()
        chance = chance_level(images.labels[images.labelled], len(reading.names))
        hypotheses, findings = list[Hypothesis](), list[Finding]()
        for threat in self.tried:
            after = images.outcomes(reading.evidence, threat.label, undecided=ABSENT)
            known = images.labelled & (after != ABSENT)
            if not known.any():
                continue
            right = after[known] == RIGHT
            fgsm = images.outcomes(reading.evidence, f"{threat.label}.fgsm", undecided=ABSENT)[known]
            after_fgsm = np.where(fgsm == ABSENT, images.correct[known], fgsm == RIGHT)
            for name, values in ((f"{threat.label}.accuracy", right), (f"{threat.label}.fgsm.accuracy", after_fgsm)):
                low, high = clustered_share(values, images.units_of(known))
                metrics[f"adversarial.{name}"] = CheckFigure(
                    value=float(values.mean()), low=low, high=high, n=len(values)
                )
            cell = retained(images.correct[known], right, chance, LAST_LINE, images.units_of(known))
            columns += [one for one in (column(threat.label, self.name, [cell], scale=False),) if one is not None]
            if threat in self.declared:
                hypotheses.append(self._hypothesis(threat, reading, known, right))
            elif (images.correct[known] & ~right).any():
                findings.append(self._fragility(threat, reading, known, right, None, None))
        findings += self._useless_gradients(reading.evidence)
        notes = self.sampling_notes(reading)
        return CheckResult(metrics=metrics, hypotheses=hypotheses, findings=findings, columns=columns, notes=notes)

    def _hypothesis(self, threat: Threat, reading: CheckInput, known: np.ndarray, right: np.ndarray) -> Hypothesis:
        """That a declared threat costs no accuracy."""
        images = reading.images
        lost = images.correct[known].astype(float) - right
        if images.costs is not None:
            after = images.loss_of(images.decisions(reading.evidence, threat.label)[0])
            lost = (after - images.lost)[known]
        drop = clustered_mean(lost, reading.images.units_of(known), pseudo_units=1.0)
        p_value = drop.p_value()
        return Hypothesis(
            p_value, drop.lower, lambda harm: self._fragility(threat, reading, known, right, harm, p_value)
        )

    def _fragility(
        self,
        threat: Threat,
        reading: CheckInput,
        known: np.ndarray,
        right: np.ndarray,
        harm: float | None,
        p_value: float | None,
    ) -> Finding:
        images: PerImage = reading.images
        rows = reading.evidence.where(setting=threat.label, status="ok").table.to_pylist()
        broken = [row for row in rows if str(row["reason"]).startswith("found")]
        before, after = float(images.correct[known].mean()), float(right.mean())
        remark = " (no harm counted: no threat was declared)" if harm is None else ", a threat that was declared"
        return Finding(
            kind="adversarial",
            subject=threat.label,
            harm=harm or 0.0,
            p_value=p_value,
            title=f"Changes of {threat.words} bring accuracy from {before:.1%} to {after:.1%}{remark}",
            facts={
                "threat": threat.label,
                "clean_accuracy": before,
                "accuracy": after,
                "median_distance_of_first_success": statistics.median(row["value"] for row in broken),
            },
            examples=tuple(
                FindingExample(
                    example_id=row["example_id"],
                    caption=f"{reading.names[row['label']]} → {reading.names[row['prediction']]} ({row['reason']})",
                )
                for row in broken[: self.examples]
            ),
        )

    def _useless_gradients(self, evidence: Evidence) -> list[Finding]:
        """Where a gradient is exactly zero, an attack that follows it cannot search: unbroken is then not robust."""
        searched, stuck = 0, 0
        for threat in self.tried:
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
        threat = next(t for t in self.tried if t.label == finding.facts["threat"])
        images = batch.images.clone()
        open_ = torch.arange(len(batch.ids), device=images.device)
        for attack in self.attacks(threat).values():
            if len(open_):
                part = batch.take(open_)
                attacked = attack.attack(batch.classifier, part.images, part.labels, rng=part.rng)
                images[open_] = attacked.images
                open_ = open_[~attacked.success]
        return images

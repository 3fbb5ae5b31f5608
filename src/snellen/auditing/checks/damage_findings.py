"""What damage costs a classifier, as hypotheses and findings: one for each kind, or one for each family of kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.checks.family_words import (
    family_facts,
    family_title,
    kinds_found,
)
from snellen.checks.check import CheckInput
from snellen.checks.damage_families import FamilyLoss, KindLoss, readable
from snellen.checks.eye_chart import Acuity
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.per_image import ABSENT, PerImage, confident_mistakes
from snellen.checks.strengths import (
    Lost,
    class_breaks,
    cost_of_a_loss,
    counted_in_costs,
    failure_severities,
    half_lost_at,
    in_costs,
    lost_over,
)
from snellen.checks.usual_losses import UsualLoss, healthy_fact, healthy_words
from snellen.core.finding import Finding
from snellen.methods.corruptions.domains import Domain
from snellen.metrics.power import detectable_loss
from snellen.metrics.sweep import setting_name


@dataclass(frozen=True, eq=False)
class DamageFindings:
    """Hypotheses that damage costs nothing.

    Attributes:
        reading: of the check.
        outcomes: of each measured kind, int8 (severities, n); see :meth:`snellen.checks.per_image.PerImage.outcomes`.
        severities: in the order of the outcomes.
        usual: what healthy classifiers lose, by kind, where it is known.
        examples: pictures for each finding.
    """

    reading: CheckInput
    outcomes: Mapping[str, NDArray[np.int8]]
    severities: Sequence[float]
    usual: Mapping[str, UsualLoss]
    examples: int

    def of_kinds(self) -> list[Hypothesis]:
        """One hypothesis for each kind: it costs no accuracy."""
        return [self._of_kind(kind, found) for kind in self.outcomes if (found := self._lost(kind)) is not None]

    def of_families(
        self, families: Mapping[str, Sequence[str]], fitted: Domain, acuities: Mapping[str, Acuity | None]
    ) -> list[Hypothesis]:
        """One hypothesis for each family: none of its kinds costs accuracy.

        Args:
            families: kinds by family.
            fitted: the domain, which says how plausible each kind is.
            acuities: severity up to which the classifier reads, by kind, where that is defined.
        """
        found = []
        for name, kinds in families.items():
            members = [
                self._member(kind, lost, fitted, acuities.get(kind))
                for kind in self.outcomes
                if kind in kinds and (lost := self._lost(kind)) is not None
            ]
            if members:
                found.append(self._of_family(FamilyLoss(name, members), fitted))
        return found

    def _lost(self, kind: str) -> Lost | None:
        images = self.reading.images
        return lost_over(images.correct, self.outcomes[kind], images.units)

    def _in_costs(self, kind: str, found: Lost) -> Lost:
        settings = [setting_name(kind, one) for one in self.severities]
        return in_costs(found, self.reading.images, self.reading.evidence, settings)

    def _of_kind(self, kind: str, found: Lost) -> Hypothesis:
        costs = self._in_costs(kind, found)
        return Hypothesis(
            costs.drop.p_value(),
            costs.drop.lower,
            lambda harm: counted_in_costs(self._finding(kind, found, harm), found, costs),
        )

    def _member(self, kind: str, lost: Lost, fitted: Domain, acuity: Acuity | None) -> KindLoss:
        costs = self._in_costs(kind, lost)
        return KindLoss(
            kind,
            lost,
            acuity,
            usual=self.usual[kind].high * cost_of_a_loss(lost, costs) if kind in self.usual else 0.0,
            weight=fitted.fits[kind].weight if kind in fitted.fits else 1.0,
            costs=costs,
        )

    def _of_family(self, family: FamilyLoss, fitted: Domain) -> Hypothesis:
        worst = family.worst

        def finding(harm: float) -> Finding:
            one = self._finding(worst.kind, worst.lost, harm, family.within(0.95))
            return one.model_copy(
                update={
                    "subject": family.name,
                    "p_value": family.p_value,
                    "title": family_title(family, self.usual),
                    "facts": {**family_facts(family, fitted), **one.facts},
                }
            )

        def inside(one: Finding, confidence: float) -> Finding:
            return one.model_copy(
                update={
                    "usual": family.usual(one.harm, confidence),
                    "plausibility": family.plausibility(confidence),
                    "facts": {**one.facts, "kinds_found": kinds_found(family, confidence)},
                }
            )

        return Hypothesis(family.p_value, family.harm, finding, inside)

    def _finding(self, kind: str, found: Lost, harm: float, confidence: float = 0.95) -> Finding:
        images, usual, names = self.reading.images, self.usual.get(kind), self.reading.names
        failures = failure_severities(images, self.outcomes[kind], self.severities)
        broken = class_breaks(images, self.outcomes[kind], self.severities, names, kinds=len(self.outcomes))
        half = half_lost_at(failures)
        interval = found.drop.interval(confidence)
        worst = self.severities[found.worst]
        decided, sure = images.decisions(self.reading.evidence, setting_name(kind, worst))
        return Finding(
            kind="corruption",
            subject=kind,
            harm=harm,
            usual=0.0 if usual is None else usual.high,
            p_value=found.drop.p_value(),
            title=f"{readable(kind)} costs {100 * found.mean:.1f} points of accuracy on average over the severities"
            f"{healthy_words(usual)}",
            facts={
                "corruption": kind,
                "clean_accuracy": found.before,
                "mean_drop": found.mean,
                "mean_drop_low": interval.low,
                "mean_drop_high": interval.high,
                "worst_severity": worst,
                "worst_drop": found.before - float(found.after[found.worst]),
                "share_ever_broken": float(np.isfinite(failures).mean()) if len(failures) else 0.0,
                "half_lost_by_severity": "never" if half is None else half,
                "classes_broken": ", ".join(f"{name} from {at:g}" for name, at in broken.items()) or "none",
                "healthy_classifiers": healthy_fact(usual),
            },
            examples=confident_mistakes(
                images,
                names,
                self.examples,
                predictions=np.where(images.correct, decided, ABSENT),
                confidence=sure,
            ),
        )


def unseen(
    images: PerImage, outcomes: Mapping[str, NDArray[np.int8]], alpha: float, rivals: Mapping[str, int]
) -> str | None:
    """The least loss that would be found under each kind: where most changes cancel, it is the largest.

    One kind alone makes Simes' p value of a family small where its own is so many times smaller as there are kinds.

    Args:
        images: of the check.
        outcomes: of each kind, int8 (severities, n).
        alpha: level of a test.
        rivals: how many measured kinds share the hypothesis of each.
    """
    needed = []
    for kind, rows in outcomes.items():
        found = lost_over(images.correct, rows, images.units)
        if found is not None:
            units = images.units_of(found.paired)
            count = int(found.paired.sum()) if units is None else len(np.unique(units))
            needed.append(detectable_loss(count, found.drop.standard_error**2 * count, alpha / rivals[kind]))
    losses = [loss for loss in needed if loss is not None]
    if not losses or len(losses) < len(needed):
        return None
    return f"a corruption that costs {100 * max(losses):.1f} points of accuracy on average over its severities"

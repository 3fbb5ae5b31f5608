"""Families of damage: the kinds of a family are tested together, and make one finding.

The p value of a family is Simes' of its kinds; families count as one hypothesis each in the false discovery rate of the
run. Within the families that are found, kinds are tested at the rate times the share of hypotheses that were found
(Benjamini and Bogomolov, JRSS B 76, 2014, 297–318): of the kinds named in a family, at most 5 % are false on average.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from snellen.checks.eye_chart import Acuity
from snellen.checks.strengths import Lost
from snellen.metrics.clustered import ClusteredMean
from snellen.metrics.multiplicity import benjamini_hochberg, simes


@dataclass(frozen=True, eq=False)
class KindLoss:
    """What a kind of damage costs.

    Attributes:
        kind: its name.
        lost: right decisions lost over its severities.
        acuity: severity up to which the classifier reads, and its interval; None where that is not defined.
        usual: loss that one in ten healthy classifiers exceeds, as ``drop`` counts it; 0 where it is not known.
        weight: plausibility in the domain, (0, 1].
        costs: the same with a drop of what decisions cost, where errors do not cost alike.
    """

    kind: str
    lost: Lost
    acuity: Acuity | None = None
    usual: float = 0.0
    weight: float = 1.0
    costs: Lost | None = None

    @property
    def drop(self) -> ClusteredMean:
        """What is tested: the mean loss of accuracy, or of what decisions cost."""
        return (self.lost if self.costs is None else self.costs).drop

    @property
    def p_value(self) -> float:
        """One-sided, of no loss."""
        return self.drop.p_value()


@dataclass(frozen=True, eq=False)
class FamilyLoss:
    """What the kinds of a family cost: at least one."""

    name: str
    kinds: Sequence[KindLoss]

    @property
    def p_value(self) -> float:
        """Of the hypothesis that no kind costs anything."""
        return simes([one.p_value for one in self.kinds])

    def within(self, confidence: float) -> float:
        """Confidence of the bound of each kind such that all hold together at the given one (Bonferroni)."""
        return 1 - (1 - confidence) / len(self.kinds)

    @property
    def worst(self) -> KindLoss:
        """The kind whose sure harm beyond the usual, times its plausibility, is largest; else that of the least p."""
        return max(self.kinds, key=lambda one: (one.weight * self._excess(one, 0.95), -one.p_value, one.lost.mean))

    @property
    def costliest(self) -> KindLoss:
        """The kind that costs most, the usual included."""
        return max(self.kinds, key=lambda one: (one.lost.mean, one.kind))

    def harm(self, confidence: float) -> float:
        """Lower bound of what the costliest kind costs: the largest of bounds that hold together. Gates count it."""
        return max(one.drop.lower(self.within(confidence)) for one in self.kinds)

    def usual(self, harm: float, confidence: float) -> float:
        """What is taken off the harm, so that it leaves the most that a kind costs beyond its usual, likely or not."""
        return max(harm - max(self._excess(one, confidence) for one in self.kinds), 0.0)

    def plausibility(self, confidence: float) -> float:
        """What the harm beyond the usual is multiplied by for the order: so that each kind counts by its own weight."""
        excesses = {one: self._excess(one, confidence) for one in self.kinds}
        most = max(excesses.values())
        if most == 0:
            return self.worst.weight
        return max(one.weight * excess for one, excess in excesses.items()) / most

    def _excess(self, one: KindLoss, confidence: float) -> float:
        """Lower bound of what a kind costs beyond its usual, at a confidence for all kinds together."""
        return max(one.drop.lower(self.within(confidence)) - one.usual, 0.0)

    def found(self, confidence: float) -> tuple[KindLoss, ...]:
        """The kinds that are found to cost accuracy, at 1 − rate · found / tested of the run; the costliest first."""
        held = benjamini_hochberg([one.p_value for one in self.kinds], 1 - confidence)
        chosen = [one for one, accepted in zip(self.kinds, held, strict=True) if accepted]
        return tuple(sorted(chosen, key=lambda one: (-one.lost.mean, one.kind)))

    @property
    def mean(self) -> float:
        """Loss on average over the kinds and their severities."""
        return float(np.mean([one.lost.mean for one in self.kinds]))


def readable(kind: str) -> str:
    """A kind or family as people read it.

    >>> readable("jpeg_compression"), readable("nrtk_jitter")
    ('JPEG compression', 'NRTK jitter')
    """
    words = kind.replace("_", " ").capitalize()
    return words.replace("Jpeg", "JPEG").replace("Nrtk", "NRTK").replace("pybsm", "pyBSM")

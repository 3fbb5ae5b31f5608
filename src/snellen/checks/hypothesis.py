"""What an audit tests, and what it may then say: one false discovery rate over everything that was tested in a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from snellen.core.finding import Finding
from snellen.metrics.multiplicity import benjamini_hochberg, selected_confidence

#: Share of false findings among the findings, on average.
FALSE_DISCOVERY_RATE = 0.05

#: What can be separated without a loss of its own has no error scale. Area under the ROC curve, lower bound → harm.
AREA_HARM: tuple[tuple[float, float], ...] = ((0.9, 0.05), (0.7, 0.005), (0.0, 0.0))


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """That something does no harm. If the data refuse it, it becomes a finding.

    Attributes:
        p_value: one-sided, of data at least this extreme if there is no harm.
        harm: confidence in (0, 1) → one-sided lower bound of the harm, a share of the images.
        finding: what to say, once that bound is known.
        inside: of a family of tests that counts as one: the finding and the confidence → the finding with what holds at
            that confidence within the family (Benjamini and Bogomolov 2014). None where there is no family.
    """

    p_value: float
    harm: Callable[[float], float]
    finding: Callable[[float], Finding]
    inside: Callable[[Finding, float], Finding] | None = None

    def found(self, confidence: float) -> Finding:
        """The finding of a refused hypothesis, at the confidence that the number of refused ones leaves."""
        finding = self.finding(min(max(self.harm(confidence), 0.0), 1.0))
        return finding if self.inside is None else self.inside(finding, confidence)


def confirmed(hypotheses: Sequence[Hypothesis], rate: float = FALSE_DISCOVERY_RATE) -> list[Finding | None]:
    """The finding of each hypothesis that is refused, None for each that stands.

    Benjamini and Hochberg (1995) choose among all hypotheses of the run together. The bounds of harm of those chosen
    are then taken at the confidence 1 − rate · chosen / tested, so that also the share of bounds that are too high,
    among those that are reported, is at most the rate (Benjamini and Yekutieli 2005).
    """
    if not hypotheses:
        return []
    chosen = benjamini_hochberg([hypothesis.p_value for hypothesis in hypotheses], rate)
    confidence = selected_confidence(int(chosen.sum()), len(hypotheses), rate)
    return [
        hypothesis.found(confidence) if accepted else None
        for hypothesis, accepted in zip(hypotheses, chosen, strict=True)
    ]

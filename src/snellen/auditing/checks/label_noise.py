"""Labels that contradict the model where it is sure."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from snellen.checks.check import Check, Conclusion, Kept, Measured, Reading
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.independent import one_of_each_unit
from snellen.checks.panels import Panel
from snellen.checks.per_image import PerImage
from snellen.core.finding import Finding, FindingExample
from snellen.core.method import Need
from snellen.metrics.inspection.error_share import ErrorShare, estimated_error_share
from snellen.metrics.inspection.label_errors import LabelErrors, label_errors
from snellen.metrics.temperature import tempered_probabilities

#: Fewer labelled images are not judged, and so many pairs of classes are listed.
FEWEST, PAIRS = 50, 10


class LabelNoise(Check):
    """Confident learning: which labels are suspect, and are there more than the model's own mistakes explain.

    The share is that among images of which the model is sure; where wrong labels are concentrated there, it is more
    than the share of all images.
    """

    name: ClassVar[str] = "label_noise"
    summary: ClassVar[str] = "labels that look wrong (confident learning), and whether there are more than by chance"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})
    reads: ClassVar[frozenset[Kept]] = frozenset({"scores"})

    examples: int = Field(12, ge=0, description="pictures of suspects")

    def cost(self) -> float:
        """Nothing but the clean scores is needed."""
        return 0.0

    def conclude(self, reading: Reading) -> Conclusion:
        """The hypothesis that the labels are right, up to a tolerated share."""
        known = reading.images.select(reading.images.labelled)
        if known.scores is None or len(known) < FEWEST or len(reading.names) < 2:
            return Conclusion()
        sure = tempered_probabilities(known.scores, 1.0)
        suspects = label_errors(sure, known.labels)
        independent = one_of_each_unit(known)
        share = estimated_error_share(sure[independent], known.labels[independent])
        # Two bounds of 97.5 % each are the 95 % interval that a figure is told with.
        ends = estimated_error_share(sure[independent], known.labels[independent], confidence=0.975)

        def low(confidence: float) -> float:
            return estimated_error_share(sure[independent], known.labels[independent], confidence=confidence).low

        return Conclusion(
            metrics={
                "label_noise.share": Measured(
                    value=share.share, low=min(ends.low, share.share), high=ends.high, n=int(independent.sum())
                )
            },
            hypotheses=[
                Hypothesis(share.p_value, low, lambda harm: self._finding(known, suspects, share, reading.names, harm))
            ],
            panels=self._pairs(suspects, reading.names),
            lists={
                "label_noise": [
                    {
                        "id": known.ids[row],
                        "label": reading.names[known.labels[row]],
                        "suggested": reading.names[int(suggested)],
                        "quality": round(float(score), 6),
                    }
                    for row, suggested, score in zip(
                        suspects.suspects.tolist(), suspects.suggested, suspects.scores, strict=True
                    )
                ]
            },
            notes=[
                "Suspect labels are disagreements with the model where it is sure, not proven errors; the model must "
                "not have been trained on these images. label_noise.share is judged where the model is sure: noise "
                "concentrated there is overstated for all images, and noise elsewhere understated; its interval takes "
                "the noise to be the same everywhere."
            ],
        )

    def _finding(
        self, known: PerImage, suspects: LabelErrors, share: ErrorShare, names: tuple[str, ...], harm: float
    ) -> Finding:
        shown = suspects.suspects[: self.examples].tolist()
        return Finding(
            kind="label_noise",
            harm=harm,
            p_value=share.p_value,
            title=(
                f"About {share.share:.1%} of the labels look wrong, judged where the model is sure; "
                f"{len(suspects.suspects)} images are suspect"
            ),
            facts={
                "share": share.share,
                "at_least": share.low,
                "suspects": len(suspects.suspects),
                "disagreements": share.disagreements,
                **(
                    {"most_frequent": f"{names[suspects.pairs[0].given]} for {names[suspects.pairs[0].suggested]}"}
                    if suspects.pairs
                    else {}
                ),
            },
            examples=tuple(
                FindingExample(
                    example_id=known.ids[row],
                    caption=f"labelled {names[known.labels[row]]}, looks like {names[int(suggested)]}",
                )
                for row, suggested in zip(shown, suspects.suggested[: self.examples], strict=True)
            ),
            treatments=("look through lists/label_noise.json, the least likely labels first",),
        )

    def _pairs(self, suspects: LabelErrors, names: tuple[str, ...]) -> list[Panel]:
        if not suspects.pairs:
            return []
        return [
            Panel(
                check=self.name,
                title="Labels that may be another's",
                about="Estimated by confident learning, the model's own mistakes included.",
                head=("labelled", "looks like", "images"),
                rows=tuple((names[p.given], names[p.suggested], p.images) for p in suspects.pairs[:PAIRS]),
            )
        ]

"""Labels that contradict the model and held-out heads where these are sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Kept, Several
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.independent import one_of_each_unit
from snellen.checks.panels import Panel
from snellen.checks.per_image import PerImage
from snellen.core.finding import Finding, FindingExample
from snellen.core.method import Need
from snellen.metrics.inspection.label_errors import LabelErrors, label_errors, label_quality
from snellen.metrics.inspection.label_judgement import LabelJudgement, judge_labels, thumbnail_features
from snellen.metrics.inspection.label_power import visible_share
from snellen.metrics.temperature import tempered_probabilities
from snellen.models.classifiers.pooled_features import keeps_features

#: Fewer labelled images are not judged, and so many pairs of classes are listed.
FEWEST, PAIRS = 50, 10

#: Name of the table of all labels under ``lists/``, and share of cases in which a share of errors counts as visible.
TABLE, POWER = "corrected_labels", 0.9


class LabelNoise(Check):
    """Which labels are suspect, and are there more than mistakes of the model and of held-out heads explain.

    The share is that among images that the judges are sure of; where wrong labels are concentrated there, it is more
    than the share of all images.
    """

    name: ClassVar[str] = "label_noise"
    summary: ClassVar[str] = "labels that look wrong (confident learning), and whether there are more than by chance"
    several: ClassVar[Several | None] = "each"
    model_judges: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})
    reads: ClassVar[frozenset[Kept]] = frozenset({"scores", "features", "fingerprints"})

    examples: int = Field(12, ge=0, description="pictures of suspects")

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names("share")

    def cost(self) -> float:
        """Features and thumbnails come with the clean scores."""
        return 0.1

    def conclude(self, reading: CheckInput) -> CheckResult:
        """The hypothesis that the labels are right, up to a tolerated share."""
        known = reading.images.select(reading.images.labelled)
        if known.scores is None or len(known) < FEWEST or len(reading.names) < 2:
            return CheckResult()
        # Scores in place of features would repeat the model.
        features = known.features if keeps_features(reading.classifier) else None
        found = judge_labels(
            tempered_probabilities(known.scores, 1.0),
            known.labels,
            features=features,
            thumbnails=None if known.fingerprints is None else thumbnail_features(known.fingerprints),
            units=known.units,
            independent=one_of_each_unit(known),
            seed=reading.rng.seed,
        )
        share, suspects = found.share, label_errors(found.probabilities, known.labels, rule=found.rule)
        return CheckResult(
            metrics={
                "label_noise.share": CheckFigure(
                    # Two bounds of 97.5 % each are a 95 % interval.
                    value=share.share,
                    low=min(share.lower(0.975), share.share),
                    high=max(share.upper(0.975), share.share),
                    n=share.n,
                )
            },
            hypotheses=[
                Hypothesis(
                    share.p_value,
                    share.lower,
                    lambda harm: self._finding(known, suspects, found, reading.names, harm),
                )
            ],
            findings=[_seen_before(found)] * found.memorised,
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
            tables={TABLE: _corrected(known, suspects, found.probabilities, reading.names)},
            notes=_notes(found),
            sight=[lambda level: _sight(found, known.labels, reading.rng.seed, level)],
        )

    def _finding(
        self,
        known: PerImage,
        suspects: LabelErrors,
        found: LabelJudgement,
        names: tuple[str, ...],
        harm: float,
    ) -> Finding:
        shown, share = suspects.suspects[: self.examples].tolist(), found.share
        judges = "held-out heads are" if found.in_sample else "the model is"
        return Finding(
            kind="label_noise",
            harm=harm,
            p_value=share.p_value,
            title=(
                f"About {share.share:.1%} of the labels look wrong, judged where {judges} sure; "
                f"{len(suspects.suspects)} images are suspect"
            ),
            facts={
                "share": share.share,
                "at_least": share.lower(),
                "suspects": len(suspects.suspects),
                "disagreements": share.disagreements,
                "judged_by": ", ".join(found.voices),
                **({"model_agrees_with": found.agreement} if found.in_sample else {}),
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
            treatments=(
                f"look through lists/{TABLE}.csv, the least likely labels first. Correct the column likely, put the "
                f"file into the folder of the images, and read it with --column image=id --column label=likely",
            ),
        )

    def _pairs(self, suspects: LabelErrors, names: tuple[str, ...]) -> list[Panel]:
        if not suspects.pairs:
            return []
        return [
            Panel(
                check=self.name,
                title="Possibly mislabelled images",
                about="Estimated by confident learning, mistakes of the model and of held-out heads included.",
                head=("labelled", "looks like", "images"),
                rows=tuple((names[p.given], names[p.suggested], p.images) for p in suspects.pairs[:PAIRS]),
            )
        ]


def _corrected(
    known: PerImage, suspects: LabelErrors, probabilities: NDArray[np.float64], names: Sequence[str]
) -> list[dict[str, object]]:
    """A row for each labelled image, the least likely label first; suspects have another likely label."""
    likely, quality = known.labels.copy(), label_quality(probabilities, known.labels)
    likely[suspects.suspects] = suspects.suggested
    return [
        {
            "id": known.ids[row],
            "given": names[known.labels[row]],
            "likely": names[int(likely[row])],
            "quality": round(float(quality[row]), 6),
        }
        for row in np.lexsort((quality, likely == known.labels)).tolist()
    ]


def _notes(found: LabelJudgement) -> list[str]:
    notes = [
        f"Suspect labels contradict what these say together: {', '.join(found.voices)}; heads never saw the label that "
        f"they judge. Suspects are not proven errors. label_noise.share is judged where the judges are sure: noise "
        f"concentrated there is overstated for all images, and noise elsewhere understated. Its interval takes the "
        f"noise to be the same everywhere."
    ]
    if found.in_sample:
        notes.append(
            f"The model agrees with {found.agreement:.1%} of the labels, and a held-out head on thumbnails with "
            f"{found.held_out_agreement:.1%}. A model that was trained on these images does so. Its opinion of the "
            f"labels does not count here; if it was trained on them, its other figures do not hold for new images."
        )
    elif found.held_out_agreement is None:
        notes.append(
            "The labels were judged without thumbnails of the images. Whether the model was trained on these images "
            "was not examined; if it was, it hides wrong labels."
        )
    return notes


def _seen_before(found: LabelJudgement) -> Finding:
    """That the model was trained on these images: it knows their wrong labels."""
    return Finding(
        kind="in_sample",
        harm=0.0,
        p_value=found.share.p_value,
        title=f"The classifier was trained on these images: held-out heads find {found.share.share:.1%} of the labels "
        f"wrong, and it agrees with most ({found.agreement:.1%} of all). Its other figures do not hold for new "
        f"images",
        facts={"agreement": found.agreement, "share": found.share.share, "at_least": found.share.lower()},
        treatments=("audit it on images that it was not trained on",),
    )


def _sight(found: LabelJudgement, labels: NDArray[np.int64], seed: int, level: float) -> str | None:
    """The least share of wrong labels that would have been found, by simulation."""
    visible = visible_share(found.tested, labels, tolerated=found.share.tolerated, level=level, power=POWER, seed=seed)
    if visible is None:
        return None
    return f"{visible:.1%} wrong labels or more, spread evenly over images and classes"

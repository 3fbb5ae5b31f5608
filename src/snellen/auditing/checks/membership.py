"""Whether the classifier's certainty gives away which images it was trained on."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Companion, Kept, Several
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.per_image import PerImage
from snellen.core.finding import Finding
from snellen.core.method import Need
from snellen.metrics.membership_area import FEWEST_OF_A_CLASS, MembershipArea, certainty, membership_area

#: An attack has no error scale. Area under its ROC curve, lower bound → harm. From 0.9 on an attacker separates nearly
#: every training image from others, which a report must not call mild.
AREA_HARM: tuple[tuple[float, float], ...] = ((0.9, 0.2), (0.75, 0.05), (0.6, 0.005), (0.0, 0.0))

#: Fewer training or audited images are not compared.
FEWEST = 30


class Membership(Check):
    """A membership attack by a threshold on the loss within each class; leaked images are left out."""

    name: ClassVar[str] = "membership"
    summary: ClassVar[str] = "whether scores give away which images the classifier was trained on (privacy)"
    several: ClassVar[Several | None] = "each"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})
    reads: ClassVar[frozenset[Kept]] = frozenset({"scores", "pixel_hashes"})
    compares_with: ClassVar[frozenset[Companion]] = frozenset({"train"})

    def cost(self) -> float:
        """Scores of both sets are known."""
        return 0.1

    def figure_names(self) -> frozenset[str]:
        """One area."""
        return self._names("attack_auroc")

    def conclude(self, reading: CheckInput) -> CheckResult:
        """The hypothesis that the classifier is no surer of training images than of others of their class."""
        train, images = reading.companions["train"], reading.images
        fresh = ~np.isin(images.pixel_hashes or ("",) * len(images), [one for one in train.pixel_hashes or () if one])
        known, others = train.select(train.labelled), images.select(images.labelled & fresh)
        found = None
        if min(len(known), len(others)) >= FEWEST:
            found = membership_area(
                _certainty(known),
                _certainty(others),
                known.labels,
                others.labels,
                member_units=known.units,
                non_member_units=others.units,
            )
        if found is None:
            return CheckResult(
                skipped=f"needs {FEWEST} labelled training images and as many audited ones that are not among them, "
                f"{FEWEST_OF_A_CLASS} of a class. There are {len(known)} and {len(others)} that can be used"
            )
        low, high = found.interval
        return CheckResult(
            metrics={
                "membership.attack_auroc": CheckFigure(
                    value=found.area, low=low, high=high, n=found.members + found.non_members
                )
            },
            hypotheses=[_hypothesis(found, known, others)],
            notes=[
                "The membership attack compares how sure the classifier is of training images and of audited ones of "
                "the same class. It is a simple attack: one with shadow models may find more. Audited images that come "
                "from elsewhere are decided less surely for that reason alone, and raise the area. Its harm is read "
                "from a table: 0.005 from a lower end of 0.6 on, 0.05 from 0.75 on, 0.2 from 0.9 on."
            ],
        )


def _certainty(images: PerImage) -> NDArray[np.float64]:
    assert images.scores is not None  # the check reads them
    return certainty(images.scores, images.labels)


def _hypothesis(found: MembershipArea, train: PerImage, audited: PerImage) -> Hypothesis:
    facts: dict[str, float | int | str] = {
        "auroc": found.area,
        "auroc_low": found.interval.low,
        "auroc_high": found.interval.high,
        "accuracy_on_training_images": float(train.correct.mean()),
        "accuracy_on_the_audited": float(audited.correct.mean()),
    }
    if not np.isnan(found.recognised):
        facts["recognised_at_1_percent_false_alarms"] = found.recognised
    finding = Finding(
        kind="membership",
        harm=0.0,
        p_value=found.p_value,
        title=(
            f"The classifier gives away its training images: in {found.area:.1%} of the pairs of one class "
            f"it is surer of the training image (50% is chance)"
        ),
        facts=facts,
    )

    def harm(confidence: float) -> float:
        low = found.lower(confidence)
        return next(harm for bound, harm in AREA_HARM if low >= bound)

    return Hypothesis(found.p_value, harm, lambda size: finding.model_copy(update={"harm": size}))

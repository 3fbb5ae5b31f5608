"""Whether gradients are masked: other attacks break what plain gradient attacks leave standing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from snellen.auditing.checks.adversarial import AnyThreat
from snellen.auditing.masking import (
    Sign,
    breaks_more,
    established,
    joint_p_value,
    masking_attacks,
    share_above,
    surrogate_model,
)
from snellen.auditing.threat import Threat, check_distinct
from snellen.checks.check import Batch, CheckFigure, CheckInput, CheckResult, Companion, Several
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.per_image import ABSENT, WRONG, PerImage
from snellen.checks.sampled import Sampled
from snellen.core.classifier import Classifier
from snellen.core.errors import ModelError
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet
from snellen.core.outcomes import NOT_FINITE
from snellen.methods.attacks.gradient_sizes import gradient_sizes
from snellen.metrics.clustered import clustered_share

#: Setting of the sizes of the gradients, and the reasons that it gives.
GRADIENT, ZERO, SATURATED = "gradient", "zero", "saturated"

#: Name of the sign that the first figure of a title shows.
ZERO_SIGN = "zero gradient"

#: What each attack is compared with, and the words of the sign. A plain attack follows cross-entropy at temperature 1.
COMPARISONS: Mapping[str, tuple[str, str]] = {
    "fgsm_rescaled": ("fgsm", "FGSM on divided logits breaks {again}, on cross-entropy {plain}"),
    "fgsm_margin": ("fgsm", "FGSM on the margin breaks {again}, on cross-entropy {plain}"),
    "pgd_margin": ("pgd", "PGD on the margin breaks {again}, on cross-entropy {plain}"),
    "square": ("pgd", "Square, without gradients, breaks {again}, PGD {plain}"),
    "transfer": ("pgd", "images made on another model break {again}, PGD {plain}"),
}

#: Those that follow another gradient: they count where that of cross-entropy is zero or softmax saturated, since one
#: objective may be stronger than another for other reasons.
OBJECTIVES = frozenset({"fgsm_rescaled", "fgsm_margin", "pgd_margin"})


class Masking(Sampled):
    """Evidence that resistance to gradient attacks comes from useless gradients.

    A sign is reported when it holds beyond ``tolerance`` of the images that the model gets right, by exact tests, see
    :mod:`snellen.auditing.masking`. No sign means that these attacks found none, not that the model is robust.
    """

    name: ClassVar[str] = "masking"
    summary: ClassVar[str] = "useless gradients: what breaks images that plain gradient attacks leave standing"
    several: ClassVar[Several | None] = "each"
    needs: ClassVar = frozenset({"labels", "gradients", "scores"})

    threats: tuple[AnyThreat, ...] = Field((Threat(norm="linf", size=8),), description="sizes at which attacks compare")
    declared: tuple[AnyThreat, ...] = Field(
        (), description="threats that the classifier must withstand (--threat), instead of these: only there is harm"
    )
    share: float = Field(0.25, gt=0, le=1, description="share of the images that are attacked, drawn by their ids")
    most: int | None = Field(250, ge=1, description="images that are attacked at most, on average; none: no bound")
    steps: int = Field(20, ge=1, description="PGD steps")
    queries: int = Field(200, ge=1, description="queries of Square for each image")
    square_most: int | None = Field(
        125, ge=1, description="images that Square searches at most, on average; none: all that are attacked"
    )
    square_share: float = Field(1.0, gt=0, le=1, description="share of the attacked images that Square searches")
    temperature: float | None = Field(
        None, gt=0, description="what logits are divided by; by default the spread of each image's own logits"
    )
    surrogate: str | None = Field(None, description="reference of a model of the same classes, for transferred images")
    tolerance: float = Field(0.1, gt=0, lt=1, description="share of the images up to which nothing is reported")
    examples: int = Field(5, ge=0, description="images named for each finding")

    @model_validator(mode="after")
    def _once_each(self) -> Masking:
        check_distinct(self.threats, self.declared)
        return self

    @property
    def tried(self) -> tuple[Threat, ...]:
        """The declared threats, or where there are none, the others."""
        return self.declared or self.threats

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why the check cannot run: besides its needs, there must be a threat and a class to be taken for."""
        if not self.tried:
            return "compares attacks under the threats that are named, and none is, such as linf:8/255"
        if len(classifier.class_names) < 2:
            return f"needs two classes, and {classifier.name} has one"
        return super().missing(classifier, images, companions)

    @property
    def concurrent(self) -> bool:
        """See :attr:`Check.concurrent`."""
        return self.surrogate is None

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        named = [
            f"{threat.label}.{attack}.accuracy"
            for threat in self.tried
            for attack in (
                *masking_attacks(threat, steps=self.steps, queries=self.queries),
                *(() if self.surrogate is None else ("transfer",)),
            )
        ]
        return self._names("zero_gradient_share", "saturated_share", *named)

    def cost(self) -> float:
        """Over all images, 0.7 of what it would be if none that is broken left early.

        Measured 0.66 for the bundled fashion CNN, 0.04 for EfficientNet-Lite0, where every image breaks at once.
        """
        searches, queries = 4 + (self.surrogate is not None), self.square_share * self.queries
        return 0.7 * self.share * (5 + len(self.tried) * (12 + searches * 3 * (self.steps + 1) + queries))

    def sized(self, images: int) -> Masking:
        """See :meth:`Sampled.sized`; of the attacked images Square searches those that its own bound allows."""
        found = super().sized(images)
        attacked = found.share * images
        if self.square_most is None or self.square_share * attacked <= self.square_most:
            return found
        return found.model_copy(update={"square_share": self.square_most / attacked})

    def unbounded(self) -> Masking:
        """See :meth:`Sampled.unbounded`."""
        found = super().unbounded()
        return found if "square_most" in self.model_fields_set else found.model_copy(update={"square_most": None})

    def measure(self, batch: Batch) -> Evidence | None:
        """Gradients and attacks of a share of the labelled images."""
        part = self.sample(batch)
        if part is None:
            return None
        searched = (self.draws(part) < self.share * self.square_share).nonzero().flatten()
        rows = [self._gradients(part)]
        for threat in self.tried:
            attacks = masking_attacks(
                threat,
                steps=self.steps,
                queries=self.queries,
                temperature=self.temperature,
                surrogate=None if self.surrogate is None else surrogate_model(self.surrogate, batch.classifier.device),
            )
            for name, attack in attacks.items():
                setting, those = f"{threat.label}.{name}", part if name != "square" else part.take(searched)
                if not those.ids:
                    continue
                try:
                    attacked = attack(those)
                except ModelError:  # not one image of this batch can be attacked; others may be
                    rows.append(self._rows(those, setting, status="failed", reason=NOT_FINITE))
                    continue
                rows.append(
                    attacked.evidence(
                        those.classifier, those.ids, those.labels, setting=setting, unit_ids=those.unit_ids
                    )
                )
        return Evidence.merge(rows)

    def _gradients(self, part: Batch) -> Evidence:
        sizes = gradient_sizes(part.classifier, part.images, part.labels)
        finite = (sizes.cross_entropy.isfinite() & sizes.margin.isfinite()).tolist()
        reasons = [
            NOT_FINITE if not usable else ZERO if zero else SATURATED if saturated else None
            for usable, zero, saturated in zip(finite, sizes.zero.tolist(), sizes.saturated.tolist(), strict=True)
        ]
        values = [v if usable else None for v, usable in zip(sizes.cross_entropy.tolist(), finite, strict=True)]
        status = ["ok" if usable else "failed" for usable in finite]
        return self._rows(part, GRADIENT, status=status, reason=reasons, value=values)

    def _rows(self, part: Batch, setting: str, **columns: object) -> Evidence:
        decided = part.classifier.predict(part.scores).tolist()
        return Evidence.of(
            part.ids,
            setting=setting,
            model=part.classifier.name,
            unit_ids=part.unit_ids,
            label=part.labels.tolist(),
            prediction=decided if setting == GRADIENT else None,
            control="the same images unchanged (setting 'clean')",
            **columns,  # type: ignore[arg-type]
        )

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Accuracy under each attack, the share of zero gradients, and one hypothesis for each threat."""
        images, metrics = reading.images, dict[str, CheckFigure]()
        zero, saturated = useless_gradients(images, reading.evidence)
        measured = zero != ABSENT
        if not measured.any():
            return CheckResult(skipped="of so few images none was drawn; raise masking.share")
        for name, values in (("zero_gradient_share", zero == 1), ("saturated_share", saturated == 1)):
            metrics[f"{self.name}.{name}"] = _measured(values[measured], images.units_of(measured))
        hypotheses = []
        for threat in self.tried:
            seen = seen_signs(threat.label, images, reading.evidence, self.tolerance)
            for name in [setting.removeprefix(f"{threat.label}.") for setting in reading.evidence.settings]:
                after = images.outcomes(reading.evidence, f"{threat.label}.{name}", undecided=ABSENT)
                known = after != ABSENT
                if known.any():
                    figure = _measured(after[known] != WRONG, images.units_of(known))
                    metrics[f"{self.name}.{threat.label}.{name}.accuracy"] = figure
            if seen.signs:
                share = float((zero[measured] == 1).mean())
                hypotheses.append(self._hypothesis(threat, seen.signs, seen.only, share, reading))
        note = (
            f"Masked gradients: {int(measured.sum())} images were attacked. No sign reported means that these attacks "
            f"found none within their budget, not that the model is robust."
        )
        return CheckResult(metrics=metrics, hypotheses=hypotheses, notes=[note, *self.sampling_notes(reading)])

    def _hypothesis(
        self, threat: Threat, signs: list[Sign], only: NDArray[np.bool_], zero: float, reading: CheckInput
    ) -> Hypothesis:
        p_value = joint_p_value(signs)
        compared = [sign for sign in signs if sign.name in COMPARISONS]

        def harm(confidence: float) -> float:
            if threat not in self.declared:
                return 0.0
            # One bound of several: each at its share of the error.
            tail = (1 - confidence) / max(len(compared), 1)
            return max([0.0, *(sign.harm(1 - tail) for sign in compared)])

        def finding(bound: float) -> Finding:
            named = established(signs) or [min(signs, key=lambda sign: sign.p_value)]
            remark = "" if threat in self.declared else " (no harm counted: no threat was declared)"
            ids, labels = reading.images.ids, reading.images.labels
            return Finding(
                kind="gradient_masking",
                subject=threat.label,
                harm=bound,
                p_value=p_value,
                title=f"Gradients are masked, exactly zero on {zero:.1%} of the inputs; under {threat.words}, "
                f"{', '.join(one.words for one in named if one.name != ZERO_SIGN) or 'no attack shows more'}{remark}",
                facts={
                    "zero_gradient_share": zero,
                    "signs": ", ".join(sign.name for sign in named),
                    **{f"p_value {sign.name}": sign.p_value for sign in signs},
                },
                examples=tuple(
                    FindingExample(
                        example_id=ids[row], caption=f"{reading.names[labels[row]]}: stands only under the plain attack"
                    )
                    for row in np.flatnonzero(only)[: self.examples].tolist()
                ),
            )

        return Hypothesis(p_value, harm, finding)


@dataclass(frozen=True, eq=False)
class SeenSigns:
    """What was seen under one threat, of n images.

    Attributes:
        signs: those that could be tested.
        only: images that another attack breaks and the plain one does not, bool (n,).
        apparent: 1 for images with any sign, 0 without, NaN where none was looked for or the image is wrong, (n,).
    """

    signs: list[Sign]
    only: NDArray[np.bool_]
    apparent: NDArray[np.float64]


def useless_gradients(images: PerImage, evidence: Evidence) -> tuple[NDArray[np.int8], NDArray[np.int8]]:
    """Zero gradient, and saturated softmax: 1 where it is, 0 where not, ABSENT where not measured, (n,) each."""
    places = {key: place for place, key in enumerate(images.ids)}
    zero = np.full(len(places), ABSENT, dtype=np.int8)
    saturated = zero.copy()
    rows = evidence.where(setting=GRADIENT, status="ok").table
    for key, reason in zip(rows["example_id"].to_pylist(), rows["reason"].to_pylist(), strict=True):
        zero[places[key]], saturated[places[key]] = reason == ZERO, reason in (ZERO, SATURATED)
    return zero, saturated


def seen_signs(label: str, images: PerImage, evidence: Evidence, tolerance: float) -> SeenSigns:
    """Every sign under a threat, from the evidence of the check.

    Args:
        label: of the threat.
        images: n usable images.
        evidence: of the check.
        tolerance: share of the images up to which no sign is reported.
    """
    zero, saturated = useless_gradients(images, evidence)
    signs = list[Sign]()
    only, shown, measured = (np.zeros(len(images), dtype=bool) for _ in range(3))

    def under(name: str) -> NDArray[np.int8]:
        return images.outcomes(evidence, f"{label}.{name}", undecided=ABSENT)

    known = images.correct & (zero != ABSENT)
    if known.any():
        words = "the gradient of cross-entropy is exactly zero on {share}"
        signs.append(share_above(ZERO_SIGN, words, zero[known] == 1, tolerance, images.units_of(known)))
        measured, shown = measured | known, shown | (known & (zero == 1))
    for name, (plain, words) in COMPARISONS.items():
        again, before = under(name), under(plain)
        known = images.correct & (again != ABSENT) & (before != ABSENT)
        if known.any():
            broken, units = (again[known] == WRONG, before[known] == WRONG), images.units_of(known)
            useless = saturated == 1 if name in OBJECTIVES else np.ones(len(images), dtype=bool)
            signs.append(breaks_more(name, words, *broken, tolerance, units, useless[known]))
            only |= known & (again == WRONG) & (before != WRONG) & useless
            measured = measured | known
    small, large, boundless = under("pgd"), under("pgd_twice"), under("pgd_unbounded")
    known = images.correct & (small != ABSENT) & (large != ABSENT)
    if known.any():
        words = "PGD of the size breaks {again}, of twice the size {plain}"
        broken, units = (small[known] == WRONG, large[known] == WRONG), images.units_of(known)
        signs.append(breaks_more("larger changes", words, *broken, tolerance, units))
        measured, shown = measured | known, shown | (known & (small == WRONG) & (large != WRONG))
    known = images.correct & (boundless != ABSENT)
    if known.any():
        words = "PGD without a bound leaves {share} standing"
        stands = boundless != WRONG
        signs.append(share_above("unbounded", words, stands[known], tolerance, images.units_of(known)))
        measured, shown = measured | known, shown | (known & stands)
    return SeenSigns(signs, only, np.where(measured, (shown | only).astype(np.float64), np.nan))


def _measured(values: NDArray[np.bool_], units: NDArray[np.int64] | None) -> CheckFigure:
    low, high = clustered_share(values, units)
    return CheckFigure(value=float(values.mean()), low=low, high=high, n=len(values))

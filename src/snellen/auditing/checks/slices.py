"""Hidden subgroups, found without group labels and confirmed on images that had no part in the search."""

from __future__ import annotations

import hashlib
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.auditing.gaps import error_gap
from snellen.checks.check import Check, CheckInput, CheckResult, Kept, Several
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.per_image import PerImage
from snellen.core.finding import Finding, FindingExample
from snellen.core.method import Need
from snellen.metrics.inspection.properties import ImageProperties
from snellen.metrics.inspection.slices import FEWEST, ErrorSlice, SliceSearch, find_slices

#: A slice is named for its class, and for a property, from these on.
MOSTLY, STANDS_OUT = 0.6, 0.5

#: Words for a property that is less, and more, than that of the rest.
WORDS: dict[str, tuple[str, str]] = {
    "brightness": ("darker", "brighter"),
    "contrast": ("of less contrast", "of more contrast"),
    "sharpness": ("more blurred", "sharper"),
    "saturation": ("paler", "more saturated"),
    "colourfulness": ("less colourful", "more colourful"),
    "noise": ("smoother", "noisier"),
    "entropy": ("plainer", "busier"),
}


class Slices(Check):
    """Coherent groups of images, in the features of the model, on which it errs more than on the rest."""

    name: ClassVar[str] = "slices"
    summary: ClassVar[str] = "hidden subgroups on which the model errs, found without group labels"
    several: ClassVar[Several | None] = "each"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "scores"})
    reads: ClassVar[frozenset[Kept]] = frozenset({"features", "properties"})

    most: int = Field(8, ge=1, description="how many slices are tested")
    examples: int = Field(12, ge=0, description="pictures for each finding")

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return frozenset()  # it counts or points, and gives no figure

    def cost(self) -> float:
        """Features come with the clean scores."""
        return 0.1

    def conclude(self, reading: CheckInput) -> CheckResult:
        """One hypothesis for each slice that half of the images proposed: on the other half it is no worse."""
        known = reading.images.select(reading.images.labelled)
        units = len(set(known.unit_ids))
        if known.features is None or min(len(known), units) < FEWEST:
            return CheckResult(skipped=f"needs {FEWEST} labelled images and units")
        found = find_slices(
            known.features,
            ~known.correct,
            labels=known.labels,
            predictions=known.predictions,
            confidence=known.confidence,
            units=known.units,
            properties=_named(known.properties),
            most=self.most,
            seed=reading.rng.seed,
        )
        return CheckResult(
            hypotheses=[self._hypothesis(one, known, reading.names, found.held_out) for one in found.slices],
            lists={self.name: _rows(found, known, reading.names)} if found.slices else {},
            notes=[
                f"Slices were proposed by one half of the images and tested on the other: {len(found.slices)} were. "
                f"Each must be worse than the rest and, class by class, than the rest of its classes."
            ],
        )

    def _hypothesis(
        self, one: ErrorSlice, known: PerImage, names: tuple[str, ...], held_out: NDArray[np.bool_]
    ) -> Hypothesis:
        p_value = max(one.p_value, one.excess.p_within_classes)

        def finding(harm: float) -> Finding:
            return Finding(
                kind="slice",
                subject=_subject(one, known, names),
                harm=harm,
                p_value=p_value,
                title=(
                    f"A slice of {one.share:.0%} of the images, {_name(one, names)}, is right in "
                    f"{1 - one.excess.inside:.0%}, the rest in {1 - one.excess.outside:.0%}"
                ),
                facts={
                    "images": len(one.members),
                    "tested_on": one.excess.inside_n,
                    "accuracy": 1 - one.excess.inside,
                    "accuracy_elsewhere": 1 - one.excess.outside,
                    "gap_within_classes": one.excess.gap_within_classes,
                    "mostly": f"{names[one.label]} ({one.label_share:.0%})",
                    "mostly_taken_for": f"{names[one.prediction]} ({one.prediction_share:.0%})",
                    **({} if np.isnan(one.confidence) else {"mean_confidence": one.confidence}),
                },
                examples=_examples(one, known, names, self.examples),
            )

        # What its classes lose anyhow is no harm of the slice.
        within = one.excess.gap_within_classes
        most = max(within, 0.0) if np.isfinite(within) else 0.0
        weighed = known.weighed
        if weighed is not None:
            # An error costs at most 1, so that the bound of what is lost is never above that of the errors.
            inside = np.isin(np.arange(len(known)), one.members)
            gap = error_gap(~known.correct[held_out], inside[held_out], known.units_of(held_out), weighed[held_out])
            if gap is not None:
                return Hypothesis(
                    p_value,
                    lambda level: min(max(min(one.lower(level), gap.lower(level)), 0.0), most) * one.share,
                    finding,
                )
        return Hypothesis(p_value, lambda level: min(max(one.lower(level), 0.0), most) * one.share, finding)


def _rows(found: SliceSearch, known: PerImage, names: tuple[str, ...]) -> list[dict[str, object]]:
    """Images of every slice that was tested, and of the half that tested: by them another run is judged.

    ``tested`` is whether an image is of that half; ``slices`` are those that it is in, reported or not.
    """
    of: list[list[str]] = [[] for _ in known.ids]
    for one in found.slices:
        for row in one.members.tolist():
            of[row].append(_subject(one, known, names))
    return [
        {"id": key, "tested": tested, "slices": slices}
        for key, tested, slices in zip(known.ids, found.held_out.tolist(), of, strict=True)
        if tested or slices
    ]


def _subject(one: ErrorSlice, known: PerImage, names: tuple[str, ...]) -> str:
    return f"{names[one.label]} {_fingerprint(one, known)}"


def _fingerprint(one: ErrorSlice, known: PerImage) -> str:
    """Six letters that stand for the members: slices have no name of their own, and ranks change from run to run."""
    members = "\0".join(sorted(known.ids[row] for row in one.members.tolist()))
    return hashlib.sha256(members.encode()).hexdigest()[:6]


def _named(properties: ImageProperties | None) -> dict[str, np.ndarray]:
    """Those properties for which there are words."""
    known = {} if properties is None else properties.by_name()
    return {name: values for name, values in known.items() if name in WORDS}


def _name(one: ErrorSlice, names: tuple[str, ...]) -> str:
    """What the slice has in common, in words."""
    parts = [f"mostly {names[one.label]}"] if one.label_share >= MOSTLY else ["of several classes"]
    if one.contrasts and abs(one.contrasts[0].difference) >= STANDS_OUT:
        first = one.contrasts[0]
        parts.append(f"{WORDS[first.name][first.difference > 0]} than the rest by {abs(first.difference):.1f} sd")
    return ", ".join(parts)


def _examples(one: ErrorSlice, known: PerImage, names: tuple[str, ...], count: int) -> tuple[FindingExample, ...]:
    """Mistakes nearest to the middle of the slice, then other members."""
    prototypes = one.prototypes.tolist()
    rest = [row for row in one.members.tolist() if row not in set(prototypes)]
    ordered = sorted(prototypes + rest, key=lambda row: bool(known.correct[row]))
    return tuple(
        FindingExample(
            example_id=known.ids[row], caption=f"{names[known.labels[row]]} → {names[known.predictions[row]]}"
        )
        for row in ordered[:count]
    )

"""Images, or units, that are in training and in test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from snellen.auditing.check import Check, Companion, Conclusion, Kept, Reading
from snellen.auditing.per_image import PerImage
from snellen.classifier import Classifier
from snellen.finding import Finding, FindingExample
from snellen.images import ImageSet
from snellen.inspection.duplicates import across


class Leakage(Check):
    """What the audited images share with the training images, or the splits of one set with each other."""

    name: ClassVar[str] = "leakage"
    summary: ClassVar[str] = "images or units (patients, lots) that are in training and in test"
    reads: ClassVar[frozenset[Kept]] = frozenset({"fingerprints", "features"})

    mirrored: bool = Field(True, description="whether mirror images count as near duplicates")
    examples: int = Field(12, ge=0, description="pictures for each finding")

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """There must be two sets: training images, or several splits."""
        splits = {split for split in images.column("split") if split is not None}
        if "train" not in companions and len(splits) < 2:
            return "compares with train images or between splits, and none were given (--train DATA)"
        return super().missing(classifier, images, companions)

    def cost(self) -> float:
        """Fingerprints are cheap beside a network."""
        return 0.1

    def conclude(self, reading: Reading) -> Conclusion:
        """Counted, not inferred: harm is the share of the test images that are known from training."""
        findings = list[Finding]()
        for name, first, second in _pairs(reading):
            equal = set(first.pixel_hashes or ())
            exact = np.array([key in equal for key in second.pixel_hashes or ()], dtype=bool)
            findings += self._finding(f"exact, {name}", "are, pixel for pixel,", exact, second, reading.names)
            if first.fingerprints is not None and second.fingerprints is not None:
                found = across(
                    first.fingerprints,
                    second.fingerprints,
                    first_features=first.features,
                    second_features=second.features,
                    mirrored=self.mirrored,
                )
                near = np.zeros(len(second), dtype=bool)
                near[found.second] = True
                findings += self._finding(f"near, {name}", "are nearly", near & ~exact, second, reading.names)
            units = {unit for unit in first.unit_names if unit is not None}
            shared = np.array([unit in units for unit in second.unit_names], dtype=bool)
            findings += self._finding(f"unit, {name}", "come from units that occur", shared, second, reading.names)
        return Conclusion(findings=findings)

    def _finding(
        self, subject: str, words: str, leaked: np.ndarray, images: PerImage, names: tuple[str, ...]
    ) -> list[Finding]:
        rows = np.flatnonzero(leaked)
        if not len(rows):
            return []
        known = images.labelled
        inside, outside = leaked & known, ~leaked & known
        return [
            Finding(
                kind="leakage",
                subject=subject,
                harm=len(rows) / len(images),
                title=f"{len(rows)} of {len(images)} images {words} among those of {subject.partition(', ')[2]}",
                facts={
                    "images": len(rows),
                    **({"accuracy_on_them": float(images.correct[inside].mean())} if inside.any() else {}),
                    **({"accuracy_on_the_rest": float(images.correct[outside].mean())} if outside.any() else {}),
                },
                examples=tuple(
                    FindingExample(
                        example_id=images.ids[row],
                        caption=names[images.labels[row]] if images.labels[row] >= 0 else "",
                    )
                    for row in rows[: self.examples]
                ),
            )
        ]


def _pairs(reading: Reading) -> Sequence[tuple[str, PerImage, PerImage]]:
    """Names of what is compared, the earlier set, and the later one that should share nothing with it."""
    images, train = reading.images, reading.companions.get("train")
    if train is not None:
        return [("training", train, images)]
    splits = np.array([split or "" for split in images.splits])
    order = [split for split in ("train", "tune", "test") if (splits == split).any()]
    parts = {split: images.select(splits == split) for split in order}
    return [
        (f"the split {earlier}", parts[earlier], parts[later])
        for place, earlier in enumerate(order)
        for later in order[place + 1 :]
    ]

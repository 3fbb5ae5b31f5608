"""The same image more than once, exactly or nearly."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from snellen.auditing.checks.cleaned_images import accuracy_without, advice, cleaned_table
from snellen.checks.check import Check, CheckInput, CheckResult, Kept, Several
from snellen.checks.per_image import PerImage
from snellen.core.finding import Finding, FindingExample
from snellen.metrics.inspection.duplicates import exact_groups, near_groups

#: Name of the table without copies under ``lists/``.
TABLE = "unique_images"


class Duplicates(Check):
    """Groups of equal images, and of near duplicates, among which equal images count once."""

    name: ClassVar[str] = "duplicates"
    summary: ClassVar[str] = "images that occur more than once, exactly or nearly"
    several: ClassVar[Several | None] = "whole"
    reads: ClassVar[frozenset[Kept]] = frozenset({"fingerprints", "features"})

    mirrored: bool = Field(True, description="whether mirror images count as near duplicates")
    examples: int = Field(12, ge=0, description="pictures for each finding")

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return frozenset()  # it counts or points, and gives no figure

    def cost(self) -> float:
        """Fingerprints are cheap beside a network."""
        return 0.1

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Counted, not inferred: harm is the share of images that are copies and add no evidence."""
        images = reading.images
        if images.pixel_hashes is None or images.fingerprints is None:
            return CheckResult(skipped="images of fewer than 8 pixels a side are not searched for duplicates")
        exact = exact_groups(images.pixel_hashes)
        first = {row: group[0] for group in exact for row in group}
        # Equal images count once here: their copies are reported as exact ones.
        near = [
            tuple(dict.fromkeys(first.get(row, row) for row in group.members))
            for group in near_groups(images.fingerprints, images.features, mirrored=self.mirrored)
        ]
        near = [group for group in near if len(group) > 1]
        findings = [self._finding("exact", "equal to others, pixel for pixel", exact, reading)] if exact else []
        findings += [self._finding("near", "nearly equal to others", near, reading)] if near else []
        groups = {"exact": exact, "near": near}
        copies = np.zeros(len(images), dtype=bool)
        copies[[row for found in groups.values() for group in found for row in group[1:]]] = True
        return CheckResult(
            findings=findings,
            tables={TABLE: cleaned_table(images, copies, reading.names)} if findings else {},
            panels=accuracy_without(images, copies, check=self.name, title="Accuracy without copies"),
            lists={
                "duplicates": [
                    {"sort": sort, "group": number, "id": images.ids[row]}
                    for sort, found in groups.items()
                    for number, group in enumerate(found, start=1)
                    for row in group
                ]
            }
            if findings
            else {},
            notes=[
                "Duplicates are compared as the model sees them, resized and cropped. Of near ones, one pair in the "
                "whole set is expected to be alike by chance."
            ],
        )

    def _finding(self, subject: str, words: str, groups: list | tuple, reading: CheckInput) -> Finding:
        images = reading.images
        surplus = sum(len(group) - 1 for group in groups)
        differing = sum(len({int(images.labels[row]) for row in group} - {-1}) > 1 for group in groups)
        return Finding(
            kind="duplicate",
            subject=subject,
            harm=surplus / len(images),
            title=(
                f"{surplus} {'image is' if surplus == 1 else 'images are'} {words}, in {len(groups)} "
                f"{'group' if len(groups) == 1 else 'groups'}"
            ),
            facts={
                "groups": len(groups),
                "surplus_images": surplus,
                "largest_group": max(len(group) for group in groups),
                "groups_with_different_labels": differing,
            },
            examples=_examples(groups, images, reading.names, self.examples),
            treatments=(advice(TABLE, "out all but one image of each group"),),
        )


def _examples(groups: list | tuple, images: PerImage, names: tuple[str, ...], count: int) -> tuple[FindingExample, ...]:
    """Two of each group, those with different labels first."""
    ordered = sorted(groups, key=lambda group: len({int(images.labels[row]) for row in group}) < 2)
    shown = [(number, row) for number, group in enumerate(ordered, start=1) for row in group[:2]]
    return tuple(
        FindingExample(
            example_id=images.ids[row],
            caption=f"group {number}" + (f", {names[images.labels[row]]}" if images.labels[row] >= 0 else ""),
        )
        for number, row in shown[:count]
    )

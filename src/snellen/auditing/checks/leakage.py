"""Images, or units, that are in two sets that should share none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import Field

from snellen.auditing.checks.cleaned_images import accuracy_without, advice, cleaned_table
from snellen.checks.check import Check, CheckInput, CheckResult, Companion, Kept, Several
from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet
from snellen.metrics.inspection.duplicates import across

#: What the sets beside the audited one are called.
NAMES: dict[Companion, str] = {"train": "training", "val": "validation"}

#: Name of the table without images that the classifier may know, under ``lists/``.
TABLE = "unleaked_images"


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two sets; the later should share nothing with the earlier.

    Attributes:
        name: of the pair, in the subject of its findings.
        source: what the earlier set is called.
        kind: of images of the later set: "", or "validation ".
        earlier: images of the first set that were compared.
        units: names of all its units, also of images that were not compared.
        cut: whether there are such images.
        later: images of the second set.
        audited: whether these are among the audited ones.
    """

    name: str
    source: str
    kind: str
    earlier: PerImage
    units: frozenset[str]
    cut: bool
    later: PerImage
    audited: bool


class Leakage(Check):
    """What audited, training and validation images share with each other, and the splits of the audited set."""

    name: ClassVar[str] = "leakage"
    summary: ClassVar[str] = "images or units (patients, lots) that are in training and in test"
    several: ClassVar[Several | None] = "whole"
    reads: ClassVar[frozenset[Kept]] = frozenset({"fingerprints", "features"})

    mirrored: bool = Field(True, description="whether mirror images count as near duplicates")
    examples: int = Field(12, ge=0, description="pictures for each finding")

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """There must be two sets: training or validation images, or several splits."""
        splits = {split for split in images.column("split") if split is not None}
        if not companions and len(splits) < 2:
            return "compares with train images or between splits, and none were given (--train DATA)"
        return super().missing(classifier, images, companions)

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return frozenset()  # it counts or points, and gives no figure

    def cost(self) -> float:
        """Fingerprints are cheap beside a network."""
        return 0.1

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Counted, not inferred: harm is the share of the later images of a pair that are known from the earlier."""
        findings, leaks, audited = list[Finding](), list[dict[str, object]](), set[str]()
        for pair in _pairs(reading):
            earlier, later = pair.earlier, pair.later
            equal = set(earlier.pixel_hashes or ())
            exact = np.array([key in equal for key in later.pixel_hashes or [None] * len(later)], dtype=bool)
            findings += self._finding("exact", ", pixel for pixel, among those", exact, pair, reading.names)
            near = np.zeros(len(later), dtype=bool)
            if earlier.fingerprints is not None and later.fingerprints is not None:
                found = across(
                    earlier.fingerprints,
                    later.fingerprints,
                    first_features=earlier.features,
                    second_features=later.features,
                    mirrored=self.mirrored,
                )
                near[found.second] = True
                near &= ~exact
                findings += self._finding("near", " nearly like some", near, pair, reading.names)
            shared = np.array([unit in pair.units for unit in later.unit_names], dtype=bool)
            findings += self._finding("unit", " of units that occur among those", shared, pair, reading.names)
            leaks += [
                {"sort": sort, "sets": pair.name, "id": later.ids[row]}
                for sort, leaked in (("exact", exact), ("near", near), ("unit", shared))
                for row in np.flatnonzero(leaked)
            ]
            if pair.audited:
                audited |= {later.ids[row] for row in np.flatnonzero(exact | near | shared)}
        notes = [
            f"{NAMES[name]}: {len(seen):,} of {reading.wholes[name].images:,} images were compared (those that "
            f"were drawn, less what could not be used). Leakage of images is a lower bound, that of units is complete."
            for name, seen in reading.companions.items()
            if _is_cut(reading, name)
        ]
        if any(not finding.harm for finding in findings):
            notes.append(
                "Leakage between training and validation images is reported without harm. It does not touch the "
                "audited images, but flatters what was chosen or fitted on the validation images."
            )
        known = np.array([one in audited for one in reading.images.ids], dtype=bool)
        return CheckResult(
            findings=findings,
            lists={"leakage": leaks} if leaks else {},
            tables={TABLE: cleaned_table(reading.images, known, reading.names)} if audited else {},
            panels=accuracy_without(reading.images, known, check=self.name, title="Accuracy without leaked images"),
            notes=notes,
        )

    def _finding(self, sort: str, words: str, leaked: np.ndarray, pair: _Pair, names: tuple[str, ...]) -> list[Finding]:
        rows, images = np.flatnonzero(leaked), pair.later
        if not len(rows):
            return []
        known = images.labelled
        inside, outside = leaked & known, ~leaked & known
        least = "at least " if pair.cut and sort != "unit" else ""
        title = (
            f"{least}{len(rows)} of {len(images)} {pair.kind}images {'is' if len(rows) == 1 else 'are'}{words} "
            f"of {pair.source}"
        )
        return [
            Finding(
                kind="leakage",
                subject=f"{sort}, {pair.name}",
                harm=len(rows) / len(images) if pair.audited else 0.0,
                title=title[0].upper() + title[1:],
                facts={
                    "images": len(rows),
                    **({"accuracy_on_them": float(images.correct[inside].mean())} if inside.any() else {}),
                    **({"accuracy_on_the_rest": float(images.correct[outside].mean())} if outside.any() else {}),
                },
                # Pictures are drawn from the audited set alone.
                examples=tuple(
                    FindingExample(
                        example_id=images.ids[row],
                        caption=names[images.labels[row]] if images.labels[row] >= 0 else "",
                    )
                    for row in rows[: self.examples if pair.audited else 0]
                ),
                treatments=(advice(TABLE, "these images out"),) if pair.audited else (),
            )
        ]


def _is_cut(reading: CheckInput, name: Companion) -> bool:
    """Whether images of a set were not compared."""
    return name in reading.wholes and reading.wholes[name].images > len(reading.companions[name])


def _units(images: PerImage) -> frozenset[str]:
    return frozenset(unit for unit in images.unit_names if unit is not None)


def _pairs(reading: CheckInput) -> list[_Pair]:
    """Training and validation images against the audited ones and each other; splits of the audited ones."""
    images, found, beside = reading.images, list[_Pair](), [n for n in NAMES if n in reading.companions]
    for place, name in enumerate(beside):
        earlier, source = reading.companions[name], NAMES[name]
        units = _units(earlier) | (reading.wholes[name].units if name in reading.wholes else frozenset())
        cut = _is_cut(reading, name)
        found.append(_Pair(source, source, "", earlier, units, cut, images, True))
        for other in beside[place + 1 :]:
            later, kind = reading.companions[other], NAMES[other]
            found.append(
                _Pair(
                    f"{source} in {kind}",
                    source,
                    f"{kind} ",
                    earlier,
                    units,
                    cut or _is_cut(reading, other),
                    later,
                    False,
                )
            )
    splits = np.array([split or "" for split in images.splits])
    order = [split for split in ("train", "val", "test") if (splits == split).any()]
    parts = {split: images.select(splits == split) for split in order}
    found += [
        _Pair(
            f"the split {earlier} in {later}",
            f"the split {earlier}",
            f"{later} ",
            parts[earlier],
            _units(parts[earlier]),
            False,
            parts[later],
            True,
        )
        for place, earlier in enumerate(order)
        for later in order[place + 1 :]
    ]
    return found

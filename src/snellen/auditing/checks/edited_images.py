"""Images, those of training too, with a part that looks edited: the scan of edited regions as a check.

The scan comes by its name from the index, so that this module rests on no published system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.auditing.gaps import ErrorGap, error_gap
from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Companion, LackedSetting, Several
from snellen.checks.panels import Panel, keep_picture
from snellen.checks.per_image import PerImage
from snellen.core import index
from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet
from snellen.core.outcomes import Scanned
from snellen.core.randomness import Randomness
from snellen.data.rejections import counted_reasons, listed_reasons
from snellen.metrics.clustered import clustered_share
from snellen.metrics.units import unit_codes

#: What the scan writes as the reason of an image that it reports.
REPORTED = "edited"

#: Why nothing is measured with a detector that reports nothing.
NO_THRESHOLD = (
    "the detector has no threshold: on its validation images none was better than to report nothing "
    "(--set edits.threshold=SHARE sets one)"
)

#: Sets of images that are scanned, as findings name them.
AUDITED, TRAINING = "audited", "training"

#: The same of what an audit compares with.
_COMPANIONS: Mapping[Companion, str] = {"train": TRAINING}


@dataclass(frozen=True, eq=False)
class ScannedSet:
    """What the scan found in one set.

    Attributes:
        name: of the set. images: that were scanned.
        result: of the scan, without pictures.
        judged: rows of the evidence that count. reported: those of them that are reported, the most edited first.
    """

    name: str
    images: ImageSet
    result: Scanned
    judged: list[dict[str, Any]]
    reported: list[dict[str, Any]]

    @property
    def has_threshold(self) -> bool:
        """Whether images of any share of edited pixels are reported."""
        return self.result.figures.get("threshold") is not None

    @property
    def share(self) -> CheckFigure:
        """Share of the judged images that is reported; units count as independent, where images come in units."""
        hits = np.array([row["reason"] == REPORTED for row in self.judged])
        units = unit_codes([row["unit_id"] or f"image {row['example_id']}" for row in self.judged])
        low, high = clustered_share(hits, units)
        return CheckFigure(value=float(hits.mean()), low=low, high=high, n=len(hits))

    @property
    def figures(self) -> dict[str, int]:
        """Images outside of the scan's scope, and those that it cannot judge."""
        status = self.result.evidence.table["status"].to_pylist()
        return {"outside_scope": status.count("skipped"), "not_judged": status.count("rejected")}


class EditedImages(Check):
    """Find images with a part that an image generator wrote, among the audited and the training images.

    A detector of edited regions judges the files as they are, and not as the model sees them. Reported images are
    counted and not inferred: how often a detector is wrong depends on the editors and the cameras that it knows. So a
    finding has no harm, and a person decides.
    """

    name: ClassVar[str] = "edits"
    summary: ClassVar[str] = "images, those of training too, with a part that looks edited (when named)"
    several: ClassVar[Several | None] = "whole"
    by_default: ClassVar[bool] = False

    detector: str | None = Field(
        None, description="folder, or artifact:FOLDER, of a detector that snellen train edited-regions wrote"
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="share of edited pixels from which on an image is reported; none: the detector's"
    )
    window: int | None = Field(None, ge=16, description="side of the windows, pixels; none: that of its training")
    most: int | None = Field(2000, ge=1, description="images of each set that are scanned, at most; none: no bound")
    examples: int = Field(12, ge=0, description="pictures for each finding, with a map of what looks edited")

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names(f"{AUDITED}.share", f"{TRAINING}.share")

    def cost(self) -> float:
        """A pass through another network for each image, at its own size."""
        return 2.0

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why it cannot run: the package has no detector that knows every editor."""
        if self.detector is None:
            return LackedSetting(
                "needs a detector of edited regions (--set edits.detector=FOLDER), as snellen train edited-regions "
                "makes one of images whose edits are known",
                "detector",
            )
        return super().missing(classifier, images, companions)

    def seeing(self, images: ImageSet, classifier: Classifier) -> EditedImages:
        """As it is; a detector or windows that cannot be used are refused now, and not after hours."""
        if self.detector is not None:
            try:
                self._scan(0).scan(images.select([]), classifier=classifier, rng=Randomness(0))
            except InputError as error:  # names the option of the scan
                raise InputError(str(error).replace("--window", f"--set {self.name}.window=PIXELS")) from error
        return self

    def unbounded(self) -> EditedImages:
        """The same check without a bound, but for one that somebody set."""
        return self if "most" in self.model_fields_set else self.model_copy(update={"most": None})

    def conclude(self, reading: CheckInput) -> CheckResult:
        """A finding for each set with reported images; nothing is tested."""
        assert reading.audited is not None, "edits are looked for in the images themselves"
        sets = {AUDITED: reading.audited} | {
            name: reading.companion_sets[one] for one, name in _COMPANIONS.items() if one in reading.companion_sets
        }
        scanned = list[ScannedSet]()
        for name, images in sets.items():
            scanned.append(self._scanned(name, images, reading))
            if scanned[-1].judged and not scanned[-1].has_threshold:
                return CheckResult(skipped=NO_THRESHOLD)  # a share of 0 would be no figure of the images
        useful = [one for one in scanned if one.judged]
        notes = [note for one in scanned for note in self._notes(one, sets[one.name])]
        if not useful:
            return CheckResult(notes=notes, skipped="no image could be judged; the notes say why")
        pictures: dict[str, bytes] = {}
        rows = [
            {"id": row["example_id"], "set": one.name, "share": row["value"], "editor": row["editor"]}
            for one in useful
            for row in one.reported
        ]
        gaps = {AUDITED: _gap(scanned[0], reading.images)}
        return CheckResult(
            metrics={f"{self.name}.{one.name}.share": one.share for one in useful},
            findings=[self._finding(one, gaps.get(one.name), reading, pictures) for one in useful if one.reported],
            panels=[
                Panel(
                    check=self.name,
                    title="Images that look edited",
                    about="What a detector of edited regions reports. A report is a sign of an edit, and no proof.",
                    head=("images", "judged", "look edited", "outside scope", "not judged", "error on them", "others"),
                    rows=tuple(
                        (
                            one.name,
                            len(one.judged),
                            len(one.reported),
                            *one.figures.values(),
                            *_errors(gaps.get(one.name)),
                        )
                        for one in scanned
                    ),
                )
            ],
            lists={self.name: rows},
            tables={self.name: rows} if rows else {},
            notes=notes,
            pictures=pictures,
        )

    def _scan(self, pictures: int) -> Any:  # noqa: ANN401 - a method that is known by its name alone
        method = index.entry("scans", "edited_regions").load()
        return method(detector=self.detector, threshold=self.threshold, window=self.window, pictures=pictures)

    def _scanned(self, name: str, images: ImageSet, reading: CheckInput) -> ScannedSet:
        rng = reading.rng.child(self.name)
        drawn = images if self.most is None else images.limit(self.most, rng.seed)
        result: Scanned = self._scan(0).scan(drawn, classifier=reading.classifier, rng=rng, progress=reading.progress)
        rows = result.evidence.table.to_pylist()
        judged = [row for row in rows if row["status"] == "ok"]
        reported = sorted(
            (row for row in judged if row["reason"] == REPORTED), key=lambda row: (-row["value"], row["example_id"])
        )
        return ScannedSet(name, drawn, result, judged, reported)

    def _finding(
        self, one: ScannedSet, gap: ErrorGap | None, reading: CheckInput, pictures: dict[str, bytes]
    ) -> Finding:
        count, editors = len(one.reported), [row["editor"] for row in one.reported]
        facts: dict[str, float | int | str] = {
            "images": len(one.judged),
            "reported": count,
            **one.figures,
            "most_by": max(sorted(set(editors)), key=editors.count),
        }
        if gap is not None:
            facts |= {"accuracy": 1 - gap.inside, "accuracy_elsewhere": 1 - gap.outside}
        return Finding(
            kind="manipulated_region",
            subject=one.name,
            harm=0.0,
            title=(
                f"{count} of {len(one.judged)} {one.name} images {'looks' if count == 1 else 'look'} edited in a part, "
                f"most as by {facts['most_by']!r}"
            ),
            facts=facts,
            examples=self._examples(one, reading, pictures),
        )

    def _examples(self, one: ScannedSet, reading: CheckInput, pictures: dict[str, bytes]) -> tuple[FindingExample, ...]:
        """The most edited images, each beside its map of probability; without pictures where none may be kept."""
        shown = one.reported[: self.examples]
        drawn: dict[str, Mapping[str, Any]] = {}
        if reading.pictured and shown:
            places = {name: row for row, name in enumerate(one.images.ids)}
            chosen = one.images.select(np.array([places[row["example_id"]] for row in shown]))
            again = self._scan(len(shown)).scan(chosen, classifier=reading.classifier, rng=reading.rng)
            drawn = {each.name: each.pictures for each in again.pictures}
        found = []
        for row in shown:
            name, own = row["example_id"], drawn.get(row["example_id"])
            if reading.pictured and own is None:
                continue  # readable before, and not any more: the list names it
            found.append(
                FindingExample(
                    example_id=name,
                    caption=f"{row['value']:.1%} of its pixels look edited, most as by {row['editor']}",
                    image=None if own is None else keep_picture(pictures, own["image"]),
                    after=None if own is None else keep_picture(pictures, own["probability"]),
                )
            )
        return tuple(found)

    def _notes(self, one: ScannedSet, whole: ImageSet) -> list[str]:
        evidence = one.result.evidence
        lost = evidence.where(status="rejected").table["reason"].to_pylist()
        notes = [f"Edits, {one.name} images: {one.result.verdict}."]
        notes += [f"Edits: {each}." for each in (*evidence.assumptions, evidence.control) if each]
        if lost:
            reasons = listed_reasons(counted_reasons(lost))
            notes.append(f"Edits: {len(lost)} {one.name} images were not judged: {reasons}.")
        if len(one.images) < len(whole):
            notes.append(
                f"Edits: {len(one.images):,} of {len(whole):,} {one.name} images were scanned, drawn at random "
                f"(--set {self.name}.most changes how many)."
            )
        return notes


def _gap(found: ScannedSet, images: PerImage) -> ErrorGap | None:
    """Errors on reported images beside those on the other judged ones; None where nothing can be compared."""
    judged = {row["example_id"] for row in found.judged}
    hits = {row["example_id"] for row in found.reported}
    known: NDArray[np.bool_] = images.labelled & np.array([one in judged for one in images.ids], dtype=bool)
    member = np.array([one in hits for one in images.ids], dtype=bool)
    return error_gap(~images.correct[known], member[known], images.units_of(known)) if known.any() else None


def _errors(gap: ErrorGap | None) -> tuple[str, str]:
    return ("", "") if gap is None else (f"{gap.inside:.1%}", f"{gap.outside:.1%}")

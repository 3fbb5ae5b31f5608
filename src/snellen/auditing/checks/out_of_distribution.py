"""Which single images are unlike those that the classifier knows, named one by one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from snellen.auditing.gaps import error_gap
from snellen.checks.check import Check, CheckFigure, CheckInput, CheckResult, Companion, Kept
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Line, Panel, Point
from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet
from snellen.metrics.inspection.conformal import FEWEST_UNITS, ForeignImages, foreign_images

#: From this p value on, an image is not listed.
LISTED = 0.05

#: Points of the drawn curve.
POINTS = 40


class OutOfDistribution(Check):
    """Conformal p values of every image against validation images, or else training images."""

    name: ClassVar[str] = "out_of_distribution"
    summary: ClassVar[str] = "single images that are unlike those of training, named one by one"
    reads: ClassVar[frozenset[Kept]] = frozenset({"features", "properties"})

    rate: float = Field(0.05, gt=0, lt=1, description="share of wrongly named images among those named, on average")
    examples: int = Field(12, ge=0, description="pictures of the most foreign images")

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        return self._names("share")

    def cost(self) -> float:
        """Features come with the clean scores."""
        return 0.1

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why the check cannot run: besides its needs, there must be images to compare with."""
        if not companions & {"train", "val"}:
            return "compares with train or validation images, and none were given (--train DATA, --val DATA)"
        if classifier.task not in self.tasks:
            return f"handles {', '.join(sorted(self.tasks))} tasks, and {classifier.name} is {classifier.task}"
        return None

    def conclude(self, reading: CheckInput) -> CheckResult:
        """One hypothesis: no image is foreign. Images are named at a false discovery rate of their own."""
        images = reading.images
        known, where, short = _reference(reading)
        if known is None:
            return CheckResult(
                skipped=f"needs {FEWEST_UNITS} images or units that can be used to compare with; there are {short}"
            )
        first, second, of = _described(known, images)
        if first is None or second is None:
            return CheckResult(skipped="needs features of the model or properties of the pixels, and there are neither")
        found = foreign_images(
            first, second, known_units=known.units, units=images.units, rate=self.rate, seed=reading.rng.seed
        )
        low, high = found.interval
        note = (
            f"Images are compared with {len(known)} {where} by {of}. At a false discovery rate of {self.rate:.0%}, "
            f"{found.smallest_group} equally foreign images or more can be named among {len(images)}. More images to "
            f"compare with make that fewer."
        )
        if where == "training images" and of == "features of the model":
            note += " A model may see its training images otherwise than new ones; --val images rule that out."
        return CheckResult(
            metrics={"out_of_distribution.share": CheckFigure(value=found.share, low=low, high=high, n=len(images))},
            hypotheses=[self._hypothesis(found, images, where, reading.names)],
            panels=[_curve(found)],
            lists={self.name: _listed(found, images)},
            tables={self.name: _rows(found, images, reading.names)},
            notes=[note],
        )

    def _hypothesis(self, found: ForeignImages, images: PerImage, where: str, names: tuple[str, ...]) -> Hypothesis:
        member = np.zeros(len(images), dtype=bool)
        member[found.named] = True
        held = images.labelled
        gap = None
        if held.any():
            weighed = images.weighed
            gap = error_gap(
                ~images.correct[held],
                member[held],
                images.units_of(held),
                None if weighed is None else weighed[held],
            )
        count = len(found.named)
        low, high = found.interval

        def finding(harm: float) -> Finding:
            facts: dict[str, float | int | str] = {
                "named": count,
                "share_far": found.share,
                "share_far_low": low,
                "share_far_high": high,
                "calibrating_images": found.calibrating,
            }
            wrong = ""
            if gap is not None:
                facts |= {"accuracy": 1 - gap.inside, "accuracy_elsewhere": 1 - gap.outside}
                wrong = f"; {1 - gap.inside:.0%} of them are right, of the others {1 - gap.outside:.0%}"
            title = f"{count} {'image is' if count == 1 else 'images are'} unlike the {where}{wrong}"
            if not count:
                title = f"{found.share:.1%} of the images are far from the {where}, and none of them stands out"
            return Finding(
                kind="out_of_distribution",
                harm=harm,
                p_value=found.p_value,
                title=title,
                facts=facts,
                examples=tuple(
                    FindingExample(example_id=images.ids[row], caption=_caption(row, images, names))
                    for row in found.named[: self.examples].tolist()
                ),
            )

        return Hypothesis(found.p_value, lambda level: 0.0 if gap is None else gap.harm(level), finding)


def _caption(row: int, images: PerImage, names: tuple[str, ...]) -> str:
    decided = names[images.predictions[row]]
    return f"{names[images.labels[row]]} → {decided}" if images.labels[row] >= 0 else f"taken for {decided}"


def _reference(reading: CheckInput) -> tuple[PerImage | None, str, str]:
    """The images to compare with, what they are called, and how many there are where those are too few."""
    short = []
    names: tuple[tuple[Companion, str], ...] = (("val", "validation images"), ("train", "training images"))
    for name, words in names:
        known = reading.companions.get(name)
        if known is None:
            continue
        units = len(set(known.unit_ids))
        if units >= FEWEST_UNITS:
            return known, words, ""
        short.append(f"{units} of the {words}")
    return None, "", " and ".join(short)


def _described(
    known: PerImage, images: PerImage
) -> tuple[NDArray[np.floating] | None, NDArray[np.floating] | None, str]:
    """Features of both sets where the model gives some, else properties of the pixels."""
    if known.features is not None and images.features is not None:
        return _of_length_one(known.features), _of_length_one(images.features), "features of the model"
    if known.properties is not None and images.properties is not None:
        rows = [np.stack(list(one.properties.by_name().values()), 1) for one in (known, images) if one.properties]
        return rows[0], rows[1], "properties of the pixels (brightness, sharpness …)"
    return None, None, ""


def _of_length_one(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features divided by their length, which says more of confidence than of content (Sun et al., ICML 2022)."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _listed(found: ForeignImages, images: PerImage) -> list[dict[str, object]]:
    named = set(found.named.tolist())
    rows = np.flatnonzero(found.p_values <= LISTED)
    ranked = sorted(rows.tolist(), key=lambda row: (-found.distances[row], images.ids[row]))
    return [{"id": images.ids[row], "p": float(found.p_values[row]), "named": row in named} for row in ranked]


def _rows(found: ForeignImages, images: PerImage, names: tuple[str, ...]) -> list[dict[str, object]]:
    """The images that are named, for a person to see."""
    return [
        {
            "id": images.ids[row],
            "p": f"{found.p_values[row]:.3g}",
            "label": names[images.labels[row]] if images.labels[row] >= 0 else "",
            "taken_for": names[images.predictions[row]],
        }
        for row in found.named.tolist()
    ]


def _curve(found: ForeignImages) -> Panel:
    levels = np.unique(np.concatenate([np.geomspace(1 / (1 + found.calibrating), 1, POINTS), [LISTED]]))
    shares = [(found.p_values <= level).mean() for level in levels]
    points = tuple(Point(x=float(level), y=float(share)) for level, share in zip(levels, shares, strict=True))
    return Panel(
        check="out_of_distribution",
        title="How foreign the images are",
        about="Share of the images whose p value is at most so large. Images like those that they are compared "
        "with lie on the dashed line.",
        x_label="p value",
        y_label="share of the images",
        lines=(
            Line(name="these images", points=points),
            Line(name="known images", points=(Point(x=0, y=0), Point(x=1, y=1)), reference=True),
        ),
    )

"""Is it the background: the same objects before the backgrounds of other images, beside their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from snellen.auditing.swapped_backgrounds import Lenders, Swapped, swapped
from snellen.checks.check import CheckFigure, CheckInput, CheckResult, Companion, LackedSetting
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Panel, keep_picture
from snellen.checks.per_image import PerImage
from snellen.checks.sampled import Sampled
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.metrics.clustered import clustered_mean
from snellen.metrics.followed_grounds import FollowedGrounds
from snellen.models.segmenters.object_masks import ObjectMasks, fitting_segmenter

#: Composites that are kept for the pictures of findings, and backgrounds that a finding names.
PICTURED, NAMED = 40, 5


class Background(Sampled):
    """Right decisions that are lost before backgrounds of images of other classes, beside those lost before their own.

    Both are put together in the same way, so that seams and filled holes cost the same. Images that are wrong as they
    are have nothing to lose, and no share in the harm. ``segmenter`` is for sets without masks; what it takes for the
    object then is the object. The evidence outside of the object comes from Partition SHAP over a blurred image; it is
    a figure without a test.

    There are two findings. ``background_sensitivity``: right decisions are lost before other backgrounds, as most
    classifiers lose some. ``background_shortcut``: decisions follow the background, each background to a class of its
    own (:class:`~snellen.metrics.followed_grounds.FollowedGrounds`). ``follows`` is the share of the right decisions
    that do, ``follows_expected`` the share that would before backgrounds that are only as hard. Intervals are of images
    (units); the few backgrounds that are lent are as given.
    """

    name: ClassVar[str] = "background"
    summary: ClassVar[str] = "does the decision rest on the background (where masks or a segmenter are given)"
    one_label: ClassVar[str] = "a mask shows the object of the one class of an image"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    share: float = Field(0.25, gt=0, le=1, description="share of the images that are composited, drawn by their ids")
    most: int | None = Field(500, ge=1, description="images that are composited at most, on average; none: no bound")
    swaps: int = Field(4, ge=1, description="other images' backgrounds behind each object")
    evaluations: int = Field(
        64, ge=0, description="passes for each image that ask where the evidence lies; 0 leaves that out"
    )
    segmenter: str | None = Field(
        None, description="reference of a segmenter in place of masks (isnet:FILE.onnx, hf:FOLDER, bundled:scene-sam)"
    )
    examples: int = Field(5, ge=0, description="pictures for the finding")

    def missing(self, classifier: Classifier, images: ImageSet, companions: frozenset[Companion]) -> str | None:
        """Why it cannot run: without masks nobody knows what the background is."""
        masked = any(mask is not None for mask in images.column("mask"))
        if self.segmenter is None and not masked:
            return LackedSetting(
                f"needs to know where the objects are, and {images.name} has no masks (column mask); give them, or a "
                f"segmenter: --set background.segmenter=isnet:FILE.onnx",
                "segmenter",
            )
        return super().missing(classifier, images, companions)

    def resolved(self, classifier: Classifier) -> Background:
        """As it is; a segmenter that cannot be used is refused now, and not after hours."""
        if self.segmenter is not None:
            fitting_segmenter(self.segmenter, classifier.device)
        return self

    def figure_names(self) -> frozenset[str]:
        """Known before the audit runs; see :meth:`Check.figure_names`."""
        kept = ("kept_own", "kept_same", "kept_other", "follows", "follows_expected")
        return self._names("lost", "followed", *kept, "area_outside", "evidence_outside")

    def cost(self) -> float:
        """Composites of three kinds, and the evaluations, for the share that is drawn."""
        return self.share * (3 * self.swaps + self.evaluations)

    def conclude(self, reading: CheckInput) -> CheckResult:
        """Two hypotheses: other backgrounds cost no right decisions, and decisions follow none of them."""
        known, rng = reading.images, reading.rng.child(self.name)
        drawn = rng.for_examples(known.ids).uniform("share", ()).numpy()
        rows = np.flatnonzero(known.labelled & (drawn < self.sized(int(known.labelled.sum())).share))
        if reading.audited is None or not len(rows):
            return CheckResult(skipped="of so few images none was drawn; raise background.share")
        device, reference = reading.classifier.device, self.segmenter
        segmenter = None if reference is None else fitting_segmenter(reference, device)
        objects = ObjectMasks(reading.audited, reading.classifier.preparation, segmenter)
        lenders = Lenders.of(known, rows, objects, rng)
        found: list[Swapped] = []
        for row in rows.tolist():
            one = swapped(
                row, known, objects, lenders, reading.classifier, rng, swaps=self.swaps, evaluations=self.evaluations
            )
            if one is not None:
                enough = sum(before.shown is not None for before in found) >= max(PICTURED, self.examples)
                found.append(replace(one, shown=None) if enough else one)  # pictures of all would fill the memory
        lost = len(rows) - len(found)
        notes = [
            "Background: what a mask misses of an object counts as its background, and may then seem to be followed."
        ]
        notes += [
            f"Background: {lost} of {len(rows)} drawn images count in no figure. They have no mask, no background "
            f"around the object, or no image of another class to take one from."
        ] * bool(lost)
        notes += self.sampling_notes(reading, len(rows))
        return (
            self._concluded(found, known, reading, lenders, notes)
            if found
            else CheckResult(notes=notes, skipped=f"none of {len(rows)} drawn images could be given another background")
        )

    def _concluded(
        self, found: Sequence[Swapped], known: PerImage, reading: CheckInput, lenders: Lenders, notes: Sequence[str]
    ) -> CheckResult:
        rows = np.array([one.row for one in found])
        units = known.units_of(rows)
        right = known.correct[rows]
        shares = {name: _shares(found, known, name) for name in ("kept_own", "kept_same", "kept_other")}
        pairs = _pairs(found, known, len(reading.names))
        pulled, chance, excess = (
            _by_image(found, values) for values in (pairs.follows, pairs.expected, pairs.follows - pairs.expected)
        )
        shares |= {"follows": pulled, "follows_expected": chance}
        # What the two findings are the means of, image by image: by it another run is compared.
        behind = {
            "lost": np.where(right, shares["kept_own"] - shares["kept_other"], 0.0),
            "followed": np.where(right, excess, 0.0),
        }
        lost, followed = (clustered_mean(behind[name], units, pseudo_units=1.0) for name in ("lost", "followed"))
        shares["area_outside"] = np.array([one.area for one in found])
        shares["evidence_outside"] = np.array([one.outside for one in found])
        counted = {
            name: right & np.isfinite(values) if name.startswith(("kept", "follows")) else np.isfinite(values)
            for name, values in shares.items()
        }
        low, high = lost.interval() if len(rows) > 1 else (-1.0, 1.0)
        ends = followed.interval() if len(rows) > 1 else (-1.0, 1.0)
        metrics = {
            f"{self.name}.lost": CheckFigure(value=lost.value, low=max(low, -1.0), high=min(high, 1.0), n=len(rows)),
            f"{self.name}.followed": CheckFigure(
                value=followed.value, low=max(ends[0], -1.0), high=min(ends[1], 1.0), n=len(rows)
            ),
            **{
                f"{self.name}.{name}": _measured(values[counted[name]], known.units_of(rows[counted[name]]))
                for name, values in shares.items()
                if counted[name].any()
            },
        }
        pictures: dict[str, bytes] = {}
        facts: dict[str, float | int | str] = {
            "images": len(rows),
            **{name.partition(".")[2]: one.value for name, one in metrics.items()},
        }

        def sensitive(harm: float) -> Finding:
            own, other = (metrics[f"{self.name}.kept_{whose}"].value for whose in ("own", "other"))
            return Finding(
                kind="background_sensitivity",
                harm=harm,
                p_value=lost.p_value(),
                title=f"Other backgrounds cost right decisions: of the images that are right, {other:.0%} stay so "
                f"before backgrounds of other classes, {own:.0%} before their own",
                facts=facts,
                examples=self._examples(found, known, reading, pictures, None),
            )

        def shortcut(harm: float) -> Finding:
            follows, expected = (metrics[f"{self.name}.{name}"].value for name in ("follows", "follows_expected"))
            return Finding(
                kind="background_shortcut",
                harm=harm,
                p_value=pairs.p_value,
                title=f"Decisions follow the background: {follows:.0%} of the right ones become the class of other "
                f"objects before it; {expected:.0%} would if it were only as hard",
                facts={**facts, "backgrounds": _strongest(pairs, found, lenders, reading.names)},
                examples=self._examples(found, known, reading, pictures, pairs),
            )

        return CheckResult(
            metrics=metrics,
            hypotheses=[
                Hypothesis(lost.p_value(), lambda confidence: max(lost.lower(confidence), 0.0), sensitive),
                Hypothesis(pairs.p_value, lambda confidence: max(followed.lower(confidence), 0.0), shortcut),
            ]
            # Where nothing is right, nothing can be lost or follow.
            * bool(right.any()),
            panels=[self._panel(known.labels[rows], right, shares, reading.names)] if right.any() else [],
            lists={
                self.name: [
                    {
                        "id": known.ids[one.row],
                        "right": bool(right[place]),
                        **{
                            name: float(values[place]) if np.isfinite(values[place]) else None
                            for name, values in (shares | behind).items()
                        },
                    }
                    for place, one in enumerate(found)
                ]
            },
            notes=notes,
            pictures=pictures,
        )

    def _examples(
        self,
        found: Sequence[Swapped],
        known: PerImage,
        reading: CheckInput,
        pictures: dict[str, bytes],
        pairs: FollowedGrounds | None,
    ) -> tuple[FindingExample, ...]:
        """Images that are right before their own background, in any place, and wrong before another.

        Args:
            found: what came out.
            known: the images.
            reading: of the check.
            pictures: are added to.
            pairs: where given, those that follow their background come first.
        """
        names, starts = reading.names, np.cumsum([0, *(len(one.grounds) for one in found)])
        shown = [(place, one.shown) for place, one in enumerate(found) if one.shown is not None]
        if pairs is not None:
            shown.sort(key=lambda pair: not pairs.follows[starts[pair[0]] + pair[1][0]])
        examples = list[FindingExample]()
        for place, (number, picture) in shown[: self.examples]:
            one = found[place]
            label, decision, lent = int(known.labels[one.row]), int(one.other[number]), int(one.lent[number])
            becomes = "no decision" if decision < 0 else names[decision]
            examples.append(
                FindingExample(
                    example_id=known.ids[one.row],
                    caption=f"{names[label]} before a background of {names[lent]}: {becomes}",
                    after=keep_picture(pictures, picture) if reading.pictured else None,
                )
            )
        return tuple(examples)

    def _panel(
        self,
        labels: NDArray[np.int64],
        right: NDArray[np.bool_],
        shares: Mapping[str, NDArray[np.float64]],
        names: tuple[str, ...],
    ) -> Panel:
        kept = [shares[f"kept_{kind}"] for kind in ("own", "same", "other")]
        return Panel(
            check=self.name,
            title="The same objects before other backgrounds",
            about="What stays right before the own background, moved, before those of other images of the class, and "
            "before those of other classes.",
            head=("class", "right images", "own", "same class", "other classes"),
            rows=tuple(
                (names[label], int(of.sum()), *(_mean_known(share[of]) for share in kept))
                for label in np.unique(labels[right]).tolist()
                for of in [right & (labels == label)]
            ),
        )


def _shares(found: Sequence[Swapped], known: PerImage, name: str) -> NDArray[np.float64]:
    """Share of each image's swaps that are right, before one kind of background; NaN where none could be drawn."""
    kind = name.removeprefix("kept_")
    decisions = [(getattr(one, kind) == int(known.labels[one.row])).double() for one in found]
    return np.array([float(right.mean()) for right in decisions])


def _pairs(found: Sequence[Swapped], known: PerImage, classes: int) -> FollowedGrounds:
    """Whether decisions about objects before backgrounds of other images follow those.

    Images that are wrong as they are say what a background does to decisions as much as the others.
    """
    each = [len(one.grounds) for one in found]
    rows = np.repeat([one.row for one in found], each)
    return FollowedGrounds.of(
        known.labels[rows],
        torch.cat([part for one in found for part in (one.other, one.same)]).numpy(),
        torch.cat([one.grounds for one in found]).numpy(),
        rows,
        classes,
    )


def _by_image(found: Sequence[Swapped], values: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean over the swaps of each image."""
    ends = np.cumsum([len(one.grounds) for one in found])[:-1]
    return np.array([float(part.mean()) for part in np.split(values, ends)])


def _strongest(pairs: FollowedGrounds, found: Sequence[Swapped], lenders: Lenders, names: tuple[str, ...]) -> str:
    """The backgrounds that most decisions follow, and the class of each."""
    grounds = torch.cat([one.grounds for one in found]).numpy()
    counts = np.bincount(grounds[pairs.follows], minlength=len(lenders.ids))
    named = []
    for ground in np.argsort(-counts, kind="stable")[:NAMED].tolist():
        if counts[ground]:
            own = int(np.bincount(pairs.ground_class[(grounds == ground) & pairs.follows]).argmax())
            of = int((grounds == ground).sum())
            named.append(f"that of {lenders.ids[ground]} to {names[own]} ({counts[ground]} of {of})")
    return ", ".join(named) or "none"


def _mean_known(values: NDArray[np.float64]) -> float | str:
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 4) if len(known) else ""


def _measured(values: NDArray[np.float64], units: NDArray[np.int64] | None) -> CheckFigure:
    low, high = clustered_mean(values, units).interval() if len(values) > 1 else (0.0, 1.0)
    return CheckFigure(value=float(values.mean()), low=max(low, 0.0), high=min(high, 1.0), n=len(values))

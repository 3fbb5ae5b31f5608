"""Is it the background: the same objects before the backgrounds of other images, beside their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from snellen.checks.check import Check, Companion, Conclusion, Measured, Reading
from snellen.checks.hypothesis import Hypothesis
from snellen.checks.panels import Panel, keep_picture
from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet
from snellen.core.method import Need
from snellen.core.randomness import Randomness
from snellen.methods.explanations.background_swap import before_backgrounds, without_object
from snellen.methods.explanations.filling import blurred_filling
from snellen.methods.explanations.maps import pixel_map
from snellen.methods.explanations.partition_shap import partition_shap
from snellen.methods.explanations.score import TargetScore
from snellen.metrics.clustered import clustered_mean
from snellen.metrics.followed_grounds import FollowedGrounds
from snellen.models.segmenters.object_masks import ObjectMasks, fitting_segmenter

#: Images that lend their backgrounds, at most: they stay in memory.
LENDERS = 64

#: Composites that are kept for the pictures of findings, and backgrounds that a finding names.
PICTURED, NAMED = 40, 5

#: Least and largest share of an image that an object may take to tell anything.
LEAST_SHARE, MOST_SHARE = 0.01, 0.95


@dataclass(frozen=True, eq=False)
class Swapped:
    """What came out for one image.

    Attributes:
        row: its position among the known images.
        own: decisions before its own background, moved: int64 (s,), −1 where scores are not finite.
        other: decisions before backgrounds of other classes, (s,).
        lent: classes of those, (s,).
        same: decisions before backgrounds of other images of its class, (t,), t ≤ s.
        grounds: which of the lent backgrounds they are, the other classes first, (s + t,).
        area: share of the pixels that lie outside of the object.
        outside: share of the evidence for the decision that lies there; NaN where there is none, or nobody asked.
        shown: number of the first other background before which it is wrong, with the composite (3, h, w); None unless
            it is right as it is and before its own at every place.
    """

    row: int
    own: Tensor
    other: Tensor
    lent: Tensor
    same: Tensor
    grounds: Tensor
    area: float
    outside: float
    shown: tuple[int, Tensor] | None


@dataclass(eq=False)
class Lenders:
    """Backgrounds without their objects, with the classes of the images that they are of."""

    backgrounds: list[Tensor] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, known: PerImage, rows: NDArray[np.int64], objects: ObjectMasks, rng: Randomness) -> Lenders:
        """Those of some images, class by class in turn, in an order that is drawn."""
        draws = rng.for_examples(known.ids).uniform("lender", ()).numpy()
        turns: dict[int, list[int]] = {}
        for row in sorted(rows.tolist(), key=lambda row: (draws[row], known.ids[row])):
            turns.setdefault(int(known.labels[row]), []).append(row)
        lenders = cls()
        for turn in range(max(map(len, turns.values()), default=0)):
            for label in sorted(turns):
                if turn < len(turns[label]) and len(lenders.labels) < LENDERS:
                    read = objects.read(known.ids[turns[label][turn]])
                    if read is not None and tells(read[1]):
                        lenders.backgrounds.append(without_object(*read))
                        lenders.labels.append(label)
                        lenders.ids.append(known.ids[turns[label][turn]])
        return lenders

    def drawn(self, row_id: str, label: int, size: torch.Size, count: int, rng: Randomness) -> tuple[list[int], ...]:
        """Positions of backgrounds of other classes, and of other images of the class, of this size.

        They are drawn for one image, and fewer where few are.
        """
        fitting = [place for place, background in enumerate(self.backgrounds) if background.shape == size]
        order = rng.uniform("lenders", (len(self.labels) + 1,))[0].argsort().tolist()
        fitting = [place for place in order if place in fitting and self.ids[place] != row_id]
        others = [place for place in fitting if self.labels[place] != label]
        return others[:count], [place for place in fitting if self.labels[place] == label][:count]


def swapped(
    row: int, known: PerImage, objects: ObjectMasks, lenders: Lenders, classifier: Classifier, rng: Randomness,
    *, swaps: int, evaluations: int,
) -> Swapped | None:  # fmt: skip
    """Put one object before other backgrounds and before its own, and ask the model; None where that cannot be done.

    Args:
        row: position among the known images; it has a label.
        known: the images.
        objects: reads image and mask.
        lenders: of backgrounds.
        classifier: the model.
        rng: of the check, not bound.
        swaps: backgrounds of either kind.
        evaluations: passes that ask where the evidence lies; 0: nobody asks.
    """
    read = objects.read(known.ids[row])
    if read is None or not tells(read[1]):
        return None
    (image, mask), bound = read, rng.for_examples([known.ids[row]])
    chosen, alike = lenders.drawn(known.ids[row], int(known.labels[row]), image.shape, swaps, bound)
    if not chosen:
        return None
    count = len(chosen)
    steps = torch.stack(
        [bound.integers(name, (swaps,), 0, side)[0] for name, side in zip("yx", mask.shape, strict=True)], 1
    )
    kinds = [without_object(image, mask).expand(count, -1, -1, -1)]
    kinds += [torch.stack([lenders.backgrounds[place] for place in places]) for places in (chosen, alike) if places]
    composites = torch.cat(
        [
            before_backgrounds(
                image.expand(len(kind), -1, -1, -1), mask.expand(len(kind), -1, -1), kind, steps[: len(kind)]
            )
            for kind in kinds
        ]
    )
    with torch.no_grad():
        scores = classifier(composites.to(classifier.device))
    decided = torch.where(scores.isfinite().all(1), classifier.predict(scores), -1).cpu()
    label, (own, other, same) = int(known.labels[row]), decided.split([count, count, len(alike)])
    wrong = (other != label).nonzero().flatten().tolist() if known.correct[row] and bool((own == label).all()) else []
    target = int(known.predictions[row])
    return Swapped(
        row=row,
        own=own,
        other=other,
        lent=torch.tensor([lenders.labels[place] for place in chosen]),
        same=same,
        grounds=torch.tensor(chosen + alike),
        area=1 - float(mask.double().mean()),
        outside=evidence_outside(classifier, image, mask, target, evaluations) if evaluations else float("nan"),
        shown=(wrong[0], composites[count + wrong[0]]) if wrong else None,
    )


def tells(mask: Tensor) -> bool:
    """Whether there is an object with something around it."""
    return LEAST_SHARE <= float(mask.double().mean()) <= MOST_SHARE


def evidence_outside(classifier: Classifier, image: Tensor, mask: Tensor, target: int, evaluations: int) -> float:
    """Share of the evidence for a class that lies outside of the object; NaN where nothing speaks for it.

    Evidence is the positive part of Partition SHAP, in which removed blocks show the image out of focus.

    Args:
        classifier: the model.
        image: (3, h, w) in [0, 1].
        mask: bool (h, w), the object.
        target: the class.
        evaluations: passes, at least 2.
    """
    images = image[None].to(classifier.device)
    of = TargetScore(classifier, torch.tensor([target]), "score" if classifier.output == "labels" else "probability")
    found = partition_shap(of, images, blurred_filling(images), budget=max(evaluations, 2))
    speaks = pixel_map(found.maps)[0].cpu().double().clamp(min=0)
    total = float(speaks.sum())
    return float(speaks[~mask].sum()) / total if found.status[0] == "ok" and total > 0 else float("nan")


class Background(Check):
    """Right decisions that are lost before backgrounds of images of other classes, beside those lost before their own.

    Both are put together in the same way, so that seams and filled holes cost the same. Images that are wrong as they
    are have nothing to lose, and no share in the harm. ``segmenter`` is for sets without masks; what it takes for the
    object then is the object. The evidence outside of the object comes from Partition SHAP over a blurred image, and is
    told, not tested.

    Two things are told apart. That decisions change before other backgrounds is stress that most classifiers feel. That
    they follow the background, each background to a class of its own, is a shortcut
    (:class:`~snellen.metrics.followed_grounds.FollowedGrounds`); ``follows`` is the share of the right decisions that
    do, beside ``follows_expected``, the share that would before backgrounds that are only as hard. Intervals are of
    images (units); the few backgrounds that are lent are as given.
    """

    name: ClassVar[str] = "background"
    summary: ClassVar[str] = "does the decision rest on the background (where masks or a segmenter are given)"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})

    share: float = Field(0.25, gt=0, le=1, description="share of the images that are looked at, drawn by their ids")
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
            return (
                f"needs to know where the objects are, and {images.name} has no masks (column mask); give them, or a "
                f"segmenter: --set background.segmenter=isnet:FILE.onnx"
            )
        return super().missing(classifier, images, companions)

    def resolved(self, classifier: Classifier) -> Background:
        """As it is; a segmenter that cannot be used is told now, and not after hours."""
        if self.segmenter is not None:
            fitting_segmenter(self.segmenter, classifier.device)
        return self

    def cost(self) -> float:
        """Composites of three kinds, and the evaluations, for the share that is looked at."""
        return self.share * (3 * self.swaps + self.evaluations)

    def conclude(self, reading: Reading) -> Conclusion:
        """One hypothesis: other backgrounds cost no more right decisions than the images' own."""
        known, rng = reading.images, reading.rng.child(self.name)
        drawn = rng.for_examples(known.ids).uniform("share", ()).numpy()
        rows = np.flatnonzero(known.labelled & (drawn < self.share))
        if reading.audited is None or not len(rows):
            return Conclusion(notes=["Background: of so few images none was drawn; raise background.share."])
        device, asked = reading.classifier.device, self.segmenter
        segmenter = None if asked is None else fitting_segmenter(asked, device)
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
            f"Background: {lost} of {len(rows)} drawn images count in no figure: no mask, no background around the "
            f"object, or no image of another class to take one from."
        ] * bool(lost)
        return self._concluded(found, known, reading, lenders, notes) if found else Conclusion(notes=notes)

    def _concluded(
        self, found: Sequence[Swapped], known: PerImage, reading: Reading, lenders: Lenders, notes: Sequence[str]
    ) -> Conclusion:
        rows = np.array([one.row for one in found])
        units = known.units_of(rows)
        right = known.correct[rows]
        shares = {name: _shares(found, known, name) for name in ("kept_own", "kept_same", "kept_other")}
        pairs = _pairs(found, known, len(reading.names))
        pulled, chance, excess = (
            _by_image(found, values) for values in (pairs.follows, pairs.expected, pairs.follows - pairs.expected)
        )
        shares |= {"follows": pulled, "follows_expected": chance}
        followed = clustered_mean(np.where(right, excess, 0.0), units, pseudo_units=1.0)
        # Where backgrounds go with classes, all of a class are alike: what is lost before those of other classes only.
        apart = shares["kept_same"] - shares["kept_other"]
        classwise = clustered_mean(np.where(right & np.isfinite(apart), apart, 0.0), units, pseudo_units=1.0)

        def shortcut_harm(confidence: float) -> float:
            each = (1 + confidence) / 2  # both bounds hold together
            return max(followed.lower(each), classwise.lower(each), 0.0)

        lost = clustered_mean(np.where(right, shares["kept_own"] - shares["kept_other"], 0.0), units, pseudo_units=1.0)
        shares["area_outside"] = np.array([one.area for one in found])
        shares["evidence_outside"] = np.array([one.outside for one in found])
        counted = {
            name: right & np.isfinite(values) if name.startswith(("kept", "follows")) else np.isfinite(values)
            for name, values in shares.items()
        }
        low, high = lost.interval() if len(rows) > 1 else (-1.0, 1.0)
        ends = followed.interval() if len(rows) > 1 else (-1.0, 1.0)
        metrics = {
            f"{self.name}.lost": Measured(value=lost.value, low=max(low, -1.0), high=min(high, 1.0), n=len(rows)),
            f"{self.name}.followed": Measured(
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
                title=f"Decisions follow the background: {follows:.0%} of the right ones become the class that another "
                f"background has for other objects as well; {expected:.0%} would before one that is only as hard",
                facts={**facts, "backgrounds": _strongest(pairs, found, lenders, reading.names)},
                examples=self._examples(found, known, reading, pictures, pairs),
            )

        return Conclusion(
            metrics=metrics,
            hypotheses=[
                Hypothesis(lost.p_value(), lambda confidence: max(lost.lower(confidence), 0.0), sensitive),
                Hypothesis(pairs.p_value, shortcut_harm, shortcut),
            ],
            panels=[self._panel(known.labels[rows], right, shares, reading.names)] if right.any() else [],
            lists={
                self.name: [
                    {
                        "id": known.ids[one.row],
                        "right": bool(right[place]),
                        **{
                            name: float(values[place]) if np.isfinite(values[place]) else None
                            for name, values in shares.items()
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
        reading: Reading,
        pictures: dict[str, bytes],
        pairs: FollowedGrounds | None,
    ) -> tuple[FindingExample, ...]:
        """Images that are right before their own background, whatever its place, and wrong before another.

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
            label, said, lent = int(known.labels[one.row]), int(one.other[number]), int(one.lent[number])
            becomes = "no decision" if said < 0 else names[said]
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
    told = []
    for ground in np.argsort(-counts, kind="stable")[:NAMED].tolist():
        if counts[ground]:
            own = int(np.bincount(pairs.ground_class[(grounds == ground) & pairs.follows]).argmax())
            of = int((grounds == ground).sum())
            told.append(f"that of {lenders.ids[ground]} to {names[own]} ({counts[ground]} of {of})")
    return ", ".join(told) or "none"


def _mean_known(values: NDArray[np.float64]) -> float | str:
    known = values[np.isfinite(values)]
    return round(float(known.mean()), 4) if len(known) else ""


def _measured(values: NDArray[np.float64], units: NDArray[np.int64] | None) -> Measured:
    low, high = clustered_mean(values, units).interval() if len(values) > 1 else (0.0, 1.0)
    return Measured(value=float(values.mean()), low=max(low, 0.0), high=min(high, 1.0), n=len(values))

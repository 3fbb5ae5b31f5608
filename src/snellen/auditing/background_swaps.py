"""What a model decides of the same objects before their own background and before those of other classes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.checks.per_image import PerImage
from snellen.core.classifier import Classifier
from snellen.core.randomness import Randomness
from snellen.methods.explanations.background_swap import before_backgrounds, without_object
from snellen.methods.explanations.filling import blurred_filling
from snellen.methods.explanations.maps import pixel_map
from snellen.methods.explanations.partition_shap import partition_shap
from snellen.methods.explanations.score import TargetScore
from snellen.models.segmenters.object_masks import ObjectMasks

#: Images that lend their backgrounds, at most: they stay in memory.
LENDERS = 64

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
        area: share of the pixels that lie outside of the object.
        outside: share of the evidence for the decision that lies there; NaN where there is none, or nobody asked.
        shown: number of the first other background before which it is wrong, with the composite (3, h, w); None unless
            it is right as it is and before its own at every place.
    """

    row: int
    own: Tensor
    other: Tensor
    lent: Tensor
    area: float
    outside: float
    shown: tuple[int, Tensor] | None


@dataclass(eq=False)
class Lenders:
    """Backgrounds without their objects, with the classes of the images that they are of."""

    backgrounds: list[Tensor] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

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
        return lenders

    def of_others(self, label: int, size: torch.Size, count: int, rng: Randomness) -> list[int]:
        """Positions of backgrounds of other classes and of this size, drawn for one image; fewer where few are."""
        fitting = [
            place
            for place, (own, background) in enumerate(zip(self.labels, self.backgrounds, strict=True))
            if own != label and background.shape == size
        ]
        order = rng.uniform("lenders", (max(len(fitting), 1),))[0].argsort().tolist()
        return [fitting[at] for at in order if at < len(fitting)][:count]


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
    chosen = lenders.of_others(int(known.labels[row]), image.shape, swaps, bound)
    if not chosen:
        return None
    count = len(chosen)
    steps = torch.stack(
        [bound.integers(name, (swaps,), 0, side)[0] for name, side in zip("yx", mask.shape, strict=True)], 1
    )
    kinds = (
        without_object(image, mask).expand(count, -1, -1, -1),
        torch.stack([lenders.backgrounds[p] for p in chosen]),
    )
    images, masks = image.expand(count, -1, -1, -1), mask.expand(count, -1, -1)
    composites = torch.cat([before_backgrounds(images, masks, kind, steps[:count]) for kind in kinds])
    with torch.no_grad():
        scores = classifier(composites.to(classifier.device))
    decided = torch.where(scores.isfinite().all(1), classifier.predict(scores), -1).cpu()
    label, own, other = int(known.labels[row]), decided[:count], decided[count:]
    wrong = (other != label).nonzero().flatten().tolist() if known.correct[row] and bool((own == label).all()) else []
    target = int(known.predictions[row])
    return Swapped(
        row=row,
        own=own,
        other=other,
        lent=torch.tensor([lenders.labels[place] for place in chosen]),
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
